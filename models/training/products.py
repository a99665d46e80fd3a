"""Counts the matrix products of a graph as ONNX Runtime will run it: which of them are integer, which are float."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx

from models.machine import new_session
from schemas.errors import BundleError

INT8_PRODUCTS = ("MatMulIntegerToFloat", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul", "QGemm")


def optimized_operators(model: Path) -> Counter[str]:
    """Counts of each kind of node that ONNX Runtime makes of a graph when it opens it as a run does."""
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        new_session(model.read_bytes(), optimized)
        return Counter(node.op_type for node in onnx.load(str(optimized)).graph.node)


def int8_products(model: Path) -> int:
    """The number of matrix products that the runtime computes in integers."""
    operators = optimized_operators(model)
    return sum(operators[name] for name in INT8_PRODUCTS)


def check_int8_products(int8_path: Path, float_path: Path) -> int:
    """Returns how many matrix products are integer, which is how many linear layers the float graph's encoder has.

    A quantizer may leave activations in float without a word; the graph is then small, but not fast.

    Raises:
        BundleError: some linear layers of the encoder are still computed in float.
    """
    graph = onnx.load(str(float_path)).graph
    weights = {initializer.name for initializer in graph.initializer}
    expected = sum(node.op_type == "MatMul" and bool(weights.intersection(node.input)) for node in graph.node)
    found = int8_products(int8_path)
    if found != expected or not found:
        raise BundleError(
            f"{int8_path}: expected the {expected} linear layers of the encoder as integer products, found {found}; "
            "the others would run in float: install the versions of onnx and onnxruntime that setup.py names"
        )
    return found
