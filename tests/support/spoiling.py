"""Makes an int8 graph answer otherwise than its float parent, as a quantization gone wrong would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


def spoil(path: Path) -> None:
    """Gives every word piece the embedding of the one before it."""
    model = onnx.load(str(path))
    [embeddings] = [
        tensor for tensor in model.graph.initializer if tensor.name.endswith("word_embeddings.weight_quantized")
    ]
    embeddings.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(embeddings), 1, axis=0), embeddings.name))
    onnx.save(model, str(path))
