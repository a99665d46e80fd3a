"""The operations a benchmark counts are those of the encoder's linear layers."""

from __future__ import annotations

from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")

from benchmarks.encoder import encoder_operations, encoder_speed, product_speed  # noqa: E402
from models.machine import new_session  # noqa: E402


def test_operations_are_two_for_each_weight_of_a_linear_layer(tiny_bundle_unchanged: Path) -> None:
    hidden, inner = (
        32,
        64,
    )  # of tests/support/tiny_bundle_build.py: four square layers, one to the inner width and one back
    content = (tiny_bundle_unchanged / "model.onnx").read_bytes()
    assert encoder_operations(onnx.load_from_string(content)) == 2 * (4 * hidden**2 + 2 * hidden * inner)
    assert encoder_speed(new_session(content), 16, 50) > 0


def test_a_product_has_a_speed() -> None:
    assert product_speed(8, 16, 24) > 0
