"""Text of pictures of pages, read by PP-OCRv6 on ONNX Runtime."""

import os

# As in models/__init__.py: ONNX Runtime reports its use to its maker from the moment it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
