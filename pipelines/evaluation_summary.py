"""Words of `docyard evaluate` on a terminal: the figures that matter first."""

from __future__ import annotations

from typing import Any

from models.evaluation.wording import decimal, interval, percent


def describe_evaluation(result: dict[str, Any]) -> str:
    """One figure a line; what was not measured is left out."""
    lines = [f"{result['rows']:,} rows, {result['in_scope_rows']:,} of them in scope of {result['bundle']}"]
    if result["in_scope_rows"]:
        lines += _in_scope(result)
    else:
        lines.append("  no label of the data is one of the bundle's: " + ", ".join(list(result["unknown_labels"])[:5]))
    if result["out_of_scope_rows"]:
        escalated = percent(result["out_of_scope_escalated_share"])
        lines.append(_line("out of scope", f"{escalated} of {result['out_of_scope_rows']:,} rows escalated"))
    if result["failed_rows"]:
        lines.append(_line("failed", f"{result['failed_rows']:,} rows the model could not read"))
    if speed := result["speed"]:
        lines.append(
            _line(
                "speed, here and now",
                f"{speed['documents_per_second']:,.0f} documents/s, "
                f"{speed['documents_per_cpu_second']:,.0f} per CPU second; one alone {speed['single_p50_ms']:.1f} ms, "
                f"p95 {speed['single_p95_ms']:.1f} ms",
            )
        )
    return "\n".join(lines)


def _in_scope(result: dict[str, Any]) -> list[str]:
    lines = [
        _line("accuracy", _with_interval(result, "accuracy")),
        _line("macro-F1", _with_interval(result, "macro_f1")),
        _line(
            "accepted",
            f"{percent(result['accepted_share'])}, of which right {_with_interval(result, 'accuracy_accepted')}",
        ),
    ]
    if result["expected_calibration_error"] is not None:
        lines.append(_line("calibration error", decimal(result["expected_calibration_error"])))
    lines.append(_line("risk-coverage area", decimal(result["risk_coverage"]["area"])))
    if positives := result["positives_only"]:
        lines.append(
            _line(
                "positives only",
                f"{_with_interval(positives, 'accuracy')} of {positives['rows']:,} rows that are not "
                f"{positives['none_label']!r}",
            )
        )
        lines.append(_line("which of them", _with_interval(positives, "accuracy_without_none")))
    if first_tier := result["first_tier"]:
        lines.append(
            _line(
                "first tier",
                f"answers {percent(first_tier['share'])}, of which right {_with_interval(first_tier, 'accuracy')}",
            )
        )
    if several := result["several_labels"]:
        lines += [
            _line("any right label", f"{_with_interval(several, 'any_right', 'any_right_share')}"),
            _line(
                f"in the top {several['top_labels']}",
                f"{percent(several['found_in_top_share'])} of the {several['right_labels']:,} right labels",
            ),
        ]
    if positive := result["positive_label"]:
        found = decimal(positive["average_precision"])
        lines.append(
            _line("average precision", f"{found} for {positive['label']!r}, {percent(positive['share'])} of the rows")
        )
    return lines


def _with_interval(figures: dict[str, Any], name: str, key: str = "") -> str:
    shown = percent(figures[key or name])
    bounds = figures[f"{name}_interval_95"]
    return f"{shown} (95% interval {interval(bounds)})" if bounds else shown


def _line(name: str, value: str) -> str:
    return f"  {name:<20}  {value}"
