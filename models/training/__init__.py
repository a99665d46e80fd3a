"""Makes ModelBundles: fine-tune, export, quantize, calibrate. Needs the `train` extra."""

import os

# The Hugging Face hub is asked only for a base model that is named and not here; nobody is told of anything else.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
