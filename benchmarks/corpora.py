"""Labelled sets and strangers: the texts that the measurements of certificates and guards share."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from models.bundle import ModelBundle
from models.labelled import Columns, read_evaluation_data, read_records
from schemas.configuration import read_toml
from schemas.errors import ConfigError
from schemas.fields import parse_text_template

LANGUAGES = Path(__file__).parent / "languages.toml"
_T = TypeVar("_T")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class LabelledSet:
    """A set of labelled rows, by the folder it lies in.

    Attributes:
        labels_column: holds all right labels of a row; "" where a row has one.
        cluster_column: equal for rows that stand or fall together; "" where rows are independent.
    """

    labels_column: str = ""
    cluster_column: str = ""


# The sets that each shipped bundle was made for.
OWN_SETS: Mapping[str, Mapping[str, LabelledSet]] = {
    "tickets": {"tickets/banking77": LabelledSet(), "tickets/clinc150": LabelledSet()},
    "contracts": {
        "contracts/cuad_clauses": LabelledSet("labels", "contract_id"),
        "contracts/cuad_paragraphs": LabelledSet("labels", "contract_id"),
    },
    "receipts": {"receipts/expense_category": LabelledSet(cluster_column="merchant_group")},
    "transactions": {"transactions/birmingham_pcard": LabelledSet()},
    "fraud": {"transactions/sparkov_fraud_sim": LabelledSet()},
}
# Sets of no shipped bundle: never trained on, or a kind beside one.
OTHER_SETS = ("ood/nlupp_hotels", "receipts/sroie_lines", "receipts/sroie_docs", "contracts/cuad_contract_type")
# Documents of the bundle's own sort under another name: strangers to all the others.
SAME_SORT: Mapping[str, tuple[str, ...]] = {
    "receipts": ("receipts/sroie_docs",),
    "contracts": ("contracts/cuad_contract_type",),
}
OUT_OF_SCOPE = "oos"


@dataclass(frozen=True)
class Corpus:
    """Rows of a labelled set, n of them.

    Attributes:
        name: the set's folder.
        texts: (n,).
        ids: (n,).
        labels: (n,) the label that a certificate takes for right; "oos" for a stranger.
        right_labels: (n,) every right label of a row; none for a stranger.
        clusters: (n,) names, equal for rows that stand or fall together; None where rows are independent.
    """

    name: str
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    right_labels: tuple[tuple[str, ...], ...]
    clusters: tuple[str, ...] | None = None


def read_corpus(data: Path, name: str, split: str = "validation", bundle: ModelBundle | None = None) -> Corpus:
    """Reads a set.

    Args:
        data: folder of the labelled data.
        name: of the set, such as "tickets/banking77".
        split: "train" or "validation".
        bundle: its template, if it has one, makes the texts, as in a run; None for the column "text".

    Raises:
        ConfigError: there is no such file.
    """
    path = data / name / f"{split}.parquet"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; name the folder of the labelled data with --data")
    about = next((sets[name] for sets in OWN_SETS.values() if name in sets), LabelledSet())
    template = bundle.manifest.reading.template if bundle is not None else ""
    columns = Columns(labels=about.labels_column, slices=(about.cluster_column,) if about.cluster_column else ())
    if template:
        columns = dataclasses.replace(columns, text="", template=parse_text_template(template))
    found = read_evaluation_data(path, columns)
    right: list[tuple[str, ...]] = [(label,) if label != OUT_OF_SCOPE else () for label in found.labels]
    if found.right_labels is not None:
        right = [labels or one for labels, one in zip(found.right_labels, right, strict=True)]
    return Corpus(
        name=name,
        texts=found.texts,
        ids=tuple(str(record["id"]) for record in read_records(path, ["id"])),
        labels=found.labels,
        right_labels=tuple(right),
        clusters=found.slices.get(about.cluster_column),
    )


def strangers(data: Path, bundle_name: str, most: int = 300) -> dict[str, tuple[str, ...]]:
    """Texts that a bundle should label none of, by their source, evenly spread over each.

    Args:
        data: folder of the labelled data.
        bundle_name: a key of OWN_SETS; the documents of its own sort are left out.
        most: largest number of texts of a source.
    """
    found: dict[str, tuple[str, ...]] = {}
    own = (*OWN_SETS[bundle_name], *SAME_SORT.get(bundle_name, ()))
    for name in (*OTHER_SETS, *(name for sets in OWN_SETS.values() for name in sets)):
        if name not in own:
            found[name] = spread(_in_scope(read_corpus(data, name)), most)
    clinc150 = read_corpus(data, "tickets/clinc150")
    beyond = [text for text, right in zip(clinc150.texts, clinc150.right_labels, strict=True) if not right]
    found["clinc150, out of scope"] = spread(beyond, most)
    found["other languages"] = foreign_texts(most)
    own_texts = [text for name in OWN_SETS[bundle_name] for text in _in_scope(read_corpus(data, name))]
    return found | gibberish(spread(own_texts, most))


def gibberish(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Texts without meaning, as long as the given ones, by the way they are made."""
    words = [word for text in texts for word in text.split()] or [_LETTERS]

    def made(kind: str, text: str) -> str:
        rng = seeded(kind, text)
        if kind == "random characters":
            return "".join(" " if character.isspace() else rng.choice(list(_LETTERS)) for character in text)
        if kind == "random digits":
            return "".join(" " if character.isspace() else str(rng.integers(10)) for character in text)
        if kind == "letters shuffled within words":
            return " ".join("".join(rng.permutation(list(word))) for word in text.split())
        return " ".join(words[place] for place in rng.integers(len(words), size=len(text.split())))

    kinds = ("random characters", "random digits", "letters shuffled within words", "words of all rows at random")
    return {kind: tuple(made(kind, text) for text in texts) for kind in kinds}


def foreign_texts(number: int) -> tuple[str, ...]:
    """Texts of two sentences, as many of each language as of the others; all different up to 616."""
    languages = read_toml(LANGUAGES)
    pairs = [
        f"{sentences[first]} {sentences[second]}"
        for step in range(1, 8)
        for first in range(8)
        for sentences in languages.values()
        for second in [(first + step) % len(sentences)]
    ]
    return tuple(pairs[:number])


def spread(values: Sequence[_T], most: int) -> tuple[_T, ...]:
    """At most so many, evenly spread over them."""
    if len(values) <= most:
        return tuple(values)
    return tuple(values[place] for place in np.linspace(0, len(values) - 1, most).astype(int))


def seeded(*names: str) -> np.random.Generator:
    """A generator that the names determine."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _in_scope(corpus: Corpus) -> list[str]:
    return [text for text, right in zip(corpus.texts, corpus.right_labels, strict=True) if right]
