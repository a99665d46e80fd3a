"""Texts for a bundle's fingerprint, which hold nothing of anybody's documents: `python -m models.training.fingerprint`.

A fingerprint shows a machine that computes otherwise. Decided answers show one that computes something else altogether;
answers that int8 products turn most when they saturate show a machine where they do.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from models.bundle import ModelBundle, load_bundle, write_bundle_manifest
from models.classifier import FINGERPRINT_TOLERANCE, Classifier
from models.machine import int8_products
from models.training.saturation import disturbed_confidences, saturated_confidences
from schemas.errors import BundleError

logger = logging.getLogger(__name__)

TEXTS = 8
SENSITIVE_TEXTS = 3
_MIN_LEAD = 0.2  # over the second-best label, in confidence; ten times what another machine may differ by
_SENTENCES = ("{}", "This is about {}.", "I have a question about {}, please.")
_CANDIDATES = 24
_DISTURBANCES = 4
_STEADY = FINGERPRINT_TOLERANCE / 4  # the most that other rounding may move a text that is chosen for its sensitivity
_MIXTURES = 3000
_MOST_TOKENS = 64  # the memory for a text's saturated products grows with them
_UNDECIDED = 0.6  # confidence at which an answer is easily turned, and yet of one label
_LEAST_LEAD = 0.1  # of such an answer; five times what another machine may differ by


def check_exact_products() -> None:
    """Refuses to make a bundle where int8 products saturate: every other machine would answer otherwise.

    Raises:
        BundleError: they do here.
    """
    if int8_products().used.saturates:
        raise BundleError(
            "int8 products saturate on this processor, so that a bundle measured here would answer otherwise "
            "elsewhere; make it on a machine for which `docyard doctor` says they are exact"
        )


def fingerprint_texts(classifier: Classifier, given: Sequence[str]) -> list[str]:
    """The texts of a bundle's fingerprint: those given, or else made-up ones, and those that saturation turns most."""
    texts = list(given) or made_up_texts(classifier)
    return texts + [text for text in sensitive_texts(classifier, given) if text not in texts]


def made_up_texts(classifier: Classifier) -> list[str]:
    """Chooses one to eight sentences made of label names, of different labels: those answered most decidedly.

    A small difference between two processors does not turn a decided answer, so that a machine is only refused for a
    large one.
    """
    labels = classifier.bundle.labels
    texts = _sentences(classifier)
    top = classifier.classify(texts).top_confidences
    leads = np.nan_to_num(top[:, 0] - top[:, 1]).reshape(len(labels), len(_SENTENCES))
    best_sentences = leads.argmax(axis=1)
    ranked = np.argsort(-leads.max(axis=1), kind="stable")[:TEXTS]
    decided = [label for label in ranked.tolist() if leads[label].max() >= _MIN_LEAD] or ranked[:1].tolist()
    return [texts[label * len(_SENTENCES) + int(best_sentences[label])] for label in sorted(decided)]


def sensitive_texts(classifier: Classifier, given: Sequence[str]) -> list[str]:
    """Chooses up to three texts whose answers change most where int8 products saturate, the most changed first.

    They are looked for among sentences made of label names and mixtures of the given texts, near to those whose answer
    is neither decided nor open between two labels. Texts that other rounding moves as well are left out: a machine that
    only rounds otherwise must not be refused. Each of the three differs by more than a fingerprint may where products
    saturate; a warning says when no text does.
    """
    pool = list(dict.fromkeys([*_sentences(classifier), *_mixtures(given)]))
    scores = classifier.classify(pool, encoder_only=True)
    leads = np.nan_to_num(scores.top_confidences[:, 0] - np.nan_to_num(scores.top_confidences[:, 1]))
    fit = ~scores.failed & (scores.n_tokens <= min(_MOST_TOKENS, classifier.bundle.max_tokens)) & (leads >= _LEAST_LEAD)
    rows = np.flatnonzero(fit)
    rows = rows[np.argsort(np.abs(scores.confidence[rows] - _UNDECIDED), kind="stable")][: 16 * _CANDIDATES]
    for seed in range(_DISTURBANCES):
        disturbed = disturbed_confidences(classifier.bundle, [pool[row] for row in rows], scores.label_ids[rows], seed)
        rows = rows[np.abs(disturbed - scores.confidence[rows]) <= _STEADY]
    rows = rows[:_CANDIDATES]
    candidates = [pool[row] for row in rows]
    saturated = saturated_confidences(classifier.bundle, candidates, scores.label_ids[rows])
    changes = np.abs(saturated - scores.confidence[rows])
    chosen = [row for row in np.argsort(-changes, kind="stable").tolist() if changes[row] > FINGERPRINT_TOLERANCE]
    if not chosen:
        logger.warning(
            "%s: of %d texts, none is answered otherwise by a machine whose int8 products saturate: the fingerprint "
            "lets such a machine pass",
            classifier.bundle.name,
            len(candidates),
        )
    return [candidates[row] for row in chosen[:SENSITIVE_TEXTS]]


def renew_fingerprint(folder: Path) -> ModelBundle:
    """Writes bundle.json with texts chosen anew and this machine's answers; everything else in it stays.

    Raises:
        BundleError: the bundle does not load or run, or int8 products saturate here.
    """
    check_exact_products()
    bundle = load_bundle(folder)
    classifier = Classifier(bundle, check_fingerprint=False)
    given = bundle.manifest.training.get("configuration", {}).get("fingerprint", ())
    fingerprint = classifier.fingerprint(fingerprint_texts(classifier, given))
    classifier.close()
    manifest = bundle.manifest
    return write_bundle_manifest(
        folder, name=manifest.name, created=manifest.created, document_type=manifest.document_type,
        max_tokens=manifest.max_tokens, training=manifest.training, fingerprint=fingerprint, reading=manifest.reading,
    )  # fmt: skip


def _sentences(classifier: Classifier) -> list[str]:
    return [sentence.format(label.replace("_", " ")) for label in classifier.bundle.labels for sentence in _SENTENCES]


def _mixtures(texts: Sequence[str]) -> list[str]:
    """The texts with about half of their words replaced by those that others have in their place, ever the same."""
    words = [text.split() for text in texts]
    rng = np.random.default_rng(0)
    mixed = []
    for _ in range(_MIXTURES if len(texts) > 1 else 0):
        base = list(words[rng.integers(len(words))])
        for place in np.flatnonzero(rng.random(len(base)) < 0.5):
            other = words[rng.integers(len(words))]
            base[place] = other[place] if place < len(other) else base[place]
        mixed.append(" ".join(base))
    return mixed


@click.command()
@click.argument("bundles", type=click.Path(path_type=Path), nargs=-1, required=True)
def main(bundles: tuple[Path, ...]) -> None:
    """Chooses the fingerprint of BUNDLES anew and writes it into their bundle.json."""
    logging.basicConfig(format="%(message)s")
    for folder in bundles:
        bundle = renew_fingerprint(folder)
        click.echo(f"{folder}: {len(bundle.fingerprint)} texts, digest {bundle.digest[:12]}")


if __name__ == "__main__":
    main()
