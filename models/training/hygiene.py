"""Looks the labelled rows over before anything is trained: what is odd is reported, what cannot work is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.training.labelled import LabelledData, hash_below, split_keys, unit_hash
from models.training.mislabelled import find_mislabelled
from schemas.errors import ConfigError

SMALL_LABEL_ROWS = 10  # labels with fewer training rows are named in the report

_DIGIT = re.compile(r"\d")
_NO_WORD = re.compile(r"\W+")


@dataclass(frozen=True)
class Hygiene:
    """Limits beyond which data are reported or refused.

    Attributes:
        min_rows_per_label: a label with fewer training rows is refused.
        min_validation_rows: fewer labelled validation rows are refused: half of them calibrate, half choose the policy.
        leaks: treatment of training rows whose text or group is in the validation rows too: "drop" or "keep".
        max_leaked_share: part of the training rows, in [0, 1], above which "drop" is refused.
        max_rows_per_label: training rows of one label beyond this are left out, chosen by hash; 0 for no limit.
        find_mislabelled: True to look for likely mislabelled rows, which takes seconds to a minute.
    """

    min_rows_per_label: int = 2
    min_validation_rows: int = 50
    leaks: str = "drop"
    max_leaked_share: float = 0.2
    max_rows_per_label: int = 0
    find_mislabelled: bool = True

    def __post_init__(self) -> None:
        if self.leaks not in ("drop", "keep"):
            raise ConfigError(f'hygiene.leaks: expected "drop" or "keep", found {self.leaks!r}')
        if self.min_rows_per_label < 1 or self.min_validation_rows < 4:
            raise ConfigError("hygiene: expected min_rows_per_label >= 1 and min_validation_rows >= 4")
        if self.max_rows_per_label and self.max_rows_per_label < self.min_rows_per_label:
            raise ConfigError(
                f"hygiene.max_rows_per_label: expected 0, or {self.min_rows_per_label} and more, found "
                f"{self.max_rows_per_label}"
            )
        if not 0.0 <= self.max_leaked_share <= 1.0:
            raise ConfigError(f"hygiene.max_leaked_share: expected 0 to 1, found {self.max_leaked_share}")


@dataclass(frozen=True, eq=False)
class InspectedData:
    """The rows that are used.

    Attributes:
        train: rows with a label or with votes.
        validation: rows with a label of the taxonomy.
        train_strangers: training rows that belong to no label.
        validation_strangers: validation rows that belong to no label.
        votes: (id, label, weight) of rows of `train`.
        labels: the taxonomy, sorted.
        report: plain values, fit for JSON; rows by id, without their text.
        refused: the reasons the data cannot be trained on, one sentence each; empty where it can.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    train_strangers: pd.DataFrame
    validation_strangers: pd.DataFrame
    votes: pd.DataFrame
    labels: list[str]
    report: dict[str, Any]
    refused: list[str]


def inspect_data(
    data: LabelledData,
    out_of_scope_label: str,
    rules: Hygiene,
    max_tokens: int,
    count_tokens: Callable[[Sequence[str]], npt.NDArray[np.int64]],
) -> InspectedData:
    """Reports everything odd about the rows, drops what cannot be used, and says what rules the training out.

    Args:
        data: rows as read.
        out_of_scope_label: label of the rows that belong to none; "" for no such rows.
        rules: limits beyond which data are refused.
        max_tokens: number of tokens that the deployed model reads of a text, special tokens included.
        count_tokens: texts -> how many tokens each has, special tokens included.
    """
    empty = {split: rows["id"][rows["same_text"] == ""] for split, rows in _splits(data.train, data.validation)}
    all_train, all_validation = _with_text(data.train), _with_text(data.validation)
    leaked = _leaked(all_train, all_validation)
    used = all_train[~leaked] if rules.leaks == "drop" else all_train
    train, train_strangers = _parted(used, out_of_scope_label)
    validation, validation_strangers = _parted(all_validation, out_of_scope_label)
    surplus = _surplus(train, rules.max_rows_per_label)
    left_out = train["label"][surplus].value_counts()
    train = train[~surplus].reset_index(drop=True)
    votes = data.votes[data.votes["id"].isin(train["id"])]
    labels = sorted({*train["label"].dropna(), *votes["label"]})
    report = {
        "rows": {
            "train": len(train),
            "validation": len(validation),
            "validation_held_out": data.is_held_out,
            "out_of_scope_train": len(train_strangers),
            "out_of_scope_validation": len(validation_strangers),
        },
        "labels": _label_counts(train, validation, labels),
        "votes": _votes(data, votes),
        "empty_texts": {split: ids.tolist() for split, ids in empty.items()},
        "duplicates": _groups_of_ids(all_train, all_train["same_text"]),
        "near_duplicates": _groups_of_ids(all_train, all_train["same_text"].map(_near)),
        "conflicting_labels": _conflicts(all_train),
        "leaks": {"train_ids": all_train["id"][leaked].tolist(), "dropped": rules.leaks == "drop"},
        "left_out_of_large_labels": {label: int(n) for label, n in left_out.items()},
        "near_leaks": int(_near_leaked(train, validation).sum()),
        "small_labels": _small_labels(train, labels),
        "labels_without_validation": sorted(set(labels) - set(validation["label"])),
        "labels_without_training": sorted(set(validation["label"]) - set(labels)),
        "long_texts": _long_texts(train, validation, max_tokens, count_tokens),
        "likely_mislabelled": _mislabelled(train) if rules.find_mislabelled else None,
    }
    refused = _refusals(train, validation, labels, set(votes["label"]), leaked, rules)
    if len(data.votes) and votes.empty:
        refused.append(f"none of the {len(data.votes)} votes names a row to learn from; correct the ids of the votes")
    report["refused"] = refused
    return InspectedData(train, validation, train_strangers, validation_strangers, votes, labels, report, refused)


def calibration_and_policy_rows(validation: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Halves the validation rows by hash: no row both sets the temperature and chooses the policy."""
    first = hash_below(split_keys(validation), 0.5, "calibration")
    return validation[first].reset_index(drop=True), validation[~first].reset_index(drop=True)


def _splits(train: pd.DataFrame, validation: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [("train", train), ("validation", validation)]


def _with_text(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["same_text"] != ""].reset_index(drop=True)


def _votes(data: LabelledData, used: pd.DataFrame) -> dict[str, int]:
    """Counts of all votes, of those on rows to learn from, and of those that name no row at all."""
    known = {*data.train["id"], *data.validation["id"]}
    return {"given": len(data.votes), "used": len(used), "unknown": int((~data.votes["id"].isin(known)).sum())}


def _parted(rows: pd.DataFrame, out_of_scope_label: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that belong to a label, and those that belong to none."""
    strange = rows["label"] == out_of_scope_label
    return rows[~strange].reset_index(drop=True), rows[strange].reset_index(drop=True)


def _near(text: str) -> str:
    """The text without its figures and punctuation: what letters of one template have in common."""
    return _NO_WORD.sub(" ", _DIGIT.sub("0", text)).strip()


def _leaked(train: pd.DataFrame, validation: pd.DataFrame) -> pd.Series:
    groups = set(validation["group"].dropna())
    return train["same_text"].isin(set(validation["same_text"])) | train["group"].isin(groups)


def _surplus(train: pd.DataFrame, most: int) -> pd.Series:
    """True for a row that is one too many of its label; the rows that stay are those with the lowest hashes."""
    if not most:
        return pd.Series(False, index=train.index)
    return (
        train["id"].map(unit_hash).groupby(train["label"]).rank(method="first") > most
    )  # False where votes alone know the label


def _near_leaked(train: pd.DataFrame, validation: pd.DataFrame) -> pd.Series:
    return train["same_text"].map(_near).isin(set(validation["same_text"].map(_near)))


def _label_counts(train: pd.DataFrame, validation: pd.DataFrame, labels: list[str]) -> dict[str, dict[str, int]]:
    counts = {split: rows["label"].value_counts() for split, rows in _splits(train, validation)}
    named = sorted({*labels, *validation["label"]})
    return {label: {split: int(counts[split].get(label, 0)) for split in counts} for label in named}


def _groups_of_ids(rows: pd.DataFrame, keys: pd.Series) -> list[list[str]]:
    repeated = keys.duplicated(keep=False)
    return [ids.tolist() for _, ids in rows["id"][repeated].groupby(keys[repeated], sort=False)]


def _conflicts(rows: pd.DataFrame) -> list[dict[str, list[str]]]:
    labelled = rows[rows["label"].notna()]
    disagreeing = labelled.groupby("same_text")["label"].transform("nunique") > 1
    return [
        {"ids": group["id"].tolist(), "labels": sorted(group["label"].unique())}
        for _, group in labelled[disagreeing].groupby("same_text", sort=False)
    ]


def _small_labels(train: pd.DataFrame, labels: list[str]) -> dict[str, int]:
    counts = train["label"].value_counts()
    return {label: n for label in labels if (n := int(counts.get(label, 0))) < SMALL_LABEL_ROWS}


def _long_texts(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    max_tokens: int,
    count_tokens: Callable[[Sequence[str]], npt.NDArray[np.int64]],
) -> dict[str, Any]:
    found: dict[str, Any] = {"max_tokens": max_tokens}
    for split, rows in _splits(train, validation):
        found[split] = rows["id"][count_tokens(rows["text"].tolist()) > max_tokens].tolist()
    return found


def _mislabelled(train: pd.DataFrame) -> list[dict[str, Any]]:
    labelled = train[train["label"].notna()].reset_index(drop=True)
    return [
        {"id": labelled["id"][item.row], "label": item.label, "rather": item.rather, "probability": item.probability}
        for item in find_mislabelled(labelled["text"].tolist(), labelled["label"].tolist())
    ]


def _refusals(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    labels: list[str],
    voted: set[str],
    leaked: pd.Series,
    rules: Hygiene,
) -> list[str]:
    refused = []
    if len(labels) < 2:
        refused.append(f"expected at least 2 labels to learn, found {len(labels)}")
    counts = train["label"].value_counts()
    few = [label for label in labels if counts.get(label, 0) < rules.min_rows_per_label and label not in voted]
    if few:
        refused.append(
            f"{len(few)} labels have fewer than {rules.min_rows_per_label} training rows ({_named(few)}); label more "
            "rows, merge these labels, or remove their rows"
        )
    unprintable = [ascii(label) for label in labels if not label.isprintable()]
    if unprintable:
        refused.append(
            f"{len(unprintable)} labels hold characters that do not print ({_named(unprintable)}); rename them"
        )
    unknown = sorted(set(validation["label"]) - set(labels))
    if unknown:
        refused.append(
            f"{len(unknown)} labels have validation rows but no training row ({_named(unknown)}); correct or move the "
            "rows, or name the label of rows that belong to none in data.out_of_scope_label"
        )
    if len(validation) < rules.min_validation_rows:
        refused.append(
            f"expected at least {rules.min_validation_rows} validation rows with a label, found {len(validation)}; "
            "label more rows, or raise data.validation_share"
        )
    else:
        smaller = min(len(half) for half in calibration_and_policy_rows(validation))
        if smaller < rules.min_validation_rows // 4:
            refused.append(
                f"the validation rows belong to so few groups that only {smaller} of {len(validation)} would be left "
                "to calibrate or to choose the policy; validate on more groups"
            )
    if rules.leaks == "drop" and len(leaked) and leaked.mean() > rules.max_leaked_share:
        refused.append(
            f"{int(leaked.sum())} of {len(leaked)} training rows have a text or group that the validation rows have "
            'too; split the data again, or set hygiene.leaks = "keep" where rows repeat by nature'
        )
    return refused


def _named(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
