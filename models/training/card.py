"""Writes a bundle's model card: the hand-written part, and what was measured on the int8 model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.training.calibration import Thresholds


def write_card(
    path: Path,
    template: Path,
    results: dict[str, dict[str, Any]],
    thresholds: Thresholds,
    temperature: float,
    labels: list[str],
) -> None:
    """Writes the card.

    Args:
        path: where it goes.
        template: Markdown that ends where the measurements begin.
        results: `evaluate` of the deployed bundle by data set, "all" for their union.
        thresholds: the policy.
        temperature: of the calibration.
        labels: the taxonomy.
    """
    lines = [template.read_text(encoding="utf-8").rstrip(), "", "## Measured on the validation split, int8 model", ""]
    lines += [
        "| data set | rows in scope | accuracy [95%] | macro-F1 | accepted | accuracy of accepted [95%] "
        "| out-of-scope rows escalated | calibration error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(name, result) for name, result in results.items()]
    lines += [
        "",
        f"Policy: confidence at least {thresholds.min_confidence}, "
        f"familiarity at least {thresholds.min_familiarity}; "
        f"temperature {temperature}. Half of the validation split chose the temperature, the other half and the "
        "out-of-scope rows of the training split chose the policy, so that the shares above are those of rows the "
        "policy has partly seen. The thresholds are chosen, not yet certified: no bound is claimed.",
        "",
        f"## Labels ({len(labels)})",
        "",
        ", ".join(f"`{label}`" for label in labels),
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def _row(name: str, result: dict[str, Any]) -> str:
    strangers = "none"
    if result["out_of_scope_rows"]:
        strangers = f"{_percent(result['out_of_scope_escalated_share'])} of {result['out_of_scope_rows']}"
    cells = [
        name,
        f"{result['in_scope_rows']:,}",
        f"{_percent(result['accuracy'])} {_interval(result['accuracy_interval_95'])}",
        _percent(result["macro_f1"]),
        _percent(result["accepted_share"]),
        f"{_percent(result['accuracy_accepted'])} {_interval(result['accuracy_accepted_interval_95'])}",
        strangers,
        f"{result['expected_calibration_error']:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _interval(interval: tuple[float, float]) -> str:
    return f"[{_percent(interval[0])}, {_percent(interval[1])}]"
