from __future__ import annotations

import random
import re

import numpy as np
import pytest

from escalation.categories import clustering
from escalation.categories.clustering import centred, distinctive_words, find_clusters, unit_rows, word_vectors

PLANTED = {
    "parcel": ("parcel courier missing doorstep neighbour", 14),
    "visa": ("visa consulate passport appointment stamp", 9),
}
FILLER = re.findall(
    r"\w+",
    "could you please tell me about this today because i would like to know more thanks hello there we are still "
    "waiting for an answer and nobody has called back since last week so what should happen next regards",
)


BACKGROUND = [" ".join(random.Random(number).sample(FILLER, 9)) for number in range(200)]


def planted(seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of two topics among as many that share nothing but common words; and the topic of each, "" for none."""
    rng = random.Random(seed)
    rows = []
    for topic, (words, number) in PLANTED.items():
        rows += [(" ".join([*rng.sample(words.split(), 4), *rng.sample(FILLER, 6)]), topic) for _ in range(number)]
    rows += [(" ".join([f"odd{chr(97 + i)}x", *rng.sample(FILLER, 6)]), "") for i in range(20)]
    rng.shuffle(rows)
    return [text for text, _ in rows], [topic for _, topic in rows]


def found(texts: list[str], min_size: int = 5) -> list[set[str]]:
    clusters = find_clusters(word_vectors(texts, BACKGROUND), texts, min_size, clustering.WORD_SIMILARITY)
    return [{texts[row] for row in cluster.rows} for cluster in clusters]


def test_planted_topics_are_found_whole_named_by_their_words_and_noise_belongs_nowhere() -> None:
    texts, topics = planted()
    clusters = find_clusters(word_vectors(texts, BACKGROUND), texts, 5, clustering.WORD_SIMILARITY)
    assert [{topics[row] for row in cluster.rows} for cluster in clusters] == [{"parcel"}, {"visa"}]
    assert [len(cluster.rows) for cluster in clusters] == [14, 9]
    for words, topic in zip(distinctive_words(texts, clusters, BACKGROUND), PLANTED, strict=True):
        assert set(words[:4]) <= set(PLANTED[topic][0].split())
        assert not set(words) & {f"odd{chr(97 + i)}x" for i in range(20)}


def test_the_order_of_the_texts_changes_nothing() -> None:
    texts, _ = planted()
    assert found(texts) == found(sorted(texts)) == found(texts[::-1])


def test_beyond_the_sample_every_text_still_joins_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(planted()[0])
    monkeypatch.setattr(clustering, "MAX_LINKED", 30)
    assert found(planted()[0]) == whole


def test_a_group_below_the_least_size_is_not_one() -> None:
    assert [len(group) for group in found(planted()[0], min_size=10)] == [14]
    assert found(planted()[0], min_size=15) == []


def test_texts_without_words_or_with_a_failed_embedding_belong_nowhere() -> None:
    assert found(["", "12 34", "!"] * 4, min_size=2) == []
    vectors = unit_rows(np.array([[1.0, 0.0], [2.0, 0.01], [np.nan, 1.0], [0.0, 0.0], [0.0, 0.0]]))
    (only,) = find_clusters(vectors, list("abcde"), 2, 0.4)
    assert sorted(only.rows) == [0, 1]


def test_in_a_narrow_cone_groups_are_told_apart_by_their_directions_from_ordinary_texts() -> None:
    rng = np.random.default_rng(0)
    cone = np.eye(1, 20)[0] * 5
    ordinary = cone + rng.normal(size=(200, 20))
    topics = np.concatenate([cone + 3 * np.eye(20)[axis] + 0.3 * rng.normal(size=(6, 20)) for axis in (3, 7)])
    noise = cone + rng.normal(size=(15, 20))
    embeddings = np.concatenate([topics, noise, np.full((3, 20), np.nan)])
    keys = [f"{row:02}" for row in range(len(embeddings))]

    def groups(references: np.ndarray) -> list[set[int]]:
        clusters = find_clusters(centred(embeddings, references), keys, 5, clustering.EMBEDDING_SIMILARITY)
        return [set(cluster.rows.tolist()) for cluster in clusters]

    assert groups(ordinary[:10]) == [set(range(27))]  # too few to know the cone: all are alike
    first, second = groups(ordinary)
    assert sorted([first & set(range(12)), second & set(range(12))], key=min) == [set(range(6)), set(range(6, 12))]
    assert len(first | second) < 20
