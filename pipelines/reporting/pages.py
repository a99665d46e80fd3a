"""The pages of a report: self-contained HTML that runs nothing and loads nothing."""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
from typing import Any

import jinja2
from markupsafe import Markup

from models.drift import apart
from models.evaluation.report import decimal, percent
from pipelines.reporting.pictures import columns, flow, line, short
from pipelines.terminal import counted

_LABELS_DRAWN = 9


def run_page(run: dict[str, Any], warehouse: str, cost: dict[str, Any] | None) -> str:
    """The page of one run.

    Args:
        run: of `run_figures`.
        warehouse: as the command to verify names it.
        cost: of `escalation.queue_state.run_costs`, of this run; None where there is no queue.
    """
    return _page(
        "run.html",
        run=run,
        warehouse=warehouse,
        cost=cost,
        flow=flow(run["counts"]),
        confidences=columns(
            run["confidences"], ("accepted", "escalated"), [each["above"] for each in run["confidences"]]
        ),
    )


def trends_page(trends: dict[str, Any]) -> str:
    """The page of many runs.

    Args:
        trends: of `trend_figures`.
    """
    dates = trends["dates"]
    names = [date["run_date"][5:] for date in dates]
    days = [datetime.date.fromisoformat(date["run_date"]).toordinal() for date in dates]
    by_date = [
        {**date["counts"], "rows_per_second": date["rows_per_second"], **(date["cost"] or {"cost": 0})}
        for date in dates
    ]
    known = [date["cost"] for date in dates if date["cost"] is not None]
    accepted = [date["counts"]["accepted"] / max(1, date["rows"]) for date in dates]
    return _page(
        "trends.html",
        trends=trends,
        outcomes=columns(by_date, ("accepted", "escalated", "rejected"), names, days),
        accepted=line(accepted, names, days) if dates else None,
        speed=columns(by_date, ("rows_per_second",), names, days),
        cost={name: sum(cost[name] for cost in known) for name in known[0]} if known else None,
        costs=columns(by_date, ("cost",), names, days, _money),
        labels=[label | {"picture": line(label["shares"], names, days)} for label in trends["labels"][:_LABELS_DRAWN]],
    )


def _page(template: str, **values: Any) -> str:
    """The policy in the page lets a browser apply this very style sheet and nothing else."""
    environment = _environment()
    style = environment.get_template("style.css").render() + environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    safe = Markup(style)
    return environment.get_template(template).render(values, style=safe, style_hash=f"sha256-{digest}")


@functools.cache
def _environment() -> jinja2.Environment:
    own, shared = jinja2.PackageLoader("pipelines.reporting"), jinja2.PackageLoader("models.evaluation")
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([own, shared]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "apart": lambda figure: apart(figure["value"], figure["limit"]),
        "bytes": _bytes,
        "change": _change,
        "count": "{:,}".format,
        "counted": counted,
        "decimal": decimal,
        "money": _money,
        "percent": percent,
        "seconds": _seconds,
        "short": lambda value: "-" if value is None else short(value),
        "time": lambda text: text[:16].replace("T", " "),
        "words": lambda name: name.replace("_", " "),
    }
    return environment


def _change(row: dict[str, Any]) -> str:
    """Points of a share's change since the week before."""
    return "-" if row["week_share"] is None else f"{100 * (row['share'] - row['week_share']):+.1f} points"


def _money(amount: float) -> str:
    """With two digits after the point, or four below 1."""
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.4f}"


def _seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
