"""The cheap model: word counts and a linear layer, seconds to train, and not easily fooled by a wrong label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FOLDS = 3
MIN_ROWS = 2 * _FOLDS  # of a label, so that every fold can be trained and judged


def out_of_sample_probabilities(
    texts: list[str], label_ids: npt.NDArray[np.intp], n_labels: int, seed: int
) -> npt.NDArray[np.float64]:
    """The cheap model's answer on each text after it was trained on the others.

    Args:
        texts: (n_texts,).
        label_ids: (n_texts,) in [0, n_labels); each that occurs must occur at least MIN_ROWS times.
        n_labels: size of the taxonomy.
        seed: of the folds and of the model.

    Returns:
        (n_texts, n_labels); 0 for a label that does not occur.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold

    probabilities = np.zeros((len(texts), n_labels))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    for learned, judged in folds.split(texts, label_ids):
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\S+", max_features=100_000)
        model = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=seed)
        model.fit(words.fit_transform([texts[row] for row in learned]), label_ids[learned])
        judgements = model.predict_proba(words.transform([texts[row] for row in judged]))
        probabilities[judged[:, None], model.classes_] = judgements
    return probabilities
