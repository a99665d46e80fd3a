"""Makes an int8 graph answer otherwise than its float parent, as a quantization gone wrong would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


def spoil(path: Path) -> None:
    """Gives every other output of each linear layer a scale ten times too large."""
    model = onnx.load(str(path))
    n_spoiled = 0
    for tensor in model.graph.initializer:
        scales = numpy_helper.to_array(tensor)
        if tensor.name.endswith("_scale") and scales.ndim == 1 and len(scales) > 1:
            factors = np.where(np.arange(len(scales)) % 2, 10.0, 1.0).astype(scales.dtype)
            tensor.CopyFrom(numpy_helper.from_array(scales * factors, tensor.name))
            n_spoiled += 1
    assert n_spoiled
    onnx.save(model, str(path))
