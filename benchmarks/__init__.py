"""Docyard against the usual stack, side by side in one run. Needs the `benchmarks` extra."""

import models as models  # first of all: it keeps ONNX Runtime, which contenders import, from reporting its use
