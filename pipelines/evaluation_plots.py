"""Plots of an evaluation as inline SVG, drawn by hand: no library, no script, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 440, 300  # of the drawing; it scales with the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 12, 46
_NICE_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


def risk_coverage_plot(curve: Sequence[dict[str, float]], coverage: float, error: float | None) -> str:
    """Error among the most confident answers, by the share of rows that is answered; the policy is a dot.

    Args:
        curve: `risk_coverage.curve` of an evaluation.
        coverage: share of the rows that the policy accepts.
        error: share of those that is wrong; None when it accepts none.
    """
    highest = max(error or 0.0, *(point["error"] for point in curve))
    top = next(nice for nice in _NICE_TOPS if highest <= nice)
    line = " ".join(f"{_x(point['coverage'])},{_y(point['error'], top)}" for point in curve)
    body = [f'<polyline class="line" points="{line}"/>']
    told = "Error rises to {:.1%} when every row is answered.".format(curve[-1]["error"])
    if error is not None:
        x, y = _x(coverage), _y(error, top)
        told += f" The policy accepts {coverage:.1%} of the rows with an error of {error:.2%}."
        at_left = coverage > 0.5
        body += [
            f'<path class="guide" d="M{x},{_y(0, top)}V{y}H{_x(0)}"/>',
            f'<circle class="point" cx="{x}" cy="{y}" r="6"/>',
            _text(x + (-12 if at_left else 12), y - 10, "policy", "end" if at_left else "start", "strong"),
        ]
    return _plot("Risk and coverage", told, body, "rows answered, most confident first", "wrong among them", top)


def reliability_plot(bins: Sequence[dict[str, Any]]) -> str:
    """Accuracy by confidence, with its 95% interval; on the diagonal, confidence is honest.

    Args:
        bins: `reliability` of an evaluation.
    """
    body = [f'<path class="guide" d="M{_x(0)},{_y(0)}L{_x(1)},{_y(1)}"/>']
    most = max(entry["rows"] for entry in bins)
    for entry in bins:
        x = _x(entry["confidence"])
        low, high = entry["accuracy_interval_95"]
        radius = 2.5 + 4.5 * (entry["rows"] / most) ** 0.5
        body += [
            f'<path class="interval" d="M{x},{_y(low)}V{_y(high)}"/>',
            f'<circle class="point" cx="{x}" cy="{_y(entry["accuracy"])}" r="{radius:.1f}">'
            f"<title>{entry['rows']:,} rows: confidence {entry['confidence']:.3f}, right {entry['accuracy']:.3f}"
            "</title></circle>",
        ]
    furthest = max(bins, key=_gap)
    told = (
        f"Of {len(bins)} bins, the one at confidence {furthest['confidence']:.2f} lies furthest from the diagonal: "
        f"{furthest['accuracy']:.2f} of its {furthest['rows']:,} rows are right."
    )
    return _plot("Reliability", told, body, "confidence", "right")


def confidence_plot(bins: Sequence[dict[str, Any]]) -> str:
    """Places of the right answers and of the wrong ones, each as shares of their own number.

    Args:
        bins: `reliability` of an evaluation.
    """
    wrong = [round(entry["rows"] * (1 - entry["accuracy"])) for entry in bins]
    right = [entry["rows"] - number for entry, number in zip(bins, wrong, strict=True)]
    body = []
    for place, (kind, numbers) in enumerate((("right", right), ("wrong", wrong))):
        top = 22 + 20 * place
        body += [
            f'<rect class="{kind}" x="{_x(0.04)}" y="{top - 10}" width="12" height="12"/>',
            _text(_x(0.04) + 18, top, f"{sum(numbers):,} {kind}", "start"),
        ]
        for entry, number in zip(bins, numbers, strict=True):
            width = (_x(entry["up_to"]) - _x(entry["above"]) - 3) / 2
            y = _y(number / max(sum(numbers), 1))
            body.append(
                f'<rect class="{kind}" x="{_x(entry["above"]) + 1.5 + place * width:.1f}" y="{y}" width="{width:.1f}" '
                f'height="{_y(0) - y:.1f}"><title>{number:,} {kind}</title></rect>'
            )
    told = (
        f"In the highest bin lie {right[-1]:,} of the {sum(right):,} right answers and {wrong[-1]:,} of the "
        f"{sum(wrong):,} wrong ones."
    )
    return _plot("Answers by confidence", told, body, "confidence", "share of the right, of the wrong")


def bar(share: float | None) -> str:
    """A small bar for a cell of a table; the cell says the figure itself."""
    width = 0.0 if share is None else 60 * share
    return (
        '<svg class="bar" viewBox="0 0 60 8" width="60" height="8" aria-hidden="true">'
        f'<rect class="track" width="60" height="8"/><rect class="right" width="{width:.1f}" height="8"/></svg>'
    )


def _plot(title: str, told: str, body: list[str], x_name: str, y_name: str, top: float = 1.0) -> str:
    """A drawing with axes from 0 to 1 and from 0 to `top`, in percent; `told` says it to who cannot see it."""
    name = title.lower().replace(" ", "-")
    grid = []
    for step in range(6):
        share, y, x = step / 5, _y(top * step / 5, top), _x(step / 5)
        label = f"{100 * top * share:.1f}".rstrip("0").rstrip(".") + "%"
        grid += [
            f'<path class="grid" d="M{_x(0)},{y}H{_x(1)}"/>',
            _text(_LEFT - 8, y + 4, label, "end"),
            _text(x, HEIGHT - _BOTTOM + 18, f"{100 * share:.0f}%", "middle"),
        ]
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    return "\n".join(
        [
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title {name}-told">',
            f'<title id="{name}-title">{escape(title)}</title>',
            f'<desc id="{name}-told">{escape(told)}</desc>',
            *grid,
            *body,
            f'<path class="axis" d="M{_x(0)},{_TOP}V{_y(0)}H{_x(1)}"/>',
            _text((_x(0) + _x(1)) / 2, HEIGHT - 8, x_name, "middle", "name"),
            f'<g transform="rotate(-90 12 {middle})">{_text(12, middle + 4, y_name, "middle", "name")}</g>',
            "</svg>",
        ]
    )


def _x(share: float) -> float:
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float, top: float = 1.0) -> float:
    return round(HEIGHT - _BOTTOM - value / top * (HEIGHT - _TOP - _BOTTOM), 1)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _gap(entry: dict[str, Any]) -> float:
    return abs(float(entry["accuracy"]) - float(entry["confidence"]))
