"""Places and paths of the pictures in a report; the templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

_HEIGHT = 240.0  # of all rows together
_SLOT = 17.0  # the least room of a node's line of text
_BAR, _MIDDLE, _RIGHT = 8, 132, 232  # width of a node; left edges of the nodes
_TOP, _GAP, _GROUP_GAP = 26.0, 4.0, 12.0
_MOST_REASONS = 7
_LEAST_WIDTH, _LETTER = 440, 7.5  # of a flow; the most room of a letter on average

PLOT_WIDTH, PLOT_HEIGHT = 440, 220
_PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 8, 10, 30
_LONGEST_JOIN = 7  # places from one point of a line to the next, beyond which they are not joined


def flow(counts: dict[str, Any]) -> dict[str, Any]:
    """A Sankey diagram: what came in, all rows, and what became of them by reason.

    Returns:
        `width`, `height`, `bands` (`kind`, `path`, `told`), `nodes` (`kind`, `x`, `y`, `height`) and `texts` (`x`, `y`,
        `name`, `count`).
    """
    came = [("came", name, counts[name]) for name in ("read", "unpacked", "split_off") if counts[name]]
    became = [
        ("accepted", "accepted", counts["accepted"]),
        *_reasons("escalated", {name: n for name, n in counts["route_reasons"].items() if name != "certain"}),
        *_reasons("rejected", counts["reasons"]),
    ]
    became = [entry for entry in became if entry[2]]
    rows = max(1, sum(entry[2] for entry in came))
    left, right = _slots(came, rows), _slots(became, rows)
    height = max(left[-1][1] + left[-1][2], right[-1][1] + right[-1][2], _TOP + _HEIGHT) + 6
    middle = _TOP
    picture: dict[str, Any] = {"height": math.ceil(height), "bands": [], "nodes": [], "texts": []}
    picture["nodes"].append({"kind": "came", "x": _MIDDLE, "y": middle, "height": _HEIGHT})
    picture["texts"].append({"x": _MIDDLE, "y": middle - 8, "name": "rows", "count": rows})
    for entries, slots, x, is_left in ((came, left, 0, True), (became, right, _RIGHT, False)):
        at = middle
        for (kind, name, count), (thickness, top, room) in zip(entries, slots, strict=True):
            y = top + (room - thickness) / 2
            start, end = (x + _BAR, _MIDDLE) if is_left else (_MIDDLE + _BAR, x)
            from_y, to_y = (y, at) if is_left else (at, y)
            told = f"{name.replace('_', ' ')}: {count:,} of {rows:,} rows"
            picture["bands"].append({"kind": kind, "path": _band(start, from_y, end, to_y, thickness), "told": told})
            picture["nodes"].append({"kind": kind, "x": x, "y": y, "height": thickness})
            picture["texts"].append({"x": x + _BAR + 6, "y": top + room / 2 + 4, "name": name, "count": count})
            at += thickness
    ends = [text["x"] + _LETTER * len(f"{text['count']:,} {text['name']}") for text in picture["texts"]]
    return picture | {"width": math.ceil(max(_LEAST_WIDTH, *ends))}


def _reasons(kind: str, reasons: dict[str, int]) -> list[tuple[str, str, int]]:
    """The most frequent reasons, and the rest as one."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    kept, rest = ordered[:_MOST_REASONS], ordered[_MOST_REASONS:]
    return [(kind, name, count) for name, count in kept] + [(kind, "other reasons", sum(n for _, n in rest))]


def _slots(entries: Sequence[tuple[str, str, int]], rows: int) -> list[tuple[float, float, float]]:
    """Thickness of each node, and the top and height of its room."""
    slots, y, before = [], _TOP, ""
    for kind, _, count in entries:
        y += _GROUP_GAP if before not in ("", kind) else 0.0
        thickness = max(1.0, _HEIGHT * count / rows)
        room = max(_SLOT, thickness)
        slots.append((round(thickness, 1), round(y, 1), round(room, 1)))
        y, before = y + room + _GAP, kind
    return slots


def _band(x: float, y: float, to_x: float, to_y: float, thickness: float) -> str:
    bend = (x + to_x) / 2
    there = f"M{x},{y:.1f}C{bend},{y:.1f} {bend},{to_y:.1f} {to_x},{to_y:.1f}"
    back = f"V{to_y + thickness:.1f}C{bend},{to_y + thickness:.1f} {bend},{y + thickness:.1f} {x},{y + thickness:.1f}Z"
    return there + back


def short(value: float) -> str:
    """A number with about two digits, or all those before the point."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def columns(
    entries: Sequence[dict[str, Any]],
    kinds: Sequence[str],
    names: Sequence[str],
    places: Sequence[int] | None = None,
    words: Callable[[float], str] = short,
) -> dict[str, Any]:
    """Stacked columns.

    Args:
        entries: each with a number per kind.
        kinds: the parts of a column, the lowest first.
        names: of the entries.
        places: of the entries on the axis, ascending, such as days; side by side without them.
        words: the text of a number.

    Returns:
        `left` (where the axis begins), `ticks` (`y`, `text`), `bars` (`kind`, `x`, `y`, `width`, `height`, `told`) and
        `names` (`x`, `name`).
    """
    top = nice_top(max((sum(entry[kind] for kind in kinds) for entry in entries), default=0))
    ticks = [{"y": _y(share), "text": f"{top * share:,.10g}"} for share in (0.0, 0.5, 1.0)]
    left, width, middles = _across(ticks, places or range(len(entries)))
    bars = []
    for entry, name, middle in zip(entries, names, middles, strict=True):
        below = 0.0
        for kind in kinds:
            if entry[kind]:
                y, bottom = _y((below + entry[kind]) / top), _y(below / top)
                told = f"{name}: {words(entry[kind])} {kind.replace('_', ' ')}"
                x = round(middle - 0.4 * width, 1)
                size = {"width": round(width * 0.8, 1), "height": round(bottom - y, 1)}
                bars.append({"kind": kind, "x": x, "y": y, **size, "told": told})
            below += entry[kind]
    return {"left": left, "ticks": ticks, "bars": bars, "names": _names(names, middles)}


def line(values: Sequence[float], names: Sequence[str], places: Sequence[int]) -> dict[str, Any]:
    """A line of shares on an axis that begins and ends at whole twentieths.

    Points more than a week apart are not joined: nothing is known of the days between.

    Args:
        values: the shares.
        names: of the values.
        places: of the values on the axis, ascending: days.

    Returns:
        `left`, `ticks`, `points` (`x`, `y`, `told`), `path` and `names`.
    """
    low = max(0.0, math.floor(min(values) * 20 - 0.4) / 20)
    high = min(1.0, math.ceil(max(values) * 20 + 0.4) / 20)
    shown = [low + (high - low) * share for share in (0.0, 0.5, 1.0)]
    ticks = [
        {"y": _y(share), "text": f"{100 * value:.3g}%"} for share, value in zip((0.0, 0.5, 1.0), shown, strict=True)
    ]
    left, _, middles = _across(ticks, places)
    points = [
        {"x": round(middle, 1), "y": _y((value - low) / (high - low)), "told": f"{name}: {100 * value:.1f}%"}
        for value, name, middle in zip(values, names, middles, strict=True)
    ]
    path = ""
    for at, point in enumerate(points):
        joined = at and places[at] - places[at - 1] <= _LONGEST_JOIN
        path += f"{'L' if joined else 'M'}{point['x']},{point['y']}"
    return {"left": left, "ticks": ticks, "points": points, "path": path, "names": _names(names, middles)}


def nice_top(value: float) -> float:
    """The end of an axis: the next number of the form 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)


def _y(share: float) -> float:
    return round(PLOT_HEIGHT - _PLOT_BOTTOM - share * (PLOT_HEIGHT - _PLOT_TOP - _PLOT_BOTTOM), 1)


def _across(ticks: Sequence[dict[str, Any]], places: Sequence[int]) -> tuple[float, float, list[float]]:
    """The left end of the axis, which leaves the ticks their room; the width of a place; the middle of each."""
    left = 12 + _LETTER * max(4, *(len(tick["text"]) for tick in ticks))
    first = places[0] if places else 0
    width = (PLOT_WIDTH - left - _PLOT_RIGHT) / (1 + places[-1] - first if places else 1)
    return left, width, [left + (place - first + 0.5) * width for place in places]


def _names(names: Sequence[str], middles: Sequence[float]) -> list[dict[str, Any]]:
    """As many of the names as have room, the last one among them, with the place of each one's middle."""
    room = _LETTER * max(map(len, names), default=1)
    kept: list[dict[str, Any]] = []
    for name, middle in zip(reversed(names), reversed(middles), strict=True):
        if not kept or kept[-1]["x"] - middle >= room:
            kept.append({"x": round(middle, 1), "name": name})
    return kept[::-1]
