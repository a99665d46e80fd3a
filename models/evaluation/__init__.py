"""Evaluation: what a bundle is worth on labelled text, measured through the classifier and policy that runs use."""

from models.evaluation.figures import average_precision, expected_calibration_error, macro_f1, risk_coverage
from models.evaluation.intervals import wilson_interval
from models.evaluation.measurement import evaluate

__all__ = [
    "average_precision",
    "evaluate",
    "expected_calibration_error",
    "macro_f1",
    "risk_coverage",
    "wilson_interval",
]
