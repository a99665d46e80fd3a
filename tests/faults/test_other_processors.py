"""Processors without VNNI, emulated: int8 products that would saturate there are exact all the same."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle

ROOT = Path(__file__).parents[2]
QEMU = "qemu-x86_64"
PROCESSORS = ("Haswell", "EPYC-Milan")
RECEIPTS = ROOT / "models/bundles/receipts"  # of those that come along, the one that saturation turns most

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which(QEMU) is None or platform.machine() != "x86_64", reason="needs qemu-user on x86-64"
    ),
]

# The answers to a bundle's texts, one by one: to open a Classifier takes ten times as long where it is emulated.
ANSWERS = """
import json, sys
from pathlib import Path
import numpy as np
from models.bundle import load_bundle
from models.machine import int8_products, new_session
from models.tokens import TextTokenizer
from models.words import parse_words
bundle = load_bundle(Path(sys.argv[1]))
session = new_session(bundle.read("model.onnx"))
tokenizer = TextTokenizer(bundle.read("tokenizer.json"), bundle.max_tokens, None, "tokenizer.json")
words = parse_words(bundle.read("words.npz"), len(bundle.labels), "words.npz")
answers = []
for text in sys.argv[2:]:
    ids = tokenizer.tokenize([text]).windows[0][None].astype(np.int64)
    logits = session.run(["logits"], {"input_ids": ids})[0][0].astype(np.float64)
    logits += words.weight * words.read([ids[0, 1:-1].astype(np.int32)]).logits[0]
    logits /= bundle.temperature
    odds = np.exp(logits - logits.max())
    answers.append([bundle.labels[int(odds.argmax())], float(odds.max() / odds.sum())])
products = int8_products()
print(json.dumps([products.exact_option, products.plain.saturates, products.used.saturates, answers]))
"""


def emulated(processor: str, *command: str, seconds: int = 300) -> str:
    ended = subprocess.run(
        [QEMU, "-cpu", processor, sys.executable, *command],
        cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_doctor_says_that_slower_products_are_used_and_why(processor: str) -> None:
    said = emulated(processor, "-m", "pipelines.cli", "doctor")
    assert "exact, by ONNX Runtime's slower products: the fastest saturate on this processor" in said


@pytest.mark.parametrize("processor", PROCESSORS[:1])
def test_a_bundle_that_saturation_turns_answers_as_recorded(processor: str) -> None:
    recorded = load_bundle(RECEIPTS).fingerprint[-2:]  # those that saturation turns most
    found: list[Any] = json.loads(emulated(processor, "-c", ANSWERS, str(RECEIPTS), *(row.text for row in recorded)))
    exact_option, plain_saturates, used_saturates, answers = found
    assert (exact_option, plain_saturates, used_saturates) == (True, True, False)
    assert [label for label, _ in answers] == [row.label for row in recorded]
    assert [confidence for _, confidence in answers] == pytest.approx([row.confidence for row in recorded], abs=1e-3)
