"""A bundle as x86 processors without VNNI would answer it with their fastest products, worked out on any machine.

They multiply unsigned activations by signed weights, add each two neighbouring products in 16 bits, and saturate there.
The texts that change their answers most by that make a fingerprint which no such machine passes unnoticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from models.bundle import ModelBundle
from models.machine import new_session
from models.tokens import TextTokenizer

_PRODUCT = "MatMulIntegerToFloat"
_DISTURBANCE = 1e-6
_LOW, _HIGH = -(2**15), 2**15 - 1


def saturated_confidences(
    bundle: ModelBundle, texts: Sequence[str], label_ids: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """The confidence, with products that saturate, in the label that each text has without: (n_texts,) in [0, 1].

    Takes about a second per text, and memory for all single products of a layer: for short texts only.
    """
    return _confidences(bundle, saturating_graph(bundle.read("model.onnx")), texts, label_ids)


def disturbed_confidences(
    bundle: ModelBundle, texts: Sequence[str], label_ids: npt.NDArray[np.integer], seed: int
) -> npt.NDArray[np.float64]:
    """The same with exact products, each result off by up to a millionth: as if another processor rounded it.

    Such a difference is nothing by itself, but it moves some activation to the next of its 256 values now and then.
    """
    return _confidences(bundle, disturbed_graph(bundle.read("model.onnx"), seed), texts, label_ids)


def _confidences(
    bundle: ModelBundle, graph: bytes, texts: Sequence[str], label_ids: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    session = new_session(graph)
    tokenizer = TextTokenizer(bundle.read("tokenizer.json"), bundle.max_tokens, None, "tokenizer.json")
    windows = tokenizer.tokenize(list(texts)).windows
    confidences = []
    for window, label_id in zip(windows, label_ids, strict=True):
        # One row, not doubled as a run would: its last bits do not matter here, its time and memory do.
        logits = session.run(["logits"], {"input_ids": window[None].astype(np.int64)})[0][0] / bundle.temperature
        odds = np.exp(logits.astype(np.float64) - logits.max())
        confidences.append(odds[label_id] / odds.sum())
    return np.array(confidences)


def disturbed_graph(content: bytes, seed: int) -> bytes:
    """The graph of `model.onnx` with the scale of each column of each integer product off by up to a millionth."""
    model = onnx.load_from_string(content)
    scales = {node.input[3] for node in model.graph.node if node.op_type == _PRODUCT}
    rng = np.random.default_rng(seed)
    for initializer in model.graph.initializer:
        if initializer.name in scales:
            scale = numpy_helper.to_array(initializer)
            noise = 1 + _DISTURBANCE * rng.uniform(-1, 1, scale.shape)
            initializer.CopyFrom(numpy_helper.from_array((scale * noise).astype(np.float32), initializer.name))
    return bytes(model.SerializeToString())


def saturating_graph(content: bytes) -> bytes:
    """The graph of `model.onnx`, its integer products written out so that each two of them saturate in 16 bits."""
    model = onnx.load_from_string(content)
    graph = model.graph
    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == _PRODUCT:
            nodes += _saturating_product(node, constants, graph)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _saturating_product(
    product: onnx.NodeProto, constants: dict[str, npt.NDArray[Any]], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    values, weights_name, scale, weight_scale, zero, _, *bias = product.input
    weights = constants[weights_name].astype(np.int32)
    depth = len(weights)
    weights = np.pad(weights, [(0, depth % 2), (0, 0)])
    name = product.output[0]
    given = {
        "even_weights": weights[::2],
        "odd_weights": weights[1::2],
        "offset": constants[zero].astype(np.int32) * weights.sum(axis=0, dtype=np.int32),
        "scale": (constants[scale] * constants[weight_scale]).astype(np.float32),
        "even": np.arange(0, depth, 2),
        "odd": np.minimum(np.arange(1, depth + 1, 2), depth - 1),  # the last one, without a partner, is weighted by 0
        "last": np.array([-1]),
        "pairs": np.array([-2]),
        "low": np.array(_LOW, dtype=np.int32),
        "high": np.array(_HIGH, dtype=np.int32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"{name}/{key}") for key, value in given.items())

    def step(operator: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        inputs = [f"{name}/{key}" if key in given or key in made else key for key in inputs]
        made.add(output)
        return helper.make_node(operator, inputs, [output if output == name else f"{name}/{output}"], **attributes)

    made: set[str] = set()
    return [
        step("Cast", [values], "whole", to=onnx.TensorProto.INT32),
        step("Gather", ["whole", "even"], "even_values", axis=-1),
        step("Gather", ["whole", "odd"], "odd_values", axis=-1),
        step("Unsqueeze", ["even_values", "last"], "even_column"),
        step("Unsqueeze", ["odd_values", "last"], "odd_column"),
        step("Mul", ["even_column", "even_weights"], "even_products"),
        step("Mul", ["odd_column", "odd_weights"], "odd_products"),
        step("Add", ["even_products", "odd_products"], "sums"),
        step("Clip", ["sums", "low", "high"], "saturated"),
        step("ReduceSum", ["saturated", "pairs"], "total", keepdims=0),
        step("Sub", ["total", "offset"], "product"),
        step("Cast", ["product"], "float_product", to=onnx.TensorProto.FLOAT),
        step("Mul", ["float_product", "scale"], name if not bias else "scaled"),
        *([step("Add", ["scaled", bias[0]], name)] if bias else []),
    ]
