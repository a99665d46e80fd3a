"""Writes models/int8_probe.onnx, the graph of `models.machine`: `python -m models.training.int8_probe_graph`."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from models.bundle import OPSETS
from models.machine import COLUMNS, PROBE, WIDTH, probe_weights


def probe_graph() -> ModelProto:
    """Activations (rows, 384) float32 in; the integer product, and the one quantized like a linear layer, out."""
    constants = {
        "one": np.float32(1),
        "zero_point": np.uint8(0),
        "weights": probe_weights().astype(np.int8),
        "bundle_weights": probe_weights().astype(np.int8),  # ONNX Runtime's exact products fail on weights read twice
        "scales": np.ones(COLUMNS, dtype=np.float32),
        "zero_points": np.zeros(COLUMNS, dtype=np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["activations", "one", "zero_point"], ["quantized"]),
        helper.make_node("MatMulInteger", ["quantized", "weights"], ["integer_product"]),
        helper.make_node("DequantizeLinear", ["quantized", "one", "zero_point"], ["left"]),
        helper.make_node("DequantizeLinear", ["bundle_weights", "scales", "zero_points"], ["right"], axis=1),
        helper.make_node("MatMul", ["left", "right"], ["bundle_product"]),
    ]
    graph = helper.make_graph(
        nodes,
        "int8_probe",
        [helper.make_tensor_value_info("activations", TensorProto.FLOAT, ["rows", WIDTH])],
        [
            helper.make_tensor_value_info("integer_product", TensorProto.INT32, ["rows", COLUMNS]),
            helper.make_tensor_value_info("bundle_product", TensorProto.FLOAT, ["rows", COLUMNS]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSETS["ai.onnx"])
    return helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="docyard")


if __name__ == "__main__":
    PROBE.write_bytes(probe_graph().SerializeToString())
