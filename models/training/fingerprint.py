"""Texts for a bundle's fingerprint that hold nothing of anybody's documents."""

from __future__ import annotations

import numpy as np

from models.classifier import Classifier

TEXTS = 8
_MIN_LEAD = 0.2  # over the second-best label, in confidence; ten times what another machine may differ by
_SENTENCES = ("{}", "This is about {}.", "I have a question about {}, please.")


def made_up_texts(classifier: Classifier) -> list[str]:
    """Chooses one to eight sentences made of label names, of different labels: those answered most decidedly.

    A small difference between two processors does not turn a decided answer, so that a machine is only refused for a
    large one.
    """
    labels = classifier.bundle.labels
    texts = [sentence.format(label.replace("_", " ")) for label in labels for sentence in _SENTENCES]
    top = classifier.classify(texts).top_confidences
    leads = np.nan_to_num(top[:, 0] - top[:, 1]).reshape(len(labels), len(_SENTENCES))
    best_sentences = leads.argmax(axis=1)
    ranked = np.argsort(-leads.max(axis=1), kind="stable")[:TEXTS]
    decided = [label for label in ranked.tolist() if leads[label].max() >= _MIN_LEAD] or ranked[:1].tolist()
    return [texts[label * len(_SENTENCES) + int(best_sentences[label])] for label in sorted(decided)]
