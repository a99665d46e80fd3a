"""Page pairs: the probability that a new document begins on a page of a PDF or TIFF, and where it is sure.

A logistic regression on signs of the pages around each boundary. It is a bundle of its own, beside that of the kinds.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from models.arrays import arrays_to_bytes, read_arrays
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
from models.page_signs import REACH, PageText, measure_signs, sign_names
from schemas.configuration import IsoDate, Matching, Within, validated
from schemas.errors import BundleError

FORMAT = "page pairs 1"
WEIGHTS_NAME, POLICY_NAME, CARD_NAME = "weights.npz", "policy.json", "card.md"
FILES = (WEIGHTS_NAME, POLICY_NAME, CARD_NAME)
_FINGERPRINT_TOLERANCE = 0.001
_ARRAYS = {
    "signs": (1, np.uint8),
    "steps": (1, np.float64),
    "middles": (1, np.float64),
    "weights": (1, np.int16),
    "scale": (0, np.float64),
    "bias": (0, np.float64),
}
Share = Annotated[float, Within("[0, 1]")]


@validated(error=BundleError)
class PageFingerprint:
    """Pages made for the bundle, with the answers that every machine must give."""

    pages: tuple[str, ...]
    chances: tuple[Share, ...]
    """One per boundary between them."""


@validated(error=BundleError)
class PageManifest:
    """The content of a bundle's bundle.json, besides its format."""

    name: Annotated[str, Matching("[a-z0-9][a-z0-9_.-]{0,62}", "lower-case letters, digits, _, . and -")]
    """Name of the bundle."""
    created: IsoDate
    """Date of its making."""
    files: Mapping[str, FileRecord]
    """File name -> what it must be."""
    training: Mapping[str, Any]
    """Free facts about its origin."""
    fingerprint: tuple[PageFingerprint, ...]
    """Answers that every machine must reproduce."""


@validated(error=BundleError)
class PagePolicy:
    """The thresholds, and what they were proven to do."""

    sure_cut: Share
    """Least probability at which a document surely begins."""
    sure_join: Share
    """Greatest probability at which a document surely goes on."""
    certificate: Mapping[str, Any]
    """Rows, counts and bounds by which the thresholds were chosen and tested; read by people only."""


@dataclass(frozen=True)
class Cuts:
    """Places of the pages, from 0, on which another document begins, with the probability.

    Attributes:
        sure: at least `sure_cut`.
        doubtful: above `sure_join` and below `sure_cut`.
    """

    sure: dict[int, float]
    doubtful: dict[int, float]


@dataclass(frozen=True, eq=False)
class PagePairWeights:
    """A logistic regression on n_signs signs, each as steps that it passes or not, and on pairs of high signs.

    Attributes:
        signs: (n_steps,) the sign that each step is of.
        steps: (n_steps,) the sign's value that must be exceeded.
        middles: (n_signs,) the value above which a sign is high.
        weights: (n_steps + n_signs * (n_signs - 1) / 2,) int16, first of the steps, then of the pairs.
        scale: that a whole-number sum is multiplied by.
        bias: that is added then.
    """

    signs: npt.NDArray[np.uint8]
    steps: npt.NDArray[np.float64]
    middles: npt.NDArray[np.float64]
    weights: npt.NDArray[np.int16]
    scale: float
    bias: float

    def columns(self, signs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """(n, n_weights) the columns of the regression, of (n, n_signs) signs."""
        high = signs > self.middles
        left, right = self._pairs
        return np.concatenate([signs[:, self.signs] > self.steps, high[:, left] & high[:, right]], axis=1)

    def chances(self, signs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n,) the probability that a document begins, of (n, n_signs) signs; sums are of whole numbers."""
        sums = self.columns(signs).astype(np.int64) @ self.weights.astype(np.int64)
        result: npt.NDArray[np.float64] = 1 / (1 + np.exp(-(sums * self.scale + self.bias)))
        return result

    @cached_property
    def _pairs(self) -> npt.NDArray[np.intp]:
        return np.array(list(combinations(range(len(self.middles)), 2)), dtype=np.intp).T

    def to_bytes(self) -> bytes:
        """The content of the bundle's file; the same weights give the same bytes."""
        arrays = {name: np.asarray(getattr(self, name), dtype=kind) for name, (_, kind) in _ARRAYS.items()}
        return arrays_to_bytes(arrays, zipfile.ZIP_LZMA)


def _parse_weights(content: bytes, where: str) -> PagePairWeights:
    arrays = read_arrays(content, _ARRAYS, where)
    n_signs, n_steps = len(sign_names()), len(arrays["steps"])
    expected = {"signs": n_steps, "middles": n_signs, "weights": n_steps + n_signs * (n_signs - 1) // 2}
    found = {name: len(arrays[name]) for name in expected}
    if found != expected or (arrays["signs"] >= n_signs).any():
        raise BundleError(f"{where}: expected arrays of the lengths {expected}, found {found}; build the bundle again")
    scale, bias = (float(arrays.pop(name)) for name in ("scale", "bias"))
    return PagePairWeights(**arrays, scale=scale, bias=bias)


@dataclass(frozen=True, eq=False)
class PagePairModel:
    """A model of page pairs.

    Attributes:
        weights: the regression.
        policy: its thresholds.
        reference: its name and the beginning of its digest, "page_pairs@0123456789ab".
        digest: sha256 of bundle.json, which pins every other file, in hexadecimal.
    """

    weights: PagePairWeights
    policy: PagePolicy
    reference: str = ""
    digest: str = ""

    def chances(self, pages: Sequence[str]) -> npt.NDArray[np.float64]:
        """(n_pages - 1,) the probability that a document begins on each page but the first.

        It depends only on the REACH pages before the boundary and behind it. A blank page goes with the page before it,
        and the pages around it are neighbours.
        """
        result = np.zeros(max(len(pages) - 1, 0))
        written = [place for place, text in enumerate(pages) if text.strip()]
        if len(written) > 1:
            result[np.array(written[1:]) - 1] = self.weights.chances(measure_pages([pages[at] for at in written]))
        return result

    def find_cuts(self, pages: Sequence[str]) -> Cuts:
        """The pages on which another document begins, surely or perhaps."""
        possible = dict(enumerate(self.chances(pages).tolist(), start=1))
        sure = {at: chance for at, chance in possible.items() if chance >= self.policy.sure_cut}
        doubtful = {at: chance for at, chance in possible.items() if self.policy.sure_join < chance and at not in sure}
        return Cuts(sure, doubtful)


def measure_pages(pages: Sequence[str]) -> npt.NDArray[np.float64]:
    """(n_pages - 1, n_signs) the signs of each boundary between neighbouring pages, none of them blank."""
    read = list(map(PageText, pages))
    rows = [
        list(measure_signs(read[max(0, place - REACH) : place], read[place : place + REACH]).values())
        for place in range(1, len(read))
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(sign_names()))


def load_page_pairs(folder: Path) -> PagePairModel:
    """Loads a bundle of page pairs after checking all of it.

    Raises:
        BundleError: the folder or a file is missing, not listed, changed, or holds what it must not, or this machine
            answers the fingerprint otherwise; the message names the file and says what to do.
    """
    manifest, files, digest = read_listed_files(folder, FORMAT, "page pairs", PageManifest, FILES)
    path = folder / MANIFEST_NAME
    where = str(folder / POLICY_NAME)
    policy = read_json(PagePolicy, parse_json(files[POLICY_NAME], where), where)
    if policy.sure_join >= policy.sure_cut:
        raise BundleError(
            f"{where}: expected sure_join below sure_cut, found {policy.sure_join} and {policy.sure_cut}; build the "
            "bundle again"
        )
    weights = _parse_weights(files[WEIGHTS_NAME], str(folder / WEIGHTS_NAME))
    model = PagePairModel(weights, policy, f"{manifest.name}@{digest[:12]}", digest)
    for number, recorded in enumerate(manifest.fingerprint):
        answered = model.chances(recorded.pages)
        expected = np.array(recorded.chances)
        if answered.shape != expected.shape or (np.abs(answered - expected) > _FINGERPRINT_TOLERANCE).any():
            raise BundleError(
                f"{path}: this machine answers fingerprint {number} with {answered.round(3).tolist()}, expected "
                f"{expected.round(3).tolist()}; use the version of Docyard that the bundle was built with, or build it "
                "again"
            )
    return model


def write_page_pairs(
    folder: Path,
    model: PagePairModel,
    *,
    name: str,
    created: str,
    card: str,
    training: Mapping[str, Any],
    fingerprint: Sequence[Sequence[str]],
) -> PagePairModel:
    """Writes a bundle of page pairs into a folder, and loads it; the same arguments give the same bytes.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        model: weights and policy.
        name: of the bundle.
        created: ISO 8601 date.
        card: content of card.md.
        training: free facts, as JSON values.
        fingerprint: pages of packets, free to publish.
    """
    contents = {
        WEIGHTS_NAME: model.weights.to_bytes(),
        POLICY_NAME: readable_json(asdict(model.policy)),
        CARD_NAME: card.encode(),
    }
    answers = [tuple(model.chances(pages).round(6).tolist()) for pages in fingerprint]
    manifest = PageManifest(
        name=name,
        created=created,
        files=file_records(contents),
        training=training,
        fingerprint=tuple(
            PageFingerprint(tuple(pages), chances) for pages, chances in zip(fingerprint, answers, strict=True)
        ),
    )
    write_listed_files(folder, FORMAT, manifest, contents)
    return load_page_pairs(folder)
