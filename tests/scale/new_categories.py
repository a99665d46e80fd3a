"""Measures how well new categories are found: intents that no label stands for, among strangers, in a real queue.

DOCYARD_DATA=… python -m tests.scale.new_categories [--seeds 5]

Each draw takes eight intents of a labelled set as the new topics, all others as known. In the queue are up to 20
documents of each topic, as many strangers (out-of-scope texts, and single texts of the other intents), and 500
ordinary items. Counts are means over the draws: topics for which a category was proposed, categories in all, the share
of their documents that belong to the category's most frequent topic, the share of the topics' documents that are in a
category of their topic, and the share of the strangers that are in any category.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import sqlalchemy as sa

from escalation.categories.proposals import Embed, propose_categories
from escalation.database import reading, transaction
from escalation.tables import categories, category_members, items
from models.bundle import load_bundle
from models.classifier import Classifier
from tests.support.queue_databases import NOON, new_sqlite, opened
from tests.support.review_cases import in_review

SETS = ("banking77", "clinc150")
BUNDLES = ("tickets", "transactions", "receipts", "contracts")
TOPICS, PER_TOPIC, ORDINARY, MIN_SIZE = 8, 20, 500, 8

Row = tuple[str, str]  # a text, and its topic; "" for strangers


def draw(data: Path, name: str, seed: int) -> tuple[list[Row], list[str]]:
    """The unfit documents of one draw, and the texts of ordinary ones."""
    rng = random.Random(f"{name} {seed}")
    rows = pq.read_table(data / "tickets" / name / "train.parquet").to_pylist()
    rng.shuffle(rows)
    by_label = defaultdict(list)
    for row in rows:
        by_label["" if row.get("is_oos") else row["label"]].append(row["text"])
    strangers = by_label.pop("", [])[:100]
    labels = sorted(by_label)
    topics = set(rng.sample(labels, TOPICS))
    unfit = [(text, topic) for topic in sorted(topics) for text in by_label[topic][:PER_TOPIC]]
    strangers += [by_label[label][0] for label in labels if label not in topics]
    unfit += [(text, "") for text in strangers[: TOPICS * PER_TOPIC]]
    others = [text for label in labels if label not in topics for text in by_label[label][1:]]
    return unfit, rng.sample(others, ORDINARY)


def measure(unfit: Sequence[Row], ordinary: Sequence[str], embed: Embed | None) -> list[float]:
    topic_of = {f"u{number:04}": topic for number, (_, topic) in enumerate(unfit)}
    rows = [in_review(f"u{number:04}", text=text, route_reason="unfamiliar") for number, (text, _) in enumerate(unfit)]
    rows += [in_review(f"o{number:04}", text=text) for number, text in enumerate(ordinary)]
    with tempfile.TemporaryDirectory() as folder, opened(new_sqlite(Path(folder))) as engine:
        with transaction(engine) as connection:
            connection.execute(sa.insert(items), rows)
        propose_categories(engine, "ticket", NOON, min_size=MIN_SIZE, embed=embed)
        members = defaultdict(list)
        with reading(engine) as connection:
            for row in connection.execute(sa.select(category_members)):
                members[row.category_id].append(topic_of[row.item_key])
            n_categories = connection.scalar(sa.select(sa.func.count()).select_from(categories)) or 0
    tops = [Counter(each).most_common(1)[0] for each in members.values()]
    right = sum(count for topic, count in tops if topic)
    inside = Counter(topic for each in members.values() for topic in each)
    n_strangers = sum(topic == "" for _, topic in unfit)
    return [
        len({topic for topic, _ in tops if topic}),
        n_categories,
        right / max(1, sum(inside.values())),
        right / (len(unfit) - n_strangers),
        inside[""] / max(1, n_strangers),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    data = Path(os.environ["DOCYARD_DATA"])
    print(f"| set | texts compared by | topics found, of {TOPICS} | categories | pure | found | strangers |")
    print("|---|---|---|---|---|---|---|")
    for name in SETS:
        draws = [draw(data, name, seed) for seed in seeds]
        for bundle in ("", *BUNDLES):
            classifier = Classifier(load_bundle(Path("models/bundles") / bundle)) if bundle else None
            found = [measure(*each, classifier.embeddings if classifier else None) for each in draws]
            topics, n, pure, recall, noise = np.mean(found, axis=0)
            by = f"bundle `{bundle}`" if bundle else "words"
            print(f"| {name} | {by} | {topics:.1f} | {n:.1f} | {pure:.0%} | {recall:.0%} | {noise:.0%} |", flush=True)


if __name__ == "__main__":
    main()
