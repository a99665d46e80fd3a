"""Reports of an evaluation: lines for a terminal, and one self-contained HTML page with plots as inline SVG."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jinja2

_WIDTH, _HEIGHT = 440, 300  # of a plot; it scales with the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 12, 46


def percent(share: float | None, digits: int = 2) -> str:
    """A share as a percentage, "-" where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """A 95% interval of a share as two percentages."""
    return "-" if bounds is None else f"{percent(bounds[0], digits)} to {percent(bounds[1], digits)}"


def decimal(value: float | None, digits: int = 4) -> str:
    """A figure that is not a share, "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


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
                f"{speed['documents_per_cpu_second']:,.0f} per CPU second; single {speed['single_p50_ms']:.1f} ms, "
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
    if words := result.get("word_counts"):
        low, high = words["gain_interval_95"]
        lines.append(
            _line(
                "word counts",
                f"{percent(words['accuracy'])} right, macro-F1 {percent(words['macro_f1'])}; the bundle "
                f"{100 * words['gain']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]",
            )
        )
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
            _line("label sets, micro-F1", _with_interval(several, "micro_f1")),
            _line("label sets, macro-F1", _with_interval(several, "macro_f1")),
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


def evaluation_page(result: dict[str, Any], data_name: str) -> str:
    """A page that runs nothing and loads nothing, fit for print and for a phone; the same figures give the same page.

    Args:
        result: of `models.evaluation.evaluate`.
        data_name: name of the data that the figures were measured on, for the heading.
    """
    bins = []
    for entry in result["reliability"]:
        wrong = round(entry["rows"] * (1 - entry["accuracy"]))
        gap = abs(entry["accuracy"] - entry["confidence"])
        bins.append(entry | {"wrong": wrong, "right": entry["rows"] - wrong, "gap": gap})
    speed = [("Size of the model", f"{result['model_bytes'] / 1e6:,.1f} MB")]
    if measured := result["speed"]:
        speed += [
            ("Documents per second", f"{measured['documents_per_second']:,.0f}"),
            ("Documents per CPU second", f"{measured['documents_per_cpu_second']:,.0f}"),
            ("A single document, median", f"{measured['single_p50_ms']:.2f} ms"),
            ("A single document, 95th percentile", f"{measured['single_p95_ms']:.2f} ms"),
            ("Most memory of the process", f"{measured['peak_memory_bytes'] / 1e6:,.0f} MB"),
        ]
    labels = sorted(result["labels"], key=_weakest_first)
    return template("page.html").render(result=result, data_name=data_name, bins=bins, labels=labels, speed=speed)


def template(name: str) -> jinja2.Template:
    """A template of the pages, with their filters and places."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("models.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "interval": interval, "decimal": decimal, "count": "{:,}".format}
    environment.globals |= {"x": _x, "y": _y}
    return environment


def _weakest_first(entry: dict[str, Any]) -> tuple[bool, float, str]:
    """By F1; labels that no row has come last."""
    return entry["rows"] == 0, entry["f1"], entry["label"]


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float, top: float = 1.0) -> float:
    return round(_HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM), 1)
