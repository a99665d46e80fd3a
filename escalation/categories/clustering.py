"""Clusters of texts and the words that set each apart: deterministic, on numpy and scipy.

Texts become vectors of length 1, from a bundle's embedding or from their hashed words. Average linkage on cosine
distances (Sokal and Michener 1958) joins them until no two groups are near enough; what stays in small or loose groups
is noise and belongs nowhere. A cluster's words are those with the highest class-based TF-IDF (Grootendorst 2022,
"BERTopic", section 3.3).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

MAX_LINKED = 5_000  # texts whose every distance is computed: 100 MB of them
MAX_CHARS = 20_000  # of a text, from its beginning
_BUCKETS = 2**15
_MAX_SHARE = 0.5  # of all texts: words in more of them tell nothing apart
_LIFT = 3.0
_MIN_REFERENCES = 50
_WORD = re.compile(r"[^\W\d_]{2,}(?:['’][^\W\d_]+)?")

WORD_SIMILARITY = 0.25
EMBEDDING_SIMILARITY = 0.35
"""Mean cosines from which two groups are one, for vectors of words and of a bundle (`docs/categories.md`)."""

Vectors: TypeAlias = Any
"""(n, d) float64, rows of length 1 or of zeros: a numpy array, or a sparse matrix of scipy, which has no types."""


@dataclass(frozen=True)
class Cluster:
    """A group of texts that are alike.

    Attributes:
        rows: (n,) intp, of the texts given, the most typical first.
        similarity: (n,) float64, the cosine of each with the group's centre.
    """

    rows: npt.NDArray[np.intp]
    similarity: npt.NDArray[np.float64]

    @property
    def cohesion(self) -> float:
        """The mean cosine with the centre."""
        return float(self.similarity.mean())


def word_vectors(texts: Sequence[str], background: Sequence[str] = ()) -> Vectors:
    """TF-IDF of hashed words, without words that only one text has, or more than half of all texts.

    Args:
        texts: to be clustered.
        background: other texts of the kind, which tell how common a word is.

    Returns:
        (n_texts, 32,768) sparse float64 rows of length 1; a row without any word that counts is 0.
    """
    from scipy.sparse import csr_matrix

    counts = [Counter(map(_bucket, find_words(text))) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(count) for count in counts])
    columns = np.array([bucket for count in counts for bucket in count], dtype=np.int64)
    values = np.array([1.0 + math.log(number) for count in counts for number in count.values()])
    others = [bucket for text in background for bucket in set(map(_bucket, find_words(text)))]
    n_all = len(texts) + len(background)
    in_texts = np.bincount(columns, minlength=_BUCKETS)
    everywhere = in_texts + np.bincount(np.array(others, dtype=np.int64), minlength=_BUCKETS)
    telling = (in_texts >= 2) & (everywhere <= _MAX_SHARE * n_all)
    values *= np.where(telling, np.log((1.0 + n_all) / (1.0 + everywhere)), 0.0)[columns]
    length = np.sqrt(np.bincount(rows, values**2, minlength=len(texts)))[rows]
    values = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return csr_matrix((values, (rows, columns)), shape=(len(texts), _BUCKETS))


def centred(embeddings: npt.NDArray[np.floating], references: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Embeddings as directions from the mean direction of ordinary texts; rows of length 1.

    Embeddings of most encoders lie in a narrow cone, in which everything is alike (Ethayarajh 2019, "How contextual
    are contextualized word representations?"). Fewer than 50 references tell no mean, and leave the directions as
    they are.
    """
    directions = unit_rows(embeddings)
    if len(references) < _MIN_REFERENCES:
        return directions
    answered = directions.any(axis=1, keepdims=True)
    return unit_rows(np.where(answered, directions - unit_rows(references).mean(axis=0), 0.0))


def unit_rows(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Rows of length 1, in float64; rows of zeros, or that are not finite, are zeros."""
    exact = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0.0).astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(exact, length, out=np.zeros_like(exact), where=length > 1e-9)
    return unit


def find_clusters(vectors: Vectors, keys: Sequence[str], min_size: int, min_similarity: float) -> list[Cluster]:
    """Groups of at least `min_size` rows, the largest first.

    Of more than 5,000 rows, as many are linked, drawn by a hash of their keys; each of the others joins the nearest
    group whose centre is near enough.

    Args:
        vectors: (n, d), rows of length 1; rows of zeros belong nowhere.
        keys: (n,), of the rows; they decide the sample and break ties, so that the order given changes nothing.
        min_similarity: mean cosine between two groups above which they are joined.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    present = np.flatnonzero(np.asarray(abs(vectors).sum(axis=1)).ravel() > 0)
    order = np.array(sorted(present.tolist(), key=lambda row: _draw(keys[row])), dtype=np.intp)
    linked, rest = order[:MAX_LINKED], order[MAX_LINKED:]
    if len(linked) < 2:
        return []
    distances = np.clip(1.0 - _dots(vectors[linked], vectors[linked]), 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    joined = linkage(squareform(distances, checks=False), method="average")
    groups = fcluster(joined, 1.0 - min_similarity, criterion="distance")
    least = max(2, math.ceil(min_size * len(linked) / len(order)))
    found = [linked[groups == group] for group in np.flatnonzero(np.bincount(groups) >= least)]
    if not found:
        return []
    centres = np.concatenate([_centre(vectors, rows) for rows in found])
    cosines = _dots(vectors[rest], centres)
    nearest = np.where(cosines.max(axis=1, initial=-1.0) >= min_similarity, cosines.argmax(axis=1), -1)
    members = [np.concatenate([rows, rest[nearest == number]]) for number, rows in enumerate(found)]
    clusters = [_cluster(vectors, rows, keys) for rows in members if len(rows) >= min_size]
    return sorted(clusters, key=lambda cluster: (-len(cluster.rows), keys[cluster.rows[0]]))


def distinctive_words(
    texts: Sequence[str], clusters: Sequence[Cluster], background: Sequence[str] = (), most: int = 8
) -> list[list[str]]:
    """The words that set each cluster apart from the other texts, best first.

    A word counts only where a quarter of the cluster's texts, and at least three, have it, so that no name or number of
    a single document becomes a word of its cluster; and where it is three times as common there as elsewhere.
    """
    words = [set(find_words(text)) for text in texts]
    everywhere = Counter(word for each in (*words, *(set(find_words(text)) for text in background)) for word in each)
    n_all = len(texts) + len(background)
    found = []
    for cluster in clusters:
        n_inside = len(cluster.rows)
        inside = Counter(word for row in cluster.rows.tolist() for word in words[row])
        least = max(min(3, n_inside), math.ceil(n_inside / 4))
        scored = []
        for word, count in inside.items():
            outside = (everywhere[word] - count + 1) / (n_all - n_inside + 2)
            if count >= least and count / n_inside >= _LIFT * outside:
                scored.append((-count / n_inside * math.log(1.0 + n_all / everywhere[word]), word))
        found.append([word for _, word in sorted(scored)[:most]])
    return found


def _cluster(vectors: Vectors, members: npt.NDArray[np.intp], keys: Sequence[str]) -> Cluster:
    cosines = np.round(_dots(vectors[members], _centre(vectors, members))[:, 0], 9)
    order = sorted(range(len(members)), key=lambda place: (-cosines[place], keys[int(members[place])]))
    return Cluster(members[order], cosines[order])


def _centre(vectors: Vectors, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """The direction of the mean of rows: (1, d)."""
    return unit_rows(np.asarray(vectors[rows].mean(axis=0)).reshape(1, -1))


def _dots(some: Vectors, others: Vectors) -> npt.NDArray[np.float64]:
    """Every product of a row of one with a row of the other."""
    products = some @ others.T
    return np.asarray(products if isinstance(products, np.ndarray) else products.toarray(), dtype=np.float64)


def _draw(key: str) -> str:
    return hashlib.sha256(f"categories {key}".encode("utf-8", "surrogatepass")).hexdigest()


def _bucket(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()) % _BUCKETS


def find_words(text: str) -> list[str]:
    """The words of a text's beginning, in lower case; no numbers."""
    return _WORD.findall(text[:MAX_CHARS].casefold())
