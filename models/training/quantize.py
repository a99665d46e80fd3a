"""Quantizes a float graph statically to int8.

Measurement chose the parts that are quantized (docs/decisions/0004): every linear layer of the encoder, and the
embeddings. Attention's own products and the head stay float, and no layer's output is quantized twice: each linear
layer is one integer product with a float result.

Before that, the channels of uneven activations are made alike (docs/decisions/0008). All channels of an activation
share one range. After a normalisation a few channels are many times larger than the rest, to which that range then
leaves a handful of steps. So each channel is divided by a number of its own, and the row of the weights that reads it
is multiplied by it: weights have a range for every output, and bear that better.

Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType
from onnxruntime.quantization.calibrate import PercentileCalibrater
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.bundle import OPSETS
from models.machine import new_session
from schemas.errors import BundleError

logger = logging.getLogger(__name__)

QUANTIZED_OPERATORS = ["MatMul", "Gather"]
INT8_PRODUCTS = ("MatMulIntegerToFloat", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul", "QGemm")
MICROSOFT = "com.microsoft"
_UNEVEN = ("LayerNormalization", "Gelu", "MultiHeadAttention")
_HISTOGRAM_BINS = 2048
_CALIBRATION_BATCH_TOKENS = 2048  # a calibration batch keeps the input of every linear layer: about 40 MB of MiniLM-L6
_MOST_BATCH_TEXTS = 32


def quantize(
    float_path: Path, int8_path: Path, calibration_token_ids: list[list[int]], percentiles: Sequence[float]
) -> float:
    """Quantizes statically: QDQ, signed int8 weights per output channel, unsigned activations, embeddings too.

    Activation ranges are fixed here, from the calibration texts, so that an answer never depends on the texts it
    shares a batch with. Which percentile is best depends on the texts: in short ones a few large values are noise that
    coarsens all the rest, in long ones they are the special tokens, without which nothing is right. So each is tried.

    Args:
        float_path: graph written by `export_float`.
        int8_path: destination of the int8 graph.
        calibration_token_ids: token ids of training texts, without padding, each at most as long as the model reads.
        percentiles: shares of the values, in percent, that the ranges may have to cover; the rest saturates.

    Returns:
        The percentile whose logits lie nearest to the float graph's on the calibration texts.

    Raises:
        BundleError: the runtime would still compute one of the linear layers in float.
    """
    batches = list(_equal_length_batches(calibration_token_ids))
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(float_path), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(str(prepared))
        equalise(graph, channel_maxima(graph, batches))
        declared = {value.name for value in graph.graph.value_info}
        # The shape inference knows no fused node. An activation behind one would have no type, and the quantizer leaves
        # what has no type in float without a word.
        for name in sorted(_linear_inputs(graph.graph) - declared):
            graph.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        onnx.save(graph, str(prepared))
        calibrator = LinearInputCalibrater(
            prepared, augmented_model_path=str(Path(folder) / "augmented.onnx"), num_bins=_HISTOGRAM_BINS
        )
        calibrator.augment_graph()
        calibrator.create_inference_session()
        with contextlib.redirect_stdout(io.StringIO()):  # the calibrator prints a line for every batch
            for batch in batches:
                calibrator.collect_data(OneBatch(batch))  # padding would widen the ranges with values nobody reads
            ranges = {percentile: calibrator.ranges(percentile) for percentile in percentiles}
    expected = _logits(float_path.read_bytes(), batches)
    best: tuple[float, float] | None = None
    for percentile in percentiles:
        content = _with_ranges(graph, ranges[percentile]).SerializeToString()
        error = float(np.sqrt(((_logits(content, batches) - expected) ** 2).mean()))
        logger.info("ranges at the %gth percentile: logits %.4f off on the calibration texts", percentile, error)
        if best is None or error < best[0]:
            best = (error, percentile)
            int8_path.write_bytes(content)
    assert best is not None
    n_products = check_int8_products(int8_path, float_path)
    logger.info("int8 graph: %.1f MB, %d integer products", int8_path.stat().st_size / 1e6, n_products)
    return best[1]


def _with_ranges(graph: onnx.ModelProto, ranges: Any) -> onnx.ModelProto:
    """The int8 graph with these activation ranges; `graph` stays as it is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=_products_of_activations(graph.graph),
        op_types_to_quantize=QUANTIZED_OPERATORS,
        extra_options={"WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": QUANTIZED_OPERATORS},
    )
    quantizer.quantize_model()
    model: onnx.ModelProto = quantizer.model.model
    fuse_integer_products(model)
    used = [entry for entry in model.opset_import if (entry.domain or "ai.onnx") in OPSETS]
    del model.opset_import[:]  # the quantizer names every set there is
    model.opset_import.extend(used)
    return model


def _logits(model: bytes, batches: list[np.ndarray]) -> np.ndarray:
    session = new_session(model)
    return np.concatenate([session.run(["logits"], {"input_ids": ids})[0] for ids in batches])


class LinearInputCalibrater(PercentileCalibrater):  # type: ignore[misc]
    """Observes the inputs of the linear layers and nothing else.

    Its base also keeps the scores of attention, which need no range: for texts of 512 tokens they are most of the
    memory.
    """

    def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set[str], dict[str, Any]]:
        _, declared = super().select_tensors_to_calibrate(model)
        return _linear_inputs(model.graph), declared

    def ranges(self, percentile: float) -> Any:
        """The ranges that cover this share, in percent, of what was observed."""
        self.collector.percentile = percentile
        return self.compute_data()


class OneBatch(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one batch of texts of equal length."""

    def __init__(self, token_ids: np.ndarray) -> None:
        self._batches = iter([{"input_ids": token_ids}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _equal_length_batches(token_ids: list[list[int]]) -> Iterator[np.ndarray]:
    by_length: dict[int, list[list[int]]] = {}
    for ids in token_ids:
        by_length.setdefault(len(ids), []).append(ids)
    for length, rows in sorted(by_length.items()):
        at_most = max(1, min(_MOST_BATCH_TEXTS, _CALIBRATION_BATCH_TOKENS // length))
        for start in range(0, len(rows), at_most):
            yield np.asarray(rows[start : start + at_most], dtype=np.int64)


def channel_maxima(
    model: onnx.ModelProto, batches: Iterable[npt.NDArray[np.int64]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The largest absolute value of every channel of the uneven activations that linear layers read.

    Uneven is the output of a normalisation, a Gelu or an attention.

    Args:
        model: the float graph; it is not changed.
        batches: (n_texts, n_tokens) int64 token ids without padding.

    Returns:
        (n_channels,) float32 by the activation's name.
    """
    uneven = {node.output[0] for node in model.graph.node if node.op_type in _UNEVEN}
    names = sorted(uneven & _linear_inputs(model.graph))
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

    One new node divides each activation for all its linear layers; other readers, such as the next sum, still read the
    undivided one. The output of an attention is a mean of values, so that the layer that makes the values is divided
    instead, at no cost.

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
    _drop_unread(graph)


def _readers(
    graph: onnx.GraphProto, activation: str, largest: npt.NDArray[np.float32]
) -> tuple[list[onnx.NodeProto], list[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """The linear layers that read an activation, their weights, and the divisors of its channels.

    Activation and weight end up alike; a channel of which one is 0 is left alone.
    """
    weights = {initializer.name: initializer for initializer in graph.initializer}
    readers = [node for node in _linear_layers(graph) if node.input[0] == activation]
    matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in readers]
    weight = np.max([_row_maxima(matrix) for matrix in matrices], axis=0)
    known = (largest > 0.0) & (weight > 0.0)
    scales = np.ones_like(largest)
    scales[known] = np.sqrt(largest[known] / weight[known])
    return readers, matrices, scales


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


def _row_maxima(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n_channels,) The largest share that a row has in the range of any column: each column has a range of its own."""
    sizes = np.abs(matrix)
    ranges = sizes.max(axis=0)
    largest: npt.NDArray[np.float32] = (sizes / np.where(ranges > 0.0, ranges, 1.0)).max(axis=1)
    return largest


def fuse_integer_products(model: onnx.ModelProto) -> None:
    """Replaces, in place, every product of dequantized values, with the sum of a bias behind it, by one node.

    The runtime finds the product by itself when it opens a graph in QDQ form, but leaves the bias to a pass of its own
    over the result, and the biases of queries, keys and values to the attention.
    """
    graph = model.graph
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    products = {
        node.output[0]: _integer_product(node, dequantized)
        for node in graph.node
        if node.op_type == "MatMul" and all(name in dequantized for name in node.input)
    }
    _absorb_biases(graph, products)
    for index, node in enumerate(graph.node):
        if node.op_type == "MatMul" and node.output[0] in products:
            graph.node[index].CopyFrom(products[node.output[0]])
    _drop_unread(graph)
    if products and MICROSOFT not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))


def _integer_product(product: onnx.NodeProto, dequantized: dict[str, onnx.NodeProto]) -> onnx.NodeProto:
    (values, scale, zero), (weights, weight_scale, weight_zero) = (dequantized[name].input for name in product.input)
    inputs = [values, weights, scale, weight_scale, zero, weight_zero]
    return onnx.helper.make_node("MatMulIntegerToFloat", inputs, product.output, product.name, domain=MICROSOFT)


def _absorb_biases(graph: onnx.GraphProto, products: dict[str, onnx.NodeProto]) -> None:
    """Gives the products the biases that are added to them alone, and those their attention would add."""
    weights = {initializer.name: initializer for initializer in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    for node in list(graph.node):
        if node.op_type == "Add":
            for result, bias in (node.input, reversed(node.input)):
                if result in products and readers[result] == 1 and bias in weights and len(weights[bias].dims) == 1:
                    products[result].input.append(bias)
                    for reader in graph.node:
                        reader.input[:] = [result if name == node.output[0] else name for name in reader.input]
                    break
        elif node.op_type == "MultiHeadAttention" and len(node.input) > 3 and node.input[3] in weights:
            results = list(node.input[:3])
            if all(result in products and readers[result] == 1 for result in results):
                bias = numpy_helper.to_array(weights[node.input[3]])
                for result, part in zip(results, np.split(bias, 3), strict=True):
                    name = f"{result}_bias"
                    graph.initializer.append(numpy_helper.from_array(part, name))
                    products[result].input.append(name)
                node.input[3] = ""
                while node.input and not node.input[-1]:
                    del node.input[-1]


def _linear_layers(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    weights = {initializer.name for initializer in graph.initializer}
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def _linear_inputs(graph: onnx.GraphProto) -> set[str]:
    return {node.input[0] for node in _linear_layers(graph)}


def _products_of_activations(graph: onnx.GraphProto) -> list[str]:
    """Names of attention's own products, where int8 costs accuracy and saves no time."""
    linear = {node.name for node in _linear_layers(graph)}
    return [node.name for node in graph.node if node.op_type == "MatMul" and node.name not in linear]


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Leaves out the nodes and weights that lead to no output."""
    makers = {name: node for node in graph.node for name in node.output}
    wanted: set[str] = set()
    open_names = [output.name for output in graph.output]
    while open_names:
        name = open_names.pop()
        if name not in wanted:
            wanted.add(name)
            open_names += makers[name].input if name in makers else []
    kept_nodes = [node for node in graph.node if wanted.intersection(node.output)]
    kept_weights = [initializer for initializer in graph.initializer if initializer.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept_nodes)
    graph.initializer.extend(kept_weights)


def optimized_operators(model: bytes) -> Counter[str]:
    """Counts of each kind of node in the graph that ONNX Runtime makes of a model when it opens it as a run does."""
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        new_session(model, optimized)
        return Counter(node.op_type for node in onnx.load(str(optimized)).graph.node)


def int8_products(model: bytes) -> int:
    """The number of matrix products that the runtime computes in integers."""
    operators = optimized_operators(model)
    return sum(operators[name] for name in INT8_PRODUCTS)


def check_int8_products(int8_path: Path, float_path: Path) -> int:
    """Returns the number of integer matrix products, one per linear layer of the float graph's encoder.

    A quantizer may leave activations in float without a word; the graph is then small, but not fast.

    Raises:
        BundleError: some linear layers of the encoder are still computed in float.
    """
    expected = len(_linear_layers(onnx.load(str(float_path)).graph))
    found = int8_products(int8_path.read_bytes())
    if found != expected or not found:
        raise BundleError(
            f"{int8_path}: expected the {expected} linear layers of the encoder as integer products, found {found}; "
            "the others would run in float: install the versions of onnx and onnxruntime that setup.py names"
        )
    return found
