"""The first tier's cost in right answers: `python -m benchmarks.tiers BUNDLE LABELLED...`.

The encoder alone and each criterion of the policy answer the same rows, so that their differences are of pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from benchmarks.report import markdown_table
from models.bundle import ModelBundle, load_bundle
from models.classifier import Classifier
from models.evaluation.intervals import paired_loss_interval
from models.labelled import read_evaluation_data
from schemas.codes import FIRST_TIER_CHOICES
from schemas.errors import DocyardError

_HEAD = (
    "criterion", "first tier answers", "accuracy", "encoder alone", "points lost [95%]",
    "accepted and wrong, strangers among them", "encoder alone", "points more [95%]", "strangers accepted",
    "encoder alone",
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """The result of one criterion, row by row: (n,) bool each.

    Attributes:
        right: the label is the right one; never for a stranger, a row of no label of the bundle.
        accepted: the policy accepts the answer.
        first_tier: the first tier gave it.
    """

    right: npt.NDArray[np.bool_]
    accepted: npt.NDArray[np.bool_]
    first_tier: npt.NDArray[np.bool_]


def answers(bundle: ModelBundle, criterion: str, texts: Sequence[str], labels: Sequence[str]) -> Answers:
    """Classifies the rows by one criterion."""
    classifier = Classifier(bundle, first_tier=criterion)
    scores = classifier.classify(texts)
    classifier.close()
    found = np.array([*bundle.labels, None], dtype=object)[scores.label_ids]
    return Answers(
        found == np.array(labels, dtype=object), bundle.policy.route(scores, criterion).accepted, scores.first_tier
    )


def tiers_markdown(bundle: ModelBundle, texts: Sequence[str], labels: Sequence[str]) -> str:
    """Both tables.

    In scope, a row is wrong with another label than its own. With the strangers mixed in, it is wrong where the answer
    is accepted and not right: a stranger that is escalated is not an error, one that is accepted is.
    """
    in_scope = np.isin(np.array(labels, dtype=object), list(bundle.labels))
    by_criterion = {name: answers(bundle, name, texts, labels) for name in FIRST_TIER_CHOICES}
    alone = by_criterion.pop("off")
    rows = []
    for name, both in by_criterion.items():
        wrong, wrong_alone = both.accepted & ~both.right, alone.accepted & ~alone.right
        rows.append(
            [
                name,
                f"{both.first_tier[in_scope].mean():.1%}",
                f"{both.right[in_scope].mean():.2%}",
                f"{alone.right[in_scope].mean():.2%}",
                _loss(alone.right[in_scope], both.right[in_scope]),
                f"{wrong.mean():.2%}",
                f"{wrong_alone.mean():.2%}",
                _loss(wrong, wrong_alone),
                f"{both.accepted[~in_scope].sum()}",
                f"{alone.accepted[~in_scope].sum()}",
            ]
        )
    about = f"{in_scope.sum():,} rows in scope, {(~in_scope).sum():,} strangers; {bundle.name}."
    return "\n".join([about, "", *markdown_table(_HEAD, rows)])


def _loss(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> str:
    """By how many points fewer rows are true `after`, with the interval of such a pair."""
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    low, high = paired_loss_interval(lost, gained, len(before))
    return f"{(lost - gained) / len(before):.2%} [{low:.2%}, {high:.2%}]".replace("%", "")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("labelled", type=click.Path(path_type=Path), nargs=-1, required=True)
def main(bundle: Path, labelled: tuple[Path, ...]) -> None:
    """Compares a BUNDLE's encoder with its two tiers on LABELLED rows, rows of no label of the bundle among them."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        data = [read_evaluation_data(path) for path in labelled]
        texts = [text for each in data for text in each.texts]
        labels = [label for each in data for label in each.labels]
        click.echo(tiers_markdown(load_bundle(bundle), texts, labels))
    except DocyardError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
