"""The identity of answers: all that decides them besides the text. A cache is of one, and useless to any other."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json

from models.classifier import Classifier
from models.machine import int8_products

# To be raised with every change of what the same bundle answers to the same text, or of what is kept of it.
ANSWERS_VERSION = 1
_PROBE = "machines that answer this alike, to the last bit, may share their answers"
_PACKAGES = ("docyard", "numpy", "onnxruntime", "tokenizers")


def answers_identity(classifier: Classifier, first_tier: str) -> str:
    """Names all that the answers depend on: 32 hexadecimal digits.

    These are the bundle with its policy, the criterion of its first tier, the packages that compute, and the way this
    machine computes: saturation of its int8 products, which only some texts tell, and the encoder's scores for some
    texts, to the last bit.
    """
    texts = [_PROBE, *(row.text for row in classifier.bundle.fingerprint)]
    parts = {
        "version": ANSWERS_VERSION,
        "bundle": classifier.bundle.digest,
        "first_tier": first_tier if classifier.has_first_tier else "off",
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "int8_saturates": int8_products().used.saturates,
        "machine": hashlib.sha256(classifier.logits(texts).tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
