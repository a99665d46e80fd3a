"""The answers of a classifier that its bundle's policy accepts, as a run would route them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.bundle import ModelBundle
from models.policy import route
from models.scores import Scores
from schemas.codes import Route

NO_ANSWER = "failed"  # stands among the route reasons for a row the model failed on


def accepted_rows(bundle: ModelBundle, scores: Scores) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    """The accepted rows, and each row's reason; a failed row is not accepted, for the reason "failed"."""
    answered = ~scores.failed
    routes, answered_reasons = route(
        scores.confidence[answered],
        scores.familiarity[answered],
        scores.truncated[answered],
        scores.n_windows[answered],
        bundle.policy.thresholds(bundle.labels)[scores.label_ids[answered]],
        bundle.policy.min_familiarity,
        bundle.policy.max_windows,
        scores.first_tier[answered],
    )
    accepted = np.zeros(len(answered), dtype=np.bool_)
    accepted[answered] = routes == Route.ACCEPTED
    reasons = np.full(len(answered), NO_ANSWER, dtype=answered_reasons.dtype)
    reasons[answered] = answered_reasons
    return accepted, reasons
