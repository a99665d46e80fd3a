"""How a ModelBundle is made: fine-tune, export, quantize, calibrate. Needs the `train` extra."""
