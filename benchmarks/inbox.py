"""A sampled inbox after its run, against what its documents are: `python -m benchmarks inbox`."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

TRUTH = "inbox_truth.csv"
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("sample", type=_FOLDER)
@click.argument("warehouse", type=_FOLDER)
def inbox(sample: Path, warehouse: Path) -> None:
    """Measures the run over the inbox of SAMPLE, the only one that is published in WAREHOUSE."""
    tables = (pd.read_parquet(warehouse / table) for table in ("classifications", "rejections"))
    classified, rejected = (table.astype({"document_type": str}) for table in tables)
    for line in compare(pd.read_csv(sample / TRUTH), classified, rejected):
        click.echo(line)


def compare(truth: pd.DataFrame, classified: pd.DataFrame, rejected: pd.DataFrame) -> list[str]:
    """Counts of documents accounted for, of the right kind, kept out, and rejected for the right reason.

    Args:
        truth: document_id, label (a kind or a reason code) and outcome, as `docyard sample --inbox` writes them.
        classified: document_id, parent_id of a paragraph, document_type and route.
        rejected: document_id, reason_code and stage.
    """
    documents = classified.assign(id=classified["parent_id"].fillna(classified["document_id"])).groupby("id")
    kind = documents["document_type"].first()
    accepted = documents["route"].agg(lambda routes: "accepted" in set(routes))
    reason = rejected.drop_duplicates("document_id").set_index("document_id")["reason_code"]
    doors = truth["document_id"].isin(kind.index).astype(int) + truth["document_id"].isin(reason.index)
    known, strange, broken = (truth[truth["outcome"] == name] for name in ("in_scope", "out_of_scope", "broken"))
    found = known["document_id"].map(kind).fillna(known["document_id"].map(reason))
    right = found == known["label"]
    wrong = (known["label"] + " → " + found)[~right].value_counts()
    let_in = strange["document_id"].map(accepted).fillna(False).astype(bool)
    missing = truth["document_id"][doors == 0]
    packets = missing.str.partition("!")[0]
    in_doubt = (packets.isin(kind.index) & (packets != missing)).sum()
    cut = missing.isin({name.partition("!")[0] for name in (*kind.index, *reason.index) if "!" in name}).sum()
    right_reason = broken["document_id"].map(reason) == broken["label"]
    return [
        f"accounted for   {(doors == 1).sum() + in_doubt + cut:,} of {len(truth):,} documents, each once",
        f"                {in_doubt:,} of them in packets that go to people whole, {cut:,} cut into several",
        f"kind right      {right.sum():,} of {len(known):,}, {right.mean():.1%}",
        *(f"                {count:,} {change}" for change, count in wrong.items()),
        f"kept out        {(~let_in).sum():,} of {len(strange):,} strangers, {(~let_in).mean():.1%}: not accepted",
        f"right reason    {right_reason.sum():,} of {len(broken):,} broken documents",
    ]
