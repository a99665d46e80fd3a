"""Inspects the labelled rows before anything is trained: oddities are reported, and what cannot work is refused."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.trained_rows import unit_hash
from models.training.config import Hygiene
from models.training.data import LabelledData, hash_below, is_description, split_keys

logger = logging.getLogger(__name__)

SMALL_LABEL_ROWS = 10  # labels with fewer training rows are named in the report
_FOLDS = 3
MIN_JUDGED_ROWS = 2 * _FOLDS  # of a label, so that every fold can be trained and judged

_DIGIT = re.compile(r"\d")
_NO_WORD = re.compile(r"\W+")


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
        cross_fitted: True where too few validation rows are left to calibrate with, so that cross-fitting does.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    train_strangers: pd.DataFrame
    validation_strangers: pd.DataFrame
    votes: pd.DataFrame
    labels: list[str]
    report: dict[str, Any]
    refused: list[str]
    cross_fitted: bool = False


def inspect_data(
    data: LabelledData,
    out_of_scope_label: str,
    rules: Hygiene,
    max_tokens: int,
    count_tokens: Callable[[Sequence[str]], npt.NDArray[np.int64]],
    cross_fit: Literal["auto", "always", "never"] = "never",
) -> InspectedData:
    """Reports oddities of the rows, drops what cannot be used, and names what rules the training out.

    Args:
        data: rows as read.
        out_of_scope_label: label of the rows that belong to none; "" for no such rows.
        rules: limits beyond which data are refused.
        max_tokens: number of tokens that the deployed model reads of a text, special tokens included.
        count_tokens: texts -> the number of tokens of each, special tokens included.
        cross_fit: where cross-fitting calibrates; "auto" for too few validation rows.
    """
    all_train, all_validation = (
        rows[rows["same_text"] != ""].reset_index(drop=True) for rows in (data.train, data.validation)
    )
    groups = set(all_validation["group"].dropna())
    leaked = all_train["same_text"].isin(set(all_validation["same_text"])) | all_train["group"].isin(groups)
    used = all_train[~leaked] if rules.leaks == "drop" else all_train
    train, train_strangers = _parted(used, out_of_scope_label)
    validation, validation_strangers = _parted(all_validation, out_of_scope_label)
    surplus = _surplus(train, rules.max_rows_per_label)
    left_out = train["label"][surplus].value_counts()
    train = train[~surplus].reset_index(drop=True)
    votes = data.votes[data.votes["id"].isin(train["id"])]
    labels = sorted({*train["label"].dropna(), *votes["label"]})
    known_ids = {*data.train["id"], *data.validation["id"]}
    near = {split: rows["same_text"].map(_near) for split, rows in (("train", train), ("validation", validation))}
    counts = {split: rows["label"].value_counts() for split, rows in (("train", train), ("validation", validation))}
    described = is_description(train)
    labelled = train[train["label"].notna() & ~described]
    lengths = {
        split: count_tokens(rows["text"].tolist()) for split, rows in (("train", train), ("validation", validation))
    }
    report = {
        "rows": {
            "train": len(train),
            "validation": len(validation),
            "validation_held_out": data.is_held_out,
            "descriptions": int(described.sum()),
            "out_of_scope_train": len(train_strangers),
            "out_of_scope_validation": len(validation_strangers),
        },
        "sources": _rows_by_source(pd.concat([train, train_strangers]), pd.concat([validation, validation_strangers])),
        "labels": {
            label: {split: int(counts[split].get(label, 0)) for split in counts}
            for label in sorted({*labels, *validation["label"]})
        },
        "votes": {
            "given": len(data.votes),
            "used": len(votes),
            "unknown": int((~data.votes["id"].isin(known_ids)).sum()),
        },
        "empty_texts": {
            "train": data.train["id"][data.train["same_text"] == ""].tolist(),
            "validation": data.validation["id"][data.validation["same_text"] == ""].tolist(),
        },
        "duplicates": _groups_of_ids(all_train, all_train["same_text"]),
        "near_duplicates": _groups_of_ids(all_train, all_train["same_text"].map(_near)),
        "conflicting_labels": _conflicts(all_train),
        "leaks": {"train_ids": all_train["id"][leaked].tolist(), "dropped": rules.leaks == "drop"},
        "left_out_of_large_labels": {label: int(n) for label, n in left_out.items()},
        "near_leaks": int(near["train"].isin(set(near["validation"])).sum()),
        "small_labels": {label: n for label in labels if (n := int(counts["train"].get(label, 0))) < SMALL_LABEL_ROWS},
        "labels_without_validation": sorted(set(labels) - set(validation["label"])) if len(validation) else [],
        "labels_without_training": sorted(set(validation["label"]) - set(labels)),
        "long_texts": {
            "max_tokens": max_tokens,
            "train": train["id"][lengths["train"] > max_tokens].tolist(),
            "validation": validation["id"][lengths["validation"] > max_tokens].tolist(),
        },
        "lengths": {split: _length_figures(counts) for split, counts in lengths.items()},
        "likely_mislabelled": find_mislabelled(labelled) if rules.find_mislabelled else None,
    }
    cross_fitted = cross_fit == "always" or (cross_fit == "auto" and _too_few(validation, rules) is not None)
    report["cross_fitted"] = cross_fitted
    refused = _refusals(train, validation, labels, set(votes["label"]), leaked, rules)
    if not cross_fitted and (reason := _too_few(validation, rules)):
        refused.append(reason)
    if len(data.votes) and votes.empty:
        refused.append(f"none of the {len(data.votes)} votes names a row to learn from; correct the ids of the votes")
    report["refused"] = refused
    return InspectedData(
        train, validation, train_strangers, validation_strangers, votes, labels, report, refused, cross_fitted
    )


def choosing_and_certifying_rows(validation: pd.DataFrame, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parts the validation rows by hash: about `share` of them calibrate and choose, none of these certifies."""
    first = hash_below(split_keys(validation), share, "calibration")
    return validation[first].reset_index(drop=True), validation[~first].reset_index(drop=True)


def _parted(rows: pd.DataFrame, out_of_scope_label: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that belong to a label, and those that belong to none."""
    strange = rows["label"] == out_of_scope_label
    return rows[~strange].reset_index(drop=True), rows[strange].reset_index(drop=True)


def _rows_by_source(train: pd.DataFrame, validation: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = {"train": train["source"].value_counts(), "validation": validation["source"].value_counts()}
    sources = sorted({*train["source"], *validation["source"]})
    return {source: {split: int(found.get(source, 0)) for split, found in counts.items()} for source in sources}


def _length_figures(tokens: npt.NDArray[np.int64]) -> dict[str, int]:
    """Median, 95th percentile and maximum of the numbers of tokens; 0 where there is no text."""
    if not len(tokens):
        return {"median": 0, "p95": 0, "longest": 0}
    return {
        "median": int(np.median(tokens)),
        "p95": int(np.quantile(tokens, 0.95)),
        "longest": int(tokens.max()),
    }


def _near(text: str) -> str:
    """The text without its figures and punctuation: the part that letters of one template have in common."""
    return _NO_WORD.sub(" ", _DIGIT.sub("0", text)).strip()


def _surplus(train: pd.DataFrame, most: int) -> pd.Series:
    """True for a row beyond the `most` of its label with the lowest hashes; False where only votes know the label."""
    if not most:
        return pd.Series(False, index=train.index)
    return train["id"].map(unit_hash).groupby(train["label"]).rank(method="first") > most


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


def find_mislabelled(rows: pd.DataFrame, seed: int = 0) -> list[dict[str, Any]]:
    """The rows, of those with `id`, `text` and `label`, whose label is in doubt, the most doubtful first.

    A model of word counts, trained on the other rows, would rather give another label; it takes seconds. Labels with
    fewer than MIN_JUDGED_ROWS rows are left out.

    Returns:
        `id`, `label`, the likelier label as `rather`, and the probability of the given one in [0, 1].

    Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021.
    """
    from cleanlab.filter import find_label_issues

    started = time.monotonic()
    names, ids, counts = np.unique(rows["label"].to_numpy(dtype=object), return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts >= MIN_JUDGED_ROWS)
    if len(kept) < 2:
        return []
    judged = np.isin(ids, kept)
    label_ids = np.searchsorted(kept, ids[judged])
    probabilities = out_of_sample_probabilities(rows["text"][judged].tolist(), label_ids, len(kept), seed)
    found = find_label_issues(label_ids, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    logger.info("looked for mislabelled rows in %.0f s", time.monotonic() - started)
    row_ids = rows["id"][judged].tolist()
    return [
        {
            "id": row_ids[place],
            "label": str(names[kept[label_ids[place]]]),
            "rather": str(names[kept[probabilities[place].argmax()]]),
            "probability": round(float(probabilities[place, label_ids[place]]), 4),
        }
        for place in found
    ]


def out_of_sample_probabilities(
    texts: list[str], label_ids: npt.NDArray[np.intp], n_labels: int, seed: int
) -> npt.NDArray[np.float64]:
    """A linear model of word counts asked about each text after it was trained on others.

    It takes seconds, and a wrong label does not easily fool it.

    Args:
        texts: (n_texts,).
        label_ids: (n_texts,) in [0, n_labels); each that occurs must occur at least MIN_JUDGED_ROWS times.
        n_labels: size of the taxonomy.
        seed: of the folds and of the model.

    Returns:
        (n_texts, n_labels); 0 for a label that does not occur.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold

    probabilities = np.zeros((len(texts), n_labels))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    for learned, judged in folds.split(texts, label_ids):
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\S+", max_features=100_000)
        model = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=seed)
        model.fit(words.fit_transform([texts[row] for row in learned]), label_ids[learned])
        judgements = model.predict_proba(words.transform([texts[row] for row in judged]))
        probabilities[judged[:, None], model.classes_] = judgements
    return probabilities


def _refusals(
    train: pd.DataFrame, validation: pd.DataFrame, labels: list[str], voted: set[str], leaked: pd.Series, rules: Hygiene
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
    if rules.leaks == "drop" and len(leaked) and leaked.mean() > rules.max_leaked_share:
        refused.append(
            f"{int(leaked.sum())} of {len(leaked)} training rows have a text or group that the validation rows have "
            'too; split the data again, or set hygiene.leaks = "keep" where rows repeat by nature'
        )
    return refused


def _too_few(validation: pd.DataFrame, rules: Hygiene) -> str | None:
    """The reason that the validation rows cannot both calibrate and certify; None where they can."""
    if len(validation) < rules.min_validation_rows:
        return (
            f"expected at least {rules.min_validation_rows} validation rows with a label, found {len(validation)}; "
            'label more rows, raise data.validation_share, or set few_rows.cross_fit = "auto"'
        )
    smaller = min(len(half) for half in choosing_and_certifying_rows(validation, 0.5))
    if smaller < rules.min_validation_rows // 4:
        return (
            f"the validation rows belong to so few groups that only {smaller} of {len(validation)} would be left "
            "to calibrate or to choose the policy; validate on more groups"
        )
    return None


def _named(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
