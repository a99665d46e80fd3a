"""Kind: tells which kind a document is, such as a receipt or a letter, or that it is none of those known.

It reads groups of three and four characters at the beginning of the text. A bundle of kinds is a folder of its own,
beside those that label the documents of one kind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from models.bundle_manifest import (
    MANIFEST_NAME,
    FileRecord,
    file_records,
    parse_json,
    read_json,
    read_listed_files,
    readable_json,
    write_listed_files,
)
from models.scores import exponentials
from models.words import FILE_NAME as WORDS_NAME
from models.words import Words, parse_words
from schemas.configuration import DocumentType, IsoDate, Matching, Within, validated
from schemas.errors import BundleError

FORMAT = "kinds 1"
POLICY_NAME, CARD_NAME = "policy.json", "card.md"
FILES = (WORDS_NAME, POLICY_NAME, CARD_NAME)
NONE = "none"  # what the texts of no kind are learned as; the last column of the weights
NO_KIND = -1
CHARACTERS = 2000  # that are read of a text
_MOST_READ = 2 * CHARACTERS  # before white space is joined
_FINGERPRINT_TOLERANCE = 0.001
_TEXTS_AT_ONCE = 64
_SPACE = ord(" ")
Share = Annotated[float, Within("[0, 1]")]


@validated(error=BundleError)
class KindFingerprint:
    """A text with the answer that every machine must give."""

    text: str
    """Made for the bundle."""
    kind: str
    """Its kind, or "none"."""
    probability: Share
    """Of that kind."""


@validated(error=BundleError)
class KindManifest:
    """The content of a kind bundle's bundle.json, besides its format."""

    name: Annotated[str, Matching("[a-z0-9][a-z0-9_.-]{0,62}", "lower-case letters, digits, _, . and -")]
    """Name of the bundle."""
    created: IsoDate
    """Date of its making."""
    kinds: tuple[DocumentType, ...]
    """The document types it knows."""
    files: Mapping[str, FileRecord]
    """File name -> what it must be."""
    training: Mapping[str, Any]
    """Free facts about its origin."""
    fingerprint: tuple[KindFingerprint, ...]
    """Answers that every machine must reproduce."""


@validated(error=BundleError)
class KindPolicy:
    """The thresholds, and what they were proven to do."""

    temperature: Annotated[float, Within("(0, inf)")]
    """Divisor of the scores before the softmax."""
    min_probability: Mapping[str, Share]
    """Kind -> least probability of an answer without doubt."""
    min_doubtful: Share
    """Least probability of an answer in doubt; a document is none of the kinds where no kind reaches it."""
    certificate: Mapping[str, Any]
    """Rows, counts and bounds by which the thresholds were chosen and tested; read by people only."""


@dataclass(frozen=True, eq=False)
class KindAnswers:
    """The kinds of n texts.

    Attributes:
        kind_ids: (n,) int64, places in the model's `kinds`; -1 for none of them.
        probability: (n,) float32 in [0, 1], of that answer.
        doubtful: (n,) bool, True where a kind is neither likeliest of all nor certain enough; False for none of them.
    """

    kind_ids: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]
    doubtful: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class KindModel:
    """A model of kinds; n_kinds of them.

    Attributes:
        kinds: the document types it knows, in the order of the weights' first columns.
        words: the weights: (n_buckets, n_kinds + 1), the last column that of no kind.
        policy: its thresholds.
        reference: its name and the beginning of its digest, "kinds@0123456789ab".
        digest: sha256 of bundle.json, which pins every other file, in hexadecimal.
    """

    kinds: tuple[str, ...]
    words: Words
    policy: KindPolicy
    reference: str = ""
    digest: str = ""

    def detect(self, texts: Sequence[str], answered: Collection[str] | None = None) -> KindAnswers:
        """Tells the kinds of n texts; an answer depends only on its own text, to the last bit.

        Args:
            texts: the whole texts, or their beginnings.
            answered: kinds that there are bundles for, at least one; None for all. No text is of another one.
        """
        chances = self.probabilities(texts)
        is_answered = np.array([*(answered is None or kind in answered for kind in self.kinds), False])
        best = np.where(is_answered, chances, -1).argmax(axis=1)
        probability = chances[np.arange(len(chances)), best]
        least = np.array([self.policy.min_probability[kind] for kind in self.kinds], dtype=np.float32)
        is_sure = (probability == chances.max(axis=1)) & (probability >= least[best])
        is_none = ~is_sure & (probability < np.float32(self.policy.min_doubtful))
        return KindAnswers(
            kind_ids=np.where(is_none, NO_KIND, best),
            probability=np.where(is_none, np.where(is_answered, 0, chances).sum(axis=1), probability),
            doubtful=~is_none & ~is_sure,
        )

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, n_kinds + 1) the probability of each kind, and of none of them in the last column."""
        starts = range(0, len(texts), _TEXTS_AT_ONCE)
        parts = [self.words.read(list(map(groups, texts[start : start + _TEXTS_AT_ONCE]))).logits for start in starts]
        logits = np.concatenate([np.empty((0, len(self.kinds) + 1)), *parts])
        chances = exponentials((logits - logits.max(axis=1, keepdims=True)) / self.policy.temperature)
        result: npt.NDArray[np.float32] = chances / chances.sum(axis=1, keepdims=True)
        return result


def groups(text: str) -> npt.NDArray[np.int32]:
    """The groups of three characters at a text's beginning, one at each place; two neighbours are one of four.

    Letters are small, a figure is a figure, white space is one space. Letters beyond Latin-1 count by their script.
    """
    joined = f" {' '.join(text[:_MOST_READ].split())[:CHARACTERS]} "
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    signs = _SIGNS[np.minimum(codes, len(_SIGNS) - 1)]
    return signs[:-2] | (signs[1:-1] << 8) | (signs[2:] << 16)


def _signs() -> npt.NDArray[np.int32]:
    """Unicode code point -> the sign it counts as, from 0 to 255."""
    latin = [ord("0") if chr(code).isdecimal() else ord(chr(code).lower()) for code in range(256)]
    return np.concatenate([latin, 128 + (np.arange(256, 2**16) >> 9)]).astype(np.int32)


_SIGNS = _signs()


def load_kinds(folder: Path) -> KindModel:
    """Loads a bundle of kinds after checking all of it.

    Raises:
        BundleError: the folder or a file is missing, not listed, changed, or holds what it must not, or this machine
            answers the fingerprint otherwise; the message names the file and says what to do.
    """
    manifest, files, digest = read_listed_files(folder, FORMAT, "kinds", KindManifest, FILES)
    path = folder / MANIFEST_NAME
    where = str(folder / POLICY_NAME)
    policy = read_json(KindPolicy, parse_json(files[POLICY_NAME], where), where)
    if set(policy.min_probability) != set(manifest.kinds):
        raise BundleError(
            f"{where}: expected a threshold of each of {', '.join(manifest.kinds)}, found those of "
            f"{', '.join(policy.min_probability) or 'none'}; build the bundle again"
        )
    model = KindModel(
        kinds=manifest.kinds,
        words=parse_words(files[WORDS_NAME], len(manifest.kinds) + 1, str(folder / WORDS_NAME)),
        policy=policy,
        reference=f"{manifest.name}@{digest[:12]}",
        digest=digest,
    )
    _check_fingerprint(model, manifest.fingerprint, path)
    return model


def kind_fingerprint(model: KindModel, texts: Sequence[str]) -> tuple[KindFingerprint, ...]:
    """The answers to `texts`, to be written into bundle.json and demanded of every machine."""
    chances = model.probabilities(texts)
    names = (*model.kinds, NONE)
    return tuple(
        KindFingerprint(text=text, kind=names[int(row.argmax())], probability=round(float(row.max()), 6))
        for text, row in zip(texts, chances, strict=True)
    )


def _check_fingerprint(model: KindModel, recorded: Sequence[KindFingerprint], path: Path) -> None:
    found = kind_fingerprint(model, [row.text for row in recorded])
    for number, (expected, answer) in enumerate(zip(recorded, found, strict=True)):
        if answer.kind != expected.kind or abs(answer.probability - expected.probability) > _FINGERPRINT_TOLERANCE:
            raise BundleError(
                f"{path}: this machine answers fingerprint text {number} with {answer.kind} "
                f"({answer.probability:.3f}), expected {expected.kind} ({expected.probability:.3f}); use the versions "
                "of Python and numpy that the bundle was built with, or build it on this machine"
            )


def write_kinds(
    folder: Path,
    model: KindModel,
    *,
    name: str,
    created: str,
    card: str,
    training: Mapping[str, Any],
    fingerprint: Sequence[str],
) -> KindModel:
    """Writes a bundle of kinds into a folder, and loads it; the same arguments give the same bytes.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        model: weights and policy.
        name: of the bundle.
        created: ISO 8601 date.
        card: content of card.md.
        training: free facts, as JSON values.
        fingerprint: texts that are free to publish.
    """
    contents = {
        WORDS_NAME: model.words.to_bytes(),
        POLICY_NAME: readable_json(asdict(model.policy)),
        CARD_NAME: card.encode(),
    }
    manifest = KindManifest(
        name=name,
        created=created,
        kinds=model.kinds,
        files=file_records(contents),
        training=training,
        fingerprint=kind_fingerprint(model, fingerprint),
    )
    write_listed_files(folder, FORMAT, manifest, contents)
    return load_kinds(folder)
