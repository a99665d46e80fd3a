"""Writes a bundle's model card: the hand-written part, and what was measured on the int8 model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.bundle import ModelBundle
from models.evaluation.report import decimal, percent

_CONFUSIONS = 10


@dataclass(frozen=True)
class CardFacts:
    """The content of a card besides the measurements.

    Attributes:
        bundle: as deployed, but for the card itself and the fingerprint.
        techniques: sentences on how the network was made, in the order of doing.
        parity: figures of the int8 model against its float parent, as plain values; {} where none were taken.
        split: the rows that were measured.
    """

    bundle: ModelBundle
    techniques: Sequence[str] = ()
    parity: Mapping[str, Any] = field(default_factory=dict)
    split: str = "validation"


def write_card(path: Path, template: str, results: Mapping[str, dict[str, Any]], facts: CardFacts) -> None:
    """Writes the card; the same arguments give the same bytes. It holds labels and slices, and no text of the data.

    Args:
        path: the file to write.
        template: Markdown that ends where the measurements begin: what the model is, data, licences, intended use and
            limits.
        results: `evaluate` of the deployed bundle by data set. The first, for their union, also gives slices,
            calibration, confusions and the table of labels; with a single data set, it stands for it.
        facts: see there.
    """
    headline = next(iter(results.values()))
    sets = results if len(results) > 2 else {name: results[name] for name in list(results)[:1]}
    sections = [
        template.rstrip(),
        _accuracy(sets, facts),
        _special(headline),
        _policy(facts),
        _list("How it was made", facts.techniques),
        _table("Int8 against its float parent", ("figure", "value"), _parity_rows(facts.parity)),
        _slices(headline),
        _calibration(headline),
        _confusions(headline),
        _labels(headline, facts),
    ]
    path.write_text("\n\n".join(section for section in sections if section) + "\n", encoding="utf-8")


def _accuracy(results: Mapping[str, dict[str, Any]], facts: CardFacts) -> str:
    head = (
        "data set",
        "rows in scope",
        "accuracy [95%]",
        "macro-F1 [95%]",
        "accepted",
        "accuracy of accepted [95%]",
        "out-of-scope rows escalated",
        "calibration error",
    )
    rows = []
    for name, result in results.items():
        strangers = "none there"
        if result["out_of_scope_rows"]:
            strangers = f"{_percent(result['out_of_scope_escalated_share'])} of {result['out_of_scope_rows']:,}"
        rows.append(
            (
                name,
                f"{result['in_scope_rows']:,}",
                _with_interval(result, "accuracy"),
                _with_interval(result, "macro_f1"),
                _percent(result["accepted_share"]),
                _with_interval(result, "accuracy_accepted"),
                strangers,
                _decimal(result["expected_calibration_error"]),
            )
        )
    return _table(f"Measured on the {facts.split} split, int8 model", head, rows)


def _special(result: Mapping[str, Any]) -> str:
    """The figures that only some kinds of label have."""
    lines = []
    if positives := result["positives_only"]:
        lines.append(
            f"Rows that are not {_code(positives['none_label'])}: {_with_interval(positives, 'accuracy')} of "
            f"{positives['rows']:,} are right; with that answer struck out "
            f"{_with_interval(positives, 'accuracy_without_none')}."
        )
    if several := result["several_labels"]:
        lines.append(
            f"Rows with several right labels: {several['rows_with_several']:,}. The answer is one of the right labels "
            f"in {_percent(several['any_right_share'])} of all rows; {_percent(several['found_in_top_share'])} of the "
            f"right labels are among the top {several['top_labels']}."
        )
    if positive := result["positive_label"]:
        lines.append(
            f"Average precision for {_code(positive['label'])}, which {_percent(positive['share'])} of the rows are: "
            f"{_decimal(positive['average_precision'])}."
        )
    return "\n".join(f"- {line}" for line in lines)


def _policy(facts: CardFacts) -> str:
    policy, rules = facts.bundle.policy, facts.bundle.manifest.reading
    lines = [
        f"Accepted: confidence of at least {policy.min_confidence}, familiarity of at least {policy.min_familiarity}, "
        f"read whole in at most {policy.max_windows} window{'s' if policy.max_windows > 1 else ''} of "
        f"{facts.bundle.max_tokens} tokens. Anything else is escalated.",
        f"Temperature: {facts.bundle.temperature}.",
    ]
    if policy.label_min_confidence:
        lines.append(f"Labels with a threshold of their own: {len(policy.label_min_confidence)}, see `policy.toml`.")
    if rules.template:
        lines.append(f"Text: {_code(rules.template)}.")
    if rules.split != "none":
        lines.append(f"Documents are split into {rules.split}; each is classified by itself.")
    lines += [f"{key.replace('_', ' ').capitalize()}: {_value(value)}." for key, value in policy.selection.items()]
    lines.append(
        f"The {facts.split} split chose the temperature and the thresholds, so that what is said here of calibration "
        "and acceptance is of rows the policy has partly seen."
    )
    return _list("Policy", lines)


def _parity_rows(parity: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), _value(value)) for key, value in parity.items()]


def _slices(result: Mapping[str, Any]) -> str:
    names = {"tokens": "length in tokens", "route_reason": "route reason"}
    rows = [
        (
            names.get(entry["by"], entry["by"]),
            "all others" if entry["value"] is None else entry["value"] or "(empty)",
            f"{entry['rows']:,}",
            _with_interval(entry, "accuracy"),
            _percent(entry["accepted_share"]),
            _percent(entry["accuracy_accepted"]),
        )
        for entry in result["slices"]
    ]
    return _table("Slices", ("slice", "value", "rows", "accuracy [95%]", "accepted", "accuracy of accepted"), rows)


def _calibration(result: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{_percent(entry['above'])} to {_percent(entry['up_to'])}",
            f"{entry['rows']:,}",
            _percent(entry["confidence"]),
            _with_interval(entry, "accuracy"),
        )
        for entry in result["reliability"]
    ]
    table = _table("Calibration", ("confidence", "rows", "mean confidence", "accuracy [95%]"), rows)
    curve = result["risk_coverage"]
    if not table or curve is None:
        return table
    reached = ", ".join(
        f"{_percent(share)} at {_percent(float(level))}" for level, share in curve["coverage_at_error"].items()
    )
    return (
        f"{table}\n\nThe most confident answers cover, by the error among them: {reached} of the rows. Area under the "
        f"risk–coverage curve {_decimal(curve['area'])}; Brier score {_decimal(result['brier_score'])}."
    )


def _confusions(result: Mapping[str, Any]) -> str:
    rows = [(_code(e["gold"]), _code(e["answer"]), f"{e['rows']:,}") for e in result["confusions"][:_CONFUSIONS]]
    return _table("Most frequent confusions", ("right label", "answer", "rows"), rows)


def _labels(result: Mapping[str, Any], facts: CardFacts) -> str:
    rows = [
        (
            _code(entry["label"]),
            f"{entry['rows']:,}",
            _percent(entry["precision"]),
            _percent(entry["recall"]),
            _percent(entry["f1"]),
            _percent(entry["accepted_share"]),
            _percent(entry["precision_accepted"]),
        )
        for entry in result["labels"]
    ]
    head = ("label", "rows", "precision", "recall", "F1", "accepted", "precision of accepted")
    measured = {entry["label"] for entry in result["labels"]}
    section = _table(f"Labels ({len(facts.bundle.labels)})", head, rows)
    if absent := [_code(label) for label in facts.bundle.labels if label not in measured]:
        section += f"\n\nNeither a label nor an answer of these rows: {', '.join(absent)}."
    return section


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A section with a table; "" without rows."""
    lines = ["| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"## {title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines])


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines)]) if lines else ""


def _code(text: str) -> str:
    """The text in code type, which takes more backticks than it holds in a row."""
    fence = "`"
    while fence in text:
        fence += "`"
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    return f"{value:,}" if type(value) is int else str(value)


def _percent(share: float | None) -> str:
    return percent(share, 1)


def _decimal(value: float | None) -> str:
    return decimal(value, 3)


def _with_interval(figures: Mapping[str, Any], key: str) -> str:
    bounds = figures[f"{key}_interval_95"]
    shown = _percent(figures[key])
    return shown if bounds is None else f"{shown} [{_percent(bounds[0])}, {_percent(bounds[1])}]"
