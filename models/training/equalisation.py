"""Makes the channels of an activation alike before it is quantized, without changing what the graph answers.

All channels of an activation share one range. After a normalisation a few channels are many times larger than the
rest, of which that range then leaves a handful of steps. So each channel is divided by a number of its own, and the
row of the weights that reads it is multiplied by it: weights have a range for every output, and bear that better.

Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from models.session import new_session


def channel_maxima(
    model: onnx.ModelProto, batches: Iterable[npt.NDArray[np.int64]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The largest absolute value of every channel of the activations that linear layers read, where they are uneven:
    what comes out of a normalisation or a Gelu.

    Args:
        model: the float graph; it is not changed.
        batches: (n_texts, n_tokens) int64 token ids without padding.

    Returns:
        (n_channels,) float32 by the activation's name.
    """
    weights = {initializer.name for initializer in model.graph.initializer}
    uneven = {node.output[0] for node in model.graph.node if node.op_type in ("LayerNormalization", "Gelu")}
    names = sorted(uneven & {node.input[0] for node in _linear_layers(model.graph, weights)})
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    for name in names:
        observed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = new_session(observed.SerializeToString())
    maxima: dict[str, npt.NDArray[np.float32]] = {}
    for ids in batches:
        values = session.run(names, {"input_ids": ids})
        for name, value in zip(names, values, strict=True):
            maxima[name] = np.maximum(np.abs(value).max(axis=(0, 1)), maxima.get(name, 0.0))
    return maxima


def equalise(model: onnx.ModelProto, maxima: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Divides the channels of activations, in place, and multiplies the weights of the linear layers that read them.

    One new node divides each activation for all its linear layers; whatever else reads it, as the next sum does, goes
    on reading the undivided one.

    Args:
        model: the float graph; it then answers as before but for rounding.
        maxima: of the activations to divide, from `channel_maxima`.
    """
    graph = model.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    for activation, largest in maxima.items():
        readers = [node for node in _linear_layers(graph, weights.keys()) if node.input[0] == activation]
        matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in readers]
        scales = _scales(largest, np.max([_row_maxima(matrix) for matrix in matrices], axis=0))
        divided = f"{activation}_equalised"
        graph.initializer.append(numpy_helper.from_array(1.0 / scales, f"{divided}_factors"))
        node = onnx.helper.make_node("Mul", [activation, f"{divided}_factors"], [divided], f"{divided}_Mul")
        graph.node.insert(min(list(graph.node).index(reader) for reader in readers), node)
        for reader, matrix in zip(readers, matrices, strict=True):
            name = f"{reader.output[0]}_equalised_weight"  # of its own: a layer with equal weights may share the old
            graph.initializer.append(numpy_helper.from_array(matrix * scales[:, None], name))
            reader.input[:] = [divided, name]
    used = {name for node in graph.node for name in node.input}
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _linear_layers(graph: onnx.GraphProto, weights: Iterable[str]) -> list[onnx.NodeProto]:
    names = set(weights)
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in names]


def _row_maxima(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n_channels,) The largest share that a row has in the range of any column: each column has a range of its own."""
    sizes = np.abs(matrix)
    ranges = sizes.max(axis=0)
    largest: npt.NDArray[np.float32] = (sizes / np.where(ranges > 0.0, ranges, 1.0)).max(axis=1)
    return largest


def _scales(activation: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What to divide each channel by, so that activation and weight end up alike; 1 where one of them is 0."""
    known = (activation > 0.0) & (weight > 0.0)
    scales = np.ones_like(activation)
    scales[known] = np.sqrt(activation[known] / weight[known])
    return scales
