"""Writes each linear layer of a quantized graph as the one node that computes it: integer product, scale and bias."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper

MICROSOFT = "com.microsoft"


def fuse_integer_products(model: onnx.ModelProto) -> int:
    """Replaces, in place, every product of dequantized values, with the sum of a bias behind it, by one node.

    The runtime finds the product by itself when it opens a graph, but leaves the bias to a pass of its own over the
    result, and the biases of queries, keys and values to the attention.

    Args:
        model: a graph in QDQ form.

    Returns:
        How many nodes it wrote.
    """
    graph = model.graph
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    products = {
        node.output[0]: _integer_product(node, dequantized)
        for node in graph.node
        if node.op_type == "MatMul" and all(name in dequantized for name in node.input)
    }
    _take_in_biases(graph, products)
    for index, node in enumerate(graph.node):
        if node.op_type == "MatMul" and node.output[0] in products:
            graph.node[index].CopyFrom(products[node.output[0]])
    _drop_what_nothing_reads(graph)
    if products and MICROSOFT not in {entry.domain for entry in model.opset_import}:
        model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    return len(products)


def _integer_product(product: onnx.NodeProto, dequantized: dict[str, onnx.NodeProto]) -> onnx.NodeProto:
    (values, scale, zero), (weights, weight_scale, weight_zero) = (dequantized[name].input for name in product.input)
    inputs = [values, weights, scale, weight_scale, zero, weight_zero]
    return onnx.helper.make_node("MatMulIntegerToFloat", inputs, product.output, product.name, domain=MICROSOFT)


def _take_in_biases(graph: onnx.GraphProto, products: dict[str, onnx.NodeProto]) -> None:
    """Gives the products the biases that are added to them alone, and those their attention would add."""
    weights = {initializer.name: initializer for initializer in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    for node in list(graph.node):
        if node.op_type == "Add":
            for result, bias in (node.input, reversed(node.input)):
                if result in products and readers[result] == 1 and bias in weights and len(weights[bias].dims) == 1:
                    products[result].input.append(bias)
                    _read_instead(graph, node.output[0], result)
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


def _read_instead(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def _drop_what_nothing_reads(graph: onnx.GraphProto) -> None:
    """Leaves out nodes and weights that lead to no output."""
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
