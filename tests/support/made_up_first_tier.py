"""A first tier of random weights, for bundles of four labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.bundle import ModelBundle
from models.first_tier import FILE_NAME, FirstTierWeights
from tests.support.made_up_certificate import write_certified_manifest

N_LABELS, WIDTH, PAIRS = 4, 16, 64


def weights(n_pieces: int = 150, sure: float = 1.0) -> FirstTierWeights:
    rng = np.random.default_rng(7)

    def steps(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape).astype(np.int8)

    return FirstTierWeights(
        pieces=steps(n_pieces, WIDTH),
        pairs=steps(PAIRS, WIDTH),
        gain=np.full(WIDTH, 32, dtype=np.float32),
        shift=rng.normal(size=WIDTH).astype(np.float32),
        head=steps(WIDTH, N_LABELS),
        head_scale=np.full(N_LABELS, 0.0005 * sure, dtype=np.float32),
        head_bias=rng.normal(size=N_LABELS).astype(np.float32),
    )


def with_first_tier(folder: Path, content: bytes | None, threshold: float = 0.6) -> ModelBundle:
    if content is not None:
        (folder / FILE_NAME).write_bytes(content)
    policy = (folder / "policy.toml").read_text()
    policy = policy.replace(
        "[selection]", f"[first_tier.strict]\nmin_confidence = {threshold}\nanswered = 0.5\n\n[selection]"
    )
    (folder / "policy.toml").write_text(policy)
    return write_certified_manifest(folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32)
