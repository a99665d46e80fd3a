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

from models.machine import new_session

_UNEVEN = ("LayerNormalization", "Gelu", "MultiHeadAttention")


def channel_maxima(
    model: onnx.ModelProto, batches: Iterable[npt.NDArray[np.int64]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The largest absolute value of every channel of the activations that linear layers read, where they are uneven:
    what comes out of a normalisation, a Gelu or an attention.

    Args:
        model: the float graph; it is not changed.
        batches: (n_texts, n_tokens) int64 token ids without padding.

    Returns:
        (n_channels,) float32 by the activation's name.
    """
    weights = {initializer.name for initializer in model.graph.initializer}
    uneven = {node.output[0] for node in model.graph.node if node.op_type in _UNEVEN}
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
    on reading the undivided one. What comes out of an attention is a mean of values, so that the layer that makes the
    values is divided instead, at no cost.

    Args:
        model: the float graph; it then answers as before but for rounding.
        maxima: of the activations to divide, from `channel_maxima`.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    of_attention = [name for name in maxima if makers[name].op_type == "MultiHeadAttention"]
    for activation in of_attention:  # first: they change weights that the others go by
        readers, matrices, scales = _readers(graph, activation, maxima[activation])
        _divide_values(graph, makers, makers[activation], scales)
        for reader, matrix in zip(readers, matrices, strict=True):
            _give_weight(graph, reader, matrix * scales[:, None], "multiplied")
    for activation in (name for name in maxima if name not in of_attention):
        readers, matrices, scales = _readers(graph, activation, maxima[activation])
        divided = f"{activation}_equalised"
        graph.initializer.append(numpy_helper.from_array(1.0 / scales, f"{divided}_factors"))
        node = onnx.helper.make_node("Mul", [activation, f"{divided}_factors"], [divided], f"{divided}_Mul")
        graph.node.insert(min(list(graph.node).index(reader) for reader in readers), node)
        for reader, matrix in zip(readers, matrices, strict=True):
            _give_weight(graph, reader, matrix * scales[:, None], "equalised")
            reader.input[0] = divided
    used = {name for node in graph.node for name in node.input}
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _readers(
    graph: onnx.GraphProto, activation: str, largest: npt.NDArray[np.float32]
) -> tuple[list[onnx.NodeProto], list[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """The linear layers that read an activation, their weights, and what to divide its channels by."""
    weights = {initializer.name: initializer for initializer in graph.initializer}
    readers = [node for node in _linear_layers(graph, weights.keys()) if node.input[0] == activation]
    matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in readers]
    return readers, matrices, _scales(largest, np.max([_row_maxima(matrix) for matrix in matrices], axis=0))


def _give_weight(graph: onnx.GraphProto, layer: onnx.NodeProto, matrix: npt.NDArray[np.float32], how: str) -> None:
    """Gives a linear layer a weight of its own: a layer with equal weights may share the old one."""
    name = f"{layer.output[0]}_{how}_weight"
    graph.initializer.append(numpy_helper.from_array(matrix.astype(np.float32), name))
    layer.input[1] = name


def _divide_values(
    graph: onnx.GraphProto,
    makers: Mapping[str, onnx.NodeProto],
    attention: onnx.NodeProto,
    scales: npt.NDArray[np.float32],
) -> None:
    """Divides the channels of an attention's values, in the layer that makes them and in their part of the bias."""
    weights = {initializer.name: initializer for initializer in graph.initializer}
    maker = makers[attention.input[2]]
    _give_weight(graph, maker, numpy_helper.to_array(weights[maker.input[1]]) / scales, "divided")
    bias = numpy_helper.to_array(weights[attention.input[3]]).copy()
    bias[-len(scales) :] /= scales  # behind those of queries and keys
    name = f"{attention.input[3]}_divided"
    graph.initializer.append(numpy_helper.from_array(bias, name))
    attention.input[3] = name


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
    """Each channel's divisor, so that activation and weight end up alike; 1 where one of them is 0."""
    known = (activation > 0.0) & (weight > 0.0)
    scales = np.ones_like(activation)
    scales[known] = np.sqrt(activation[known] / weight[known])
    return scales
