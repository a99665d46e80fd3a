"""Two bundles on the same texts: what the second one would change, with 95% intervals.

Shares have the exact interval of Clopper and Pearson. Differences are paired, since both bundles answer the same rows:
those of shares by Bonett and Price, that of the errors among accepted answers, which are shares of different rows, by
resampling the rows. The sources are in `intervals`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.intervals import bootstrap_interval, exact_lower_bound, exact_upper_bound, paired_loss_interval
from models.evaluation.report import interval, percent
from models.policy import Policy
from models.scores import Scores

NO_ANSWER = "(no answer)"
_TAIL = 0.025
_SHOWN = 10  # lines of each list


@dataclass(frozen=True, eq=False)
class Answers:
    """A bundle's answers to some texts.

    Attributes:
        labels: (n,) str, NO_ANSWER where the model failed.
        accepted: (n,) bool, True where nobody looks.
        reasons: (n,) str, the route reasons.
    """

    labels: npt.NDArray[np.str_]
    accepted: npt.NDArray[np.bool_]
    reasons: npt.NDArray[np.str_]


def routed(scores: Scores, policy: Policy, first_tier: str) -> Answers:
    """The answers as a run publishes them, without regard to demotions."""
    routing = policy.route(scores, first_tier)
    names = np.array([*policy.labels, NO_ANSWER])
    return Answers(names[np.where(scores.failed, len(policy.labels), scores.label_ids)], *routing[:2])


def compare_answers(old: Answers, new: Answers, right: Sequence[Sequence[str]] | None = None) -> dict[str, Any]:
    """The changes from one bundle to the other.

    Args:
        old: answers of the bundle in use.
        new: answers of the other one to the same n texts, n >= 1.
        right: (n,) the right labels of each text; None where nobody knows them. An accepted answer that is none of them
            is wrong, also where the text belongs to no label.

    Returns:
        Plain values: `rows`, `labels_changed`, `routes_changed`, `routes`, `accepted_share`, `route_reasons`,
        `label_changes` and `per_label`; with right labels also `accuracy`, `accepted_error`, `newly_accepted`,
        `no_longer_accepted`. A share is an object with its count, `share` and `interval`; a difference is new less old.
    """
    n = len(old.labels)
    changed = old.labels != new.labels
    both = old.accepted & new.accepted
    result: dict[str, Any] = {
        "rows": n,
        "labels_changed": _share(int(changed.sum()), n),
        "routes_changed": _share(int((old.accepted != new.accepted).sum()), n),
        "accepted_with_another_label": _share(int((both & changed).sum()), n),
        "routes": {
            "accepted_by_both": int(both.sum()),
            "accepted_to_escalated": int((old.accepted & ~new.accepted).sum()),
            "escalated_to_accepted": int((~old.accepted & new.accepted).sum()),
            "escalated_by_both": int((~old.accepted & ~new.accepted).sum()),
        },
        "accepted_share": _paired(old.accepted, new.accepted),
        "route_reasons": [
            {"old": was, "new": now, "rows": count}
            for (was, now), count in _counted(old.reasons, new.reasons, np.ones(n, dtype=np.bool_))
        ],
    }
    if right is None:
        old_right = new_right = None
    else:
        old_right, new_right = _right(old, right), _right(new, right)
        result |= _with_right_labels(old, new, old_right, new_right)
    result["label_changes"] = _label_changes(old, new, changed, old_right, new_right)
    result["per_label"] = _per_label(old, new, old_right, new_right)
    return result


def _right(answers: Answers, right: Sequence[Sequence[str]]) -> npt.NDArray[np.bool_]:
    return np.array([label in names for label, names in zip(answers.labels.tolist(), right, strict=True)], dtype=bool)


def _with_right_labels(
    old: Answers, new: Answers, old_right: npt.NDArray[np.bool_], new_right: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    old_wrong, new_wrong = old.accepted & ~old_right, new.accepted & ~new_right
    fresh, gone = new.accepted & ~old.accepted, old.accepted & ~new.accepted

    def difference(rows: npt.NDArray[np.intp]) -> float:
        was, now = max(int(old.accepted[rows].sum()), 1), max(int(new.accepted[rows].sum()), 1)
        return float(new_wrong[rows].sum() / now - old_wrong[rows].sum() / was)

    error: dict[str, Any] = {
        "old": _share(int(old_wrong.sum()), int(old.accepted.sum())),
        "new": _share(int(new_wrong.sum()), int(new.accepted.sum())),
        "difference": None,
        "interval": None,
    }
    if old.accepted.any() and new.accepted.any():
        error["difference"] = difference(np.arange(len(old.labels)))
        error["interval"] = bootstrap_interval(difference, len(old.labels))
    return {
        "accuracy": _paired(old_right, new_right),
        "accepted_error": error,
        "newly_accepted": _share(int((fresh & ~new_right).sum()), int(fresh.sum())),
        "no_longer_accepted": _share(int((gone & ~old_right).sum()), int(gone.sum())),
    }


def _share(count: int, rows: int) -> dict[str, Any]:
    if not rows:
        return {"count": 0, "of": 0, "share": None, "interval": None}
    bounds = exact_lower_bound(count, rows, _TAIL), exact_upper_bound(count, rows, _TAIL)
    return {"count": count, "of": rows, "share": count / rows, "interval": bounds}


def _paired(old: npt.NDArray[np.bool_], new: npt.NDArray[np.bool_]) -> dict[str, Any]:
    lost, gained, n = int((old & ~new).sum()), int((~old & new).sum()), len(old)
    low, high = paired_loss_interval(lost, gained, n)
    shares = {"old": float(old.mean()), "new": float(new.mean()), "lost": lost, "gained": gained}
    return shares | {"difference": (gained - lost) / n, "interval": (-high, -low)}


def _counted(
    old: npt.NDArray[np.str_], new: npt.NDArray[np.str_], where: npt.NDArray[np.bool_]
) -> list[tuple[tuple[str, str], int]]:
    """Pairs of old and new values with their rows, most frequent first, then by name."""
    counts = Counter(zip(old[where].tolist(), new[where].tolist(), strict=True))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _label_changes(
    old: Answers,
    new: Answers,
    changed: npt.NDArray[np.bool_],
    old_right: npt.NDArray[np.bool_] | None,
    new_right: npt.NDArray[np.bool_] | None,
) -> list[dict[str, Any]]:
    found = []
    for (was, now), count in _counted(old.labels, new.labels, changed):
        rows = (old.labels == was) & (new.labels == now)
        change: dict[str, Any] = {"old": was, "new": now, "rows": count}
        change["accepted_by_both"] = int((rows & old.accepted & new.accepted).sum())
        if old_right is not None and new_right is not None:
            change["right_before"], change["right_now"] = int((rows & old_right).sum()), int((rows & new_right).sum())
        found.append(change)
    return found


def _per_label(
    old: Answers,
    new: Answers,
    old_right: npt.NDArray[np.bool_] | None,
    new_right: npt.NDArray[np.bool_] | None,
) -> list[dict[str, Any]]:
    """Each label's answers by both bundles; those whose accepted answers change most come first."""
    found = []
    for label in sorted({*old.labels.tolist(), *new.labels.tolist()}):
        row: dict[str, Any] = {"label": label}
        for name, answers, is_right in (("old", old, old_right), ("new", new, new_right)):
            given = answers.labels == label
            row[f"answers_{name}"] = int(given.sum())
            row[f"accepted_{name}"] = int((given & answers.accepted).sum())
            if is_right is not None:
                row[f"wrong_accepted_{name}"] = int((given & answers.accepted & ~is_right).sum())
        found.append(row)
    return sorted(found, key=lambda row: (-abs(row["accepted_new"] - row["accepted_old"]), row["label"]))


def describe_comparison(result: dict[str, Any]) -> str:
    """The comparison for a terminal; intervals are of 95%."""
    routes = result["routes"]
    lines = [
        f"{result['old']} -> {result['new']}, {result['rows']:,} rows of {result['source']}",
        *_flattered(result),
        _line("another label", _in_words(result["labels_changed"])),
        _line("accepted by both, other label", _in_words(result["accepted_with_another_label"])),
        _line("another route", _in_words(result["routes_changed"])),
        _line(
            "accepted",
            f"{_difference(result['accepted_share'])}; {routes['escalated_to_accepted']:,} newly, "
            f"{routes['accepted_to_escalated']:,} no longer",
        ),
    ]
    if "accepted_error" in result:
        error = result["accepted_error"]
        lines += [
            _line("accuracy of all", _difference(result["accuracy"])),
            _line("wrong among accepted, old", _in_words(error["old"])),
            _line("wrong among accepted, new", _in_words(error["new"])),
        ]
        if error["difference"] is not None:
            lines.append(_line("  difference", f"{_signed(error['difference'])} ({interval(error['interval'])})"))
        lines += [
            _line("wrong among newly accepted", _in_words(result["newly_accepted"])),
            _line("wrong among no longer accepted", _in_words(result["no_longer_accepted"])),
        ]
    lines += _list("labels that change most often", [_change_words(change) for change in result["label_changes"]])
    moved = [row for row in result["per_label"] if row["accepted_old"] != row["accepted_new"]]
    lines += _list("labels accepted more or less often", [_label_words(row) for row in moved])
    return "\n".join(lines)


def _flattered(result: dict[str, Any]) -> list[str]:
    """Warnings of rows that a bundle has seen, on which its figures flatter it."""
    lines = []
    for which in ("old", "new"):
        if trained := result.get("rows_trained_on", {}).get(which):
            lines.append(f"  {trained:,} of the rows trained the {which} bundle: its figures flatter it")
        if result.get("rows_certified_by", {}).get(which):
            lines.append(f"  these rows certified the {which} bundle: its errors here were bounded by choice")
    return lines


def _line(name: str, words: str) -> str:
    return f"  {name:<31}{words}"


def _list(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    rest = len(lines) - _SHOWN
    more = [f"    and {rest:,} more; --json has them all"] if rest > 0 else []
    return [f"  {title}:", *(f"    {line}" for line in lines[:_SHOWN]), *more]


def _in_words(share: dict[str, Any]) -> str:
    if share["share"] is None:
        return "none"
    return f"{percent(share['share'])} ({interval(share['interval'])}), {share['count']:,} of {share['of']:,}"


def _difference(paired: dict[str, Any]) -> str:
    return (
        f"{percent(paired['old'])} -> {percent(paired['new'])}, {_signed(paired['difference'])} points "
        f"({interval(paired['interval'])})"
    )


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}"


def _change_words(change: dict[str, Any]) -> str:
    truth = f", right before {change['right_before']:,}, now {change['right_now']:,}" if "right_now" in change else ""
    both = f", accepted by both {change['accepted_by_both']:,}"
    return f"{change['old']} -> {change['new']}: {change['rows']:,}{both}{truth}"


def _label_words(row: dict[str, Any]) -> str:
    wrong = ""
    if "wrong_accepted_new" in row:
        wrong = f", wrong {row['wrong_accepted_old']:,} -> {row['wrong_accepted_new']:,}"
    return f"{row['label']}: accepted {row['accepted_old']:,} -> {row['accepted_new']:,}{wrong}"
