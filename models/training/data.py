"""Reads the labelled rows of a bundle, from Parquet, CSV or JSON Lines, and holds some of them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.labelled import SUFFIXES, label_of, name_of, read_records, several_labels, text_of
from models.trained_rows import same_text, unit_hash
from models.training.config import DEFAULT_ID_COLUMN, DataConfig
from schemas.errors import ConfigError, InputError
from schemas.fields import field_value, parse_text_template

UNLABELLED = -100  # as torch ignores it
COLUMNS = ("id", "text", "label", "group", "source", "right_labels", "entry", "same_text")

_NO_WORDS, _A_WORD = re.compile(r"[\W_]+"), re.compile(r"[^\W\d_]{3}")
_ADVICE = "correct the path, or the folder it starts from with --data"


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Rows with the columns COLUMNS: `text` may be empty, `label` None where only votes know it.

    Attributes:
        train: rows to learn from.
        validation: rows to choose, calibrate and measure with.
        is_held_out: True where the validation rows were taken out of the training files.
        votes: (id, label, weight) of rows of `train`.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    is_held_out: bool
    votes: pd.DataFrame


def read_labelled(
    config: DataConfig,
    root: Path,
    min_rows_per_label: int = 1,
    keep_all: Callable[[int], bool] | None = None,
    names_up_to: int = 0,
) -> LabelledData:
    """Reads all rows of both splits, and holds some out where there is no validation data.

    Args:
        config: the files and columns to read.
        root: folder that relative paths start from.
        min_rows_per_label: least rows of a label that holding out leaves to learn from.
        keep_all: number of labelled rows -> True where none of them is to be held out.
        names_up_to: where labels have at most so many training rows on average, a label without a description is
            described by its name.

    Raises:
        ConfigError: a file has no such column, a description is of no label, or not every folder has a file for
            validation.
        InputError: a file is missing or unreadable, an id occurs twice, or a label is missing.
    """
    votes = _read_votes(config, root)
    voted = set(votes["id"])
    train = _read_split([(entry, _file(root / entry, "train")) for entry in config.train], config, voted)
    validation_files = _validation_files(config, root)
    if validation_files:
        validation = _read_split(validation_files, config, set())
        return LabelledData(_with_others(train, config, root, names_up_to), validation, False, votes)
    if keep_all is not None and keep_all(int(train["label"].notna().sum())):
        nothing = train.iloc[:0].reset_index(drop=True)
        return LabelledData(_with_others(train, config, root, names_up_to), nothing, True, votes)
    kept, held_out = hold_out(train, config.validation_share, min_rows_per_label)
    return LabelledData(_with_others(kept, config, root, names_up_to), held_out, True, votes)


def certifying_files(config: DataConfig, root: Path, certify_on: tuple[str, ...]) -> list[Path]:
    """The files that the certifying rows are read from, in the order of the configuration.

    Raises:
        ConfigError: `certify_on` names something else than the data of the configuration.
    """
    files = _validation_files(config, root) or [(entry, _file(root / entry, "train")) for entry in config.train]
    if unknown := [entry for entry in certify_on if entry not in dict(files)]:
        raise ConfigError(f"policy.certify_on: {unknown[0]!r} is none of the data to validate on; correct it")
    return [path for entry, path in files if not certify_on or entry in certify_on]


def read_strangers(entries: Sequence[str], root: Path) -> dict[str, list[str]]:
    """The texts of each file, or of the file `train` of each folder, that are not empty.

    Raises:
        ConfigError: a file has no column `text`.
        InputError: a file is missing or unreadable.
    """
    found = {}
    for entry in entries:
        texts = [record["text"] for record in read_records(_file(root / entry, "train"), ["text"], advice=_ADVICE)]
        found[entry] = [text for text in texts if isinstance(text, str) and text.strip()]
    return found


def read_unlabelled(
    entries: Sequence[str], config: DataConfig, root: Path, train: pd.DataFrame, validation: pd.DataFrame
) -> list[str]:
    """The texts of each file, or of the file `train` of each folder: every one once, and none that is known already.

    Args:
        entries: the files.
        config: the columns, those of the labelled rows; the column of labels may be missing and is not read.
        root: folder that relative paths start from.
        train: the labelled rows to learn from, with `same_text`.
        validation: rows whose texts and groups must not be learned, with `same_text` and `group`.

    Raises:
        ConfigError: a file has no such column.
        InputError: a file is missing or unreadable.
    """
    template = parse_text_template(config.template) if config.template else None
    columns = [*(template.fields if template else [config.text_column])]
    groups = set(validation["group"].dropna())
    known = {"", *train["same_text"], *validation["same_text"]}
    texts = []
    for entry in entries:
        path = _file(root / entry, "train")
        records = read_records(path, columns, [config.group_column] if config.group_column else [], _ADVICE)
        for number, record in enumerate(records, start=1):
            where = f"{path}: row {number}"
            text = text_of(record, config.text_column, template, where)
            same = same_text(text)
            if same not in known and _name(record, config.group_column, where) not in groups:
                known.add(same)
                texts.append(text)
    return texts


def hold_out(rows: pd.DataFrame, share: float, min_rows_per_label: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Takes out about `share` of the rows, by a hash of their group or text: rows that are alike stay together.

    A label that would be left with too few rows keeps all of them, and all that belong with those.
    """
    keys = split_keys(rows)
    out = hash_below(keys, share, "validation") & rows["label"].notna()
    left = rows["label"][~out].value_counts().reindex(rows["label"].dropna().unique(), fill_value=0)
    poor = rows["label"].isin(left.index[left < min_rows_per_label])
    out &= ~keys.isin(set(keys[poor]))
    return rows[~out].reset_index(drop=True), rows[out].reset_index(drop=True)


def split_keys(rows: pd.DataFrame) -> pd.Series:
    """The key that rows on one side of a split have in common: their group, else their text."""
    return rows["group"].where(rows["group"].notna(), rows["same_text"])


def hash_below(keys: pd.Series, share: float, salt: str) -> pd.Series:
    """True for each key in the first `share` of all hashes; never depends on the other keys."""
    return keys.map(lambda key: unit_hash(f"{salt}:{key}") < share).astype(bool)


def label_ids_of(rows: pd.DataFrame, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n_rows,) Places of the rows' labels among `labels`; UNLABELLED for others and for rows without one."""
    places = {label: index for index, label in enumerate(labels)}
    return np.array([places.get(label, UNLABELLED) for label in rows["label"]], dtype=np.int64)


def label_shares(rows: pd.DataFrame, labels: Sequence[str], further_share: float) -> npt.NDArray[np.float32] | None:
    """Targets of rows with several right labels: each row's label first, `further_share` for its further ones together.

    Returns:
        (n_rows, n_labels) float32 that sum to 1, or to 0 in rows without a label of `labels`; None where no row has a
        further label.
    """
    places = {label: index for index, label in enumerate(labels)}
    shares = np.zeros((len(rows), len(labels)), dtype=np.float32)
    has_further = False
    for row, (label, right) in enumerate(zip(rows["label"], rows["right_labels"], strict=True)):
        if label not in places:
            continue
        further = [places[other] for other in dict.fromkeys(right) if other != label and other in places]
        shares[row, places[label]] = 1 - further_share if further else 1
        shares[row, further] = further_share / max(1, len(further))
        has_further |= bool(further)
    return shares if has_further else None


def soft_labels(votes: pd.DataFrame, ids: pd.Series, labels: list[str]) -> npt.NDArray[np.float32] | None:
    """The votes as probabilities, (n_rows, n_labels) float32 in the order of `ids`; NaN rows have none.

    Returns:
        None where there are no votes at all.
    """
    if votes.empty:
        return None
    totals = votes.pivot_table(index="id", columns="label", values="weight", aggfunc="sum", fill_value=0.0)
    totals = totals.reindex(index=ids, columns=labels)
    known = totals.notna().any(axis=1)
    values = totals.fillna(0.0).to_numpy(dtype=np.float64, copy=True)
    values[~known.to_numpy()] = np.nan
    return np.asarray(values / values.sum(axis=1, keepdims=True), dtype=np.float32)


def is_description(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """(n_rows,) True for rows that are a label's description: they are learned, and measure nothing."""
    return np.asarray(rows["entry"] == "", dtype=np.bool_)


def _with_others(train: pd.DataFrame, config: DataConfig, root: Path, names_up_to: int) -> pd.DataFrame:
    """The rows to learn from, with those that people settled and those that describe labels.

    Neither is a sample of all texts, so that it neither calibrates nor chooses the policy.
    """
    train = _with_reviewed(train, config, root)
    known = train[train["label"].notna()].drop_duplicates("label").set_index("label")
    descriptions = dict(config.descriptions)
    if len(train) <= names_up_to * len(known):
        names = {label: _NO_WORDS.sub(" ", label) for label in known.index if label != config.out_of_scope_label}
        descriptions = {label: name for label, name in names.items() if _A_WORD.search(name)} | descriptions
    if unknown := sorted(set(descriptions) - set(known.index)):
        raise ConfigError(f"data.descriptions: {unknown[0]!r} is not a label of the training rows; correct it")
    rows = [
        (f"description of {label}", text, label, None, known.at[label, "source"], (), "", same_text(text))
        for label, text in sorted(descriptions.items())
    ]
    if not rows:
        return train
    return pd.concat([train, pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)], ignore_index=True)


def _with_reviewed(train: pd.DataFrame, config: DataConfig, root: Path) -> pd.DataFrame:
    if not config.reviewed:
        return train
    as_exported = DataConfig(train=config.reviewed, group_column="group", source_column="source")
    reviewed = _read_split([(entry, root / entry) for entry in config.reviewed], as_exported, set())
    if reviewed["id"].isin(train["id"]).any():
        reviewed["id"] = "reviewed:" + reviewed["id"]
    return pd.concat([train, reviewed], ignore_index=True)


def _validation_files(config: DataConfig, root: Path) -> list[tuple[str, Path]]:
    if config.validation:
        return [(entry, _file(root / entry, "validation")) for entry in config.validation]
    with_one = [entry for entry in config.train if _candidates(root / entry, "validation")]
    if with_one and len(with_one) < len(config.train):
        without = next(entry for entry in config.train if entry not in with_one)
        raise ConfigError(
            f"data.train: {with_one[0]} holds a file for validation, {without} does not; name what to validate on in "
            "data.validation"
        )
    return [(entry, _file(root / entry, "validation")) for entry in with_one]


def _file(path: Path, split: str) -> Path:
    """The file itself, or the one named `split` in a folder."""
    if not path.is_dir():
        return path
    found = _candidates(path, split)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        expected = ", ".join(split + suffix for suffix in SUFFIXES)
        raise InputError(f"{path}: expected one file among {expected}, found {names}; name the file itself")
    return found[0]


def _candidates(folder: Path, split: str) -> list[Path]:
    return [path for suffix in SUFFIXES if (path := folder / f"{split}{suffix}").is_file()]


def _read_split(files: list[tuple[str, Path]], config: DataConfig, voted: set[str]) -> pd.DataFrame:
    frames = [_read_file(path, entry, config, voted) for entry, path in files]
    rows = pd.concat(frames, ignore_index=True)
    if rows["id"].duplicated().any():
        if voted:
            raise InputError("data.votes: an id names rows of several training files; make the ids distinct")
        # Every file has its own row 1; reports must tell them apart.
        parts = [entry + ":" + frame["id"] for (entry, _), frame in zip(files, frames, strict=True)]
        rows["id"] = pd.concat(parts, ignore_index=True)
    return rows


def _read_file(path: Path, entry: str, config: DataConfig, voted: set[str]) -> pd.DataFrame:
    template = parse_text_template(config.template) if config.template else None
    columns = [*(template.fields if template else [config.text_column]), config.label_column]
    columns += [column for column in (config.group_column, config.source_column, config.labels_column) if column]
    is_default = config.id_column == DEFAULT_ID_COLUMN
    columns += [] if is_default else [config.id_column]
    records = read_records(path, columns, [DEFAULT_ID_COLUMN] if is_default else [], _ADVICE)
    ids = _ids(records, config.id_column, path)
    source = Path(entry).name if Path(entry).is_absolute() else Path(entry).as_posix()
    rows = [
        (
            ids[place],
            text_of(record, config.text_column, template, f"{path}: {ids[place]}"),
            label_of(field_value(record, config.label_column), f"{path}: {ids[place]}: {config.label_column!r}"),
            _name(record, config.group_column, f"{path}: {ids[place]}"),
            _name(record, config.source_column, f"{path}: {ids[place]}") or source,
            several_labels(
                field_value(record, config.labels_column) if config.labels_column else None,
                f"{path}: {ids[place]}: {config.labels_column!r}",
            ),
            entry,
        )
        for place, record in enumerate(records)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS[:-1]), dtype=object)
    unlabelled = frame["id"][frame["label"].isna() & ~frame["id"].isin(voted)]
    if len(unlabelled):
        raise InputError(
            f"{path}: {len(unlabelled)} rows have no {config.label_column!r}, the first is {unlabelled.iloc[0]}; label "
            "or remove them"
        )
    return frame.assign(same_text=frame["text"].map(same_text))


def _ids(records: list[dict[str, Any]], column: str, path: Path) -> list[str]:
    values = [field_value(record, column) for record in records]
    if column == DEFAULT_ID_COLUMN and all(value is None for value in values):
        return [f"row {number}" for number in range(1, len(values) + 1)]
    ids = [_name(record, column, f"{path}: row {number}") for number, record in enumerate(records, start=1)]
    seen: set[str] = set()
    for number, name in enumerate(ids, start=1):
        if name is None or name in seen:
            raise InputError(
                f"{path}: row {number}: {column!r} is {'missing' if name is None else f'{name}, as of another row'}; "
                "give every row an id of its own"
            )
        seen.add(name)
    return [name for name in ids if name is not None]


def _name(record: Mapping[str, Any], column: str, where: str) -> str | None:
    return name_of(field_value(record, column), f"{where}: {column!r}") or None if column else None


def _read_votes(config: DataConfig, root: Path) -> pd.DataFrame:
    rows: list[tuple[str, str, float]] = []
    for entry in config.votes:
        path = root / entry
        for number, record in enumerate(
            read_records(path, [config.id_column, config.label_column], ["weight"], _ADVICE), start=1
        ):
            where = f"{path}: row {number}"
            name = _name(record, config.id_column, where)
            label = label_of(field_value(record, config.label_column), f"{where}: {config.label_column!r}")
            if name is None or label is None:
                raise InputError(f"{where}: {config.id_column!r} or {config.label_column!r} is missing; complete it")
            weight = record.get("weight")
            try:
                share = 1.0 if weight is None else float(weight)
            except (TypeError, ValueError):
                share = np.nan
            if not 0.0 <= share < np.inf:
                raise InputError(f"{where}: 'weight': expected a number from 0 up; correct it")
            if share and label != config.out_of_scope_label:
                rows.append((name, label, share))
    return pd.DataFrame(rows, columns=["id", "label", "weight"])
