"""An encoder's time by operator: the table and a real pass."""

from __future__ import annotations

from pathlib import Path

from benchmarks.operators import operator_seconds, operators_markdown


def test_the_time_of_a_real_graph_is_that_of_its_operators(tiny_bundle_unchanged: Path) -> None:
    spent = operator_seconds(tiny_bundle_unchanged / "model.onnx", 8)
    assert "Gather" in spent
    assert min(spent.values()) >= 0
    assert 0 < sum(spent.values()) < 10


def test_the_table_puts_models_side_by_side_and_small_operators_together() -> None:
    before = {"MatMul": 0.009, "Add": 0.00099, "Cast": 0.00001}
    table = operators_markdown({"before": {16: before}, "now": {16: {"MatMul": 0.005}}}).splitlines()
    assert table[0] == "| operator | before, 16 tokens | now, 16 tokens |"
    assert table[2:] == [
        "| MatMul | 9.00 ms, 90% | 5.00 ms, 100% |",
        "| Add | 0.99 ms, 10% |  |",
        "| others | 0.01 ms, 0% |  |",
        "| all | 10.00 ms | 5.00 ms |",
    ]
