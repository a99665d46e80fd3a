"""Reports of an evaluation: lines for a terminal, and one self-contained HTML page with plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 440, 300  # of the drawing; it scales with the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 12, 46
_NICE_TOPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
_CONFUSIONS = 25  # pairs on the page; the JSON has more
_STYLE = """
:root { --ink: #1f2933; --soft: #52606d; --rule: #d9dfe5; --paper: #fff; --shade: #f5f7f9; --blue: #24669c;
  --red: #b4452f; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 70rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0; padding: 0; }
.figures div { padding: .75rem 1rem; background: var(--shade); border-radius: .4rem; }
.figures dt { color: var(--soft); font-size: .9rem; }
.figures dd { margin: 0; font-size: 1.5rem; font-weight: 600; }
.figures dd + dd { font-size: .85rem; font-weight: 400; color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1.25rem; }
figure { margin: 0; }
figure h2 { margin: 1rem 0 .25rem; }
.plot { width: 100%; height: auto; display: block; }
.plot text { fill: var(--soft); font-size: 12px; }
.plot .name, .plot .strong { fill: var(--ink); font-size: 13px; }
.plot .strong { font-weight: 600; }
.grid { stroke: var(--rule); }
.axis { stroke: var(--soft); fill: none; }
.line { stroke: var(--blue); stroke-width: 2; fill: none; }
.guide { stroke: var(--soft); stroke-dasharray: 3 4; fill: none; }
.interval { stroke: var(--blue); stroke-width: 1.5; opacity: .55; }
.point { fill: var(--blue); stroke: #fff; }
.right { fill: #6f9dc4; }
.wrong { fill: var(--red); }
.track { fill: #e6ebf0; }
.bar { margin-right: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .25rem 0 .5rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th.text, td.text { text-align: left; font-weight: 400; white-space: normal; overflow-wrap: break-word;
  max-width: 24rem; }
@media (max-width: 40rem) { th, td { padding-right: .6rem; }
  th.text, td.text { min-width: 6rem; max-width: 10rem; overflow-wrap: anywhere; } }
@media print { body { padding: 0; max-width: none; font-size: 9.5pt; } .scroll { overflow: visible; }
  tr, figure, .figures div { break-inside: avoid; } h2 { break-after: avoid; } thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def percent(share: float | None, digits: int = 2) -> str:
    """A share as a percentage, "-" where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """A 95% interval of a share as two percentages."""
    return "-" if bounds is None else f"{percent(bounds[0], digits)} to {percent(bounds[1], digits)}"


def decimal(value: float | None, digits: int = 4) -> str:
    """A figure that is no share, "-" where there is none."""
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


def evaluation_page(result: dict[str, Any], data_name: str) -> str:
    """The page; the same figures give the same page.

    Args:
        result: of `models.evaluation.evaluate`.
        data_name: name of the data that the figures were measured on, for the heading.
    """
    title = f"{result['bundle']} on {data_name}"
    rows = f"{result['rows']:,} rows, {result['in_scope_rows']:,} of them in scope"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{rows}. Every figure is of the bundle as it would run: its int8 model under its policy. '
        "Ranges are 95% intervals.</p>",
        _figures(result),
    ]
    if result["in_scope_rows"]:
        parts += [_plots(result), _slices(result), _confusions(result), _labels(result)]
    parts += [_strangers(result), _speed(result)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _figures(result: dict[str, Any]) -> str:
    """The headline figures, each with what it needs to be understood."""
    figures = [
        ("Accuracy", percent(result["accuracy"]), interval(result["accuracy_interval_95"])),
        ("Macro-F1", percent(result["macro_f1"]), interval(result["macro_f1_interval_95"])),
        ("Accepted by the policy", percent(result["accepted_share"]), f"{result['accepted_rows']:,} rows"),
        (
            "Accuracy of the accepted",
            percent(result["accuracy_accepted"]),
            interval(result["accuracy_accepted_interval_95"]),
        ),
        (
            "Calibration error",
            decimal(result["expected_calibration_error"]),
            f"Brier score {decimal(result['brier_score'])}",
        ),
    ]
    if curve := result["risk_coverage"]:
        reached = curve["coverage_at_error"]
        told = ", ".join(f"{percent(share, 1)} at {percent(float(level), 0)}" for level, share in reached.items())
        figures.append(("Risk–coverage area", decimal(curve["area"]), f"coverage {told} error"))
    if positives := result["positives_only"]:
        name = f"Accuracy where not {positives['none_label']}"
        which = f"{percent(positives['accuracy_without_none'])} with that answer struck out"
        told = f"{interval(positives['accuracy_interval_95'])}; {which}"
        figures.append((name, percent(positives["accuracy"]), told))
    if first_tier := result["first_tier"]:
        told = f"of which right {percent(first_tier['accuracy'])}, {interval(first_tier['accuracy_interval_95'])}"
        figures.append(("Answered by the first tier", percent(first_tier["share"]), told))
    if several := result["several_labels"]:
        found = f"{percent(several['found_in_top_share'])} of the right labels are in the top {several['top_labels']}"
        figures.append(("Any right label", percent(several["any_right_share"]), found))
    if positive := result["positive_label"]:
        told = f"for {positive['label']}, {percent(positive['share'])} of the rows"
        figures.append(("Average precision", decimal(positive["average_precision"]), told))
    if result["failed_rows"]:
        figures.append(("Failed", f"{result['failed_rows']:,}", "rows the model could not read"))
    cells = [f"<div><dt>{escape(a)}</dt><dd>{escape(b)}</dd><dd>{escape(c)}</dd></div>" for a, b, c in figures]
    return '<dl class="figures">\n' + "\n".join(cells) + "\n</dl>"


def _plots(result: dict[str, Any]) -> str:
    curve, bins = result["risk_coverage"], result["reliability"]
    right = result["accuracy_accepted"]
    plots = [
        (
            "What confidence buys",
            risk_coverage_plot(curve["curve"], result["accepted_share"], None if right is None else 1 - right),
            "The most confident answers first: how many are wrong when only so many are given. The policy also has a "
            "guard against strangers, so that it may lie off the curve.",
        )
    ]
    if bins:
        plots += [
            (
                "Is confidence honest?",
                reliability_plot(bins),
                "On the diagonal, answers of confidence 80% are right 80% of the time. Larger dots are more rows; bars "
                "are 95% intervals.",
            ),
            (
                "Where the answers lie",
                confidence_plot(bins),
                "The better right and wrong answers part, the more a policy can accept.",
            ),
        ]
    drawn = [f"<figure><h2>{a}</h2>\n{b}\n<figcaption>{c}</figcaption></figure>" for a, b, c in plots]
    return '<div class="plots">\n' + "\n".join(drawn) + "\n</div>"


def _slices(result: dict[str, Any]) -> str:
    names = {"tokens": "length in tokens", "route_reason": "route reason"}
    rows = [
        (
            names.get(entry["by"], entry["by"]),
            "all others" if entry["value"] is None else entry["value"] or "(empty)",
            f"{entry['rows']:,}",
            percent(entry["accuracy"]),
            interval(entry["accuracy_interval_95"]),
            percent(entry["accepted_share"]),
            percent(entry["accuracy_accepted"]),
        )
        for entry in result["slices"]
    ]
    head = ("Slice", "Value", "Rows", "Accuracy", "95% interval", "Accepted", "Accuracy of accepted")
    return _table("Slices", "Parts of the rows in scope, measured alone.", head, rows, text_columns=2)


def _confusions(result: dict[str, Any]) -> str:
    rows = [(entry["gold"], entry["answer"], f"{entry['rows']:,}") for entry in result["confusions"][:_CONFUSIONS]]
    told = f"The {len(rows)} most frequent pairs of wrong answers." if rows else "No answer is wrong."
    return _table("Confusions", told, ("Right label", "Answer", "Rows"), rows, text_columns=2)


def _labels(result: dict[str, Any]) -> str:
    entries = sorted(result["labels"], key=_weakest_first)
    rows = [
        (
            entry["label"],
            f"{entry['rows']:,}",
            percent(entry["precision"], 1),
            percent(entry["recall"], 1),
            (bar(entry["f1"]), percent(entry["f1"], 1)),
            percent(entry["accepted_share"], 1),
            percent(entry["precision_accepted"], 1),
        )
        for entry in entries
    ]
    head = ("Label", "Rows", "Precision", "Recall", "F1", "Accepted", "Precision of accepted")
    return _table(
        "Labels",
        "By F1, the weakest first; last, labels that are answers of these rows but right for none of them.",
        head,
        rows,
    )


def _strangers(result: dict[str, Any]) -> str:
    if not result["out_of_scope_rows"]:
        return ""
    told = (
        f"{percent(result['out_of_scope_escalated_share'])} of the {result['out_of_scope_rows']:,} rows whose label "
        "the bundle does not know are escalated, as they should be."
    )
    rows = [(label, f"{rows:,}") for label, rows in result["unknown_labels"].items()]
    return _table("Out of scope", told, ("Label of the data", "Rows"), rows)


def _speed(result: dict[str, Any]) -> str:
    rows = [("Size of the model", f"{result['model_bytes'] / 1e6:,.1f} MB")]
    if speed := result["speed"]:
        rows += [
            ("Documents a second", f"{speed['documents_per_second']:,.0f}"),
            ("Documents a CPU second", f"{speed['documents_per_cpu_second']:,.0f}"),
            ("One document alone, median", f"{speed['single_p50_ms']:.2f} ms"),
            ("One document alone, 95th percentile", f"{speed['single_p95_ms']:.2f} ms"),
            ("Most memory of the process", f"{speed['peak_memory_bytes'] / 1e6:,.0f} MB"),
        ]
    told = "Times are of the machine that measured, at that moment; other figures do not depend on it."
    return _table("Size and speed", told, ("Figure", "Value"), rows)


def _table(
    title: str,
    told: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str | tuple[str, str]]],
    text_columns: int = 1,
) -> str:
    """A section with a table; a cell that is a pair is a drawing, put in as it is, and its text."""

    def cell(place: int, value: str | tuple[str, str]) -> str:
        drawing, text = value if isinstance(value, tuple) else ("", value)
        if place == 0:
            return f'<th scope="row" class="text">{escape(text)}</th>'
        return f"<td{_kind(place, text_columns)}>{drawing}{escape(text)}</td>"

    heads = [f'<th scope="col"{_kind(i, text_columns)}>{escape(name)}</th>' for i, name in enumerate(head)]
    lines = ["<tr>" + "".join(cell(i, value) for i, value in enumerate(row)) + "</tr>" for row in rows]
    section = f"<section>\n<h2>{escape(title)}</h2>\n"
    if not lines:
        return f'{section}<p class="soft">{escape(told)}</p>\n</section>'
    return (
        f'{section}<div class="scroll" role="region" aria-label="{escape(title)}" tabindex="0">\n<table>\n'
        f"<caption>{escape(told)}</caption>\n<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n"
        + "\n".join(lines)
        + "\n</tbody>\n</table>\n</div>\n</section>"
    )


def _kind(place: int, text_columns: int) -> str:
    return ' class="text"' if place < text_columns else ""


def _weakest_first(entry: dict[str, Any]) -> tuple[bool, float, str]:
    """By F1; labels that no row has come last."""
    return entry["rows"] == 0, entry["f1"], entry["label"]


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
