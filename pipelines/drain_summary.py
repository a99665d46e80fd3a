"""Words and figures for what `docyard drain` did, would do, and left."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from escalation.clock import iso_time
from escalation.llm.batch_export import ExportedBatch
from escalation.llm.batch_import import ImportedBatch
from escalation.llm.budget import NANOS, money
from escalation.llm.estimate import Estimate
from escalation.llm.qualification import Qualified
from escalation.report import QueueReport
from pipelines.drain import Drained
from schemas.drain_config import DrainConfig

_LOADED = ("escalated", "new", "decided_before", "withdrawn")


def describe_drained(done: Drained, config: DrainConfig) -> str:
    """A summary of the loading, the asking, and the state of the queue."""
    lines = [
        f"loaded {load.partition}: {load.escalated:,} escalated, {load.new:,} new, {load.decided_before:,} of them "
        f"decided before, {load.withdrawn:,} withdrawn"
        for load in done.loads
    ]
    if done.counts:
        counts = done.counts
        stopped = f"; stopped by {counts.stopped}, the rest waits" if counts.stopped else ""
        lines.append(
            f"worked on {counts.items:,} items: {counts.answers:,} calls answered, {counts.failures:,} failed{stopped}"
        )
    return "\n".join([*lines, *_report_lines(done.report, config)])


def describe_estimate(found: Estimate, config: DrainConfig) -> str:
    """A summary of the requests and costs that a drain would make."""
    tokens = found.input_tokens
    lines = [
        f"items   {found.items:,} to ask about, {found.not_asked:,} straight to people",
        f"tokens  {tokens.low:,.0f} / {tokens.expected:,.0f} / {tokens.high:,.0f} sent (low / expected / high)",
    ]
    if found.cost is None or found.price is None:
        lines.append(f"cost    unknown: no [[budget.prices]] for {config.llm.model!r}")
    else:
        low, expected, high = (
            money(nanos, config.budget.currency) for nanos in (found.cost.low, found.cost.expected, found.cost.high)
        )
        dated = f", price of {found.price.as_of}" if found.price.as_of else ""
        lines.append(f"cost    {low} / {expected} / {high}, each item asked once{dated}")
    measured = "earlier calls" if found.measured else "a rule of thumb, until 20 calls are measured"
    lines.append(f"        expected rests on {measured}; high is what the cap counts before a call")
    return "\n".join([*lines, "nothing was sent and nothing changed"])


def describe_export(done: ExportedBatch) -> str:
    """A summary of a batch, and the next step."""
    if not done.requests:
        return "nothing to export: no item is pending that may be asked about"
    lines = [f"{done.batch_id}: {done.requests:,} requests", *(f"  {path}" for path in done.files)]
    return "\n".join([*lines, "next: have them answered, then docyard drain --import-batch FILE"])


def describe_import(found: ImportedBatch) -> str:
    """A summary of the lines of a batch's answers."""
    return "  ".join(f"{name} {count:,}" for name, count in asdict(found).items())


def describe_qualified(found: Qualified) -> str:
    """A summary of a qualification: proof that the backend is better, and the items it may settle."""
    fit = found.fit
    may = (
        "it settles nothing: its items go to people"
        if fit.min_confidence is None
        else f"it settles items from {fit.min_confidence:.3f} on, {fit.coverage:.1%} of such texts"
    )
    return "\n".join(
        [
            f"{found.backend} with {found.bundle}",
            f"  texts      {fit.n:,} escalated for a low confidence, {found.unanswered:,} without a valid answer",
            f"  alone      {fit.small_correct / fit.n:.3f} right",
            f"  combined   {fit.combined_correct / fit.n:.3f} right, weight {fit.weight:.1f}",
            f"  gain       {fit.gain:+.3f}, 95% interval {fit.gain_low:+.3f} to {fit.gain_high:+.3f}",
            f"  so         {may}",
        ]
    )


def qualified_figures(found: Qualified) -> dict[str, Any]:
    """The same as plain values."""
    return {"backend": found.backend, "bundle": found.bundle, "unanswered": found.unanswered, **asdict(found.fit)}


def drained_figures(done: Drained) -> dict[str, Any]:
    """The same as plain values."""
    report = done.report
    return {
        "loads": [{**asdict(load.partition), **{name: getattr(load, name) for name in _LOADED}} for load in done.loads],
        "drained": asdict(done.counts) if done.counts else None,
        "states": report.states(),
        "codes": [asdict(entry) for entry in report.codes],
        "calls": report.calls,
        "errors": report.errors,
        "cost": report.cost_nanos / NANOS,
        "spent_in_period": report.spent_nanos / NANOS,
        "unpriced_calls": report.unpriced_calls,
        "qualifications": list(report.qualifications),
        "events": report.events,
    }


def estimate_figures(found: Estimate) -> dict[str, Any]:
    """The same as plain values; money in the currency, not in billionths."""
    return {
        "items": found.items,
        "not_asked": found.not_asked,
        "input_tokens": asdict(found.input_tokens),
        "cost": {name: nanos / NANOS for name, nanos in asdict(found.cost).items()} if found.cost else None,
        "price_as_of": found.price.as_of if found.price else None,
        "measured": found.measured,
    }


def _report_lines(report: QueueReport, config: DrainConfig) -> list[str]:
    states = report.states()
    lines = [
        "queue   " + "  ".join(f"{state} {count:,}" for state, count in states.items() if count) or "queue   empty"
    ]
    for entry in report.codes:
        lines.append(
            f"  {entry.state:<10} {entry.code:<24} {entry.document_type:<14} {entry.items:>9,}  "
            f"oldest since {iso_time(entry.oldest)}"
        )
    calls = "  ".join(f"{status} {count:,}" for status, count in report.calls.items() if count)
    if calls:
        lines.append(f"calls   {calls}")
    if report.errors:
        lines.append("errors  " + "  ".join(f"{error} {count:,}" for error, count in report.errors.items()))
    budget = config.budget
    cap = "no cap" if budget.max_spend is None else f"of {budget.max_spend:,.4f} {budget.currency}"
    period = {"day": "today (UTC)", "month": "this month (UTC)", "ever": "ever"}[budget.period]
    lines.append(f"spent   {money(report.spent_nanos, budget.currency)} {period}, {cap}")
    if report.unpriced_calls:
        lines.append(f"        and {report.unpriced_calls:,} calls whose price is unknown")
    for row in report.qualifications:
        settles = "settles nothing" if row["min_confidence"] is None else f"settles from {row['min_confidence']:.3f} on"
        lines.append(
            f"vote    {row['backend']} with {row['bundle']}: {row['combined_correct']} right of {row['n']}, alone "
            f"{row['small_correct']}; gain {row['gain']:+.3f} ({row['gain_low']:+.3f} to {row['gain_high']:+.3f}); "
            f"{settles}"
        )
    return lines
