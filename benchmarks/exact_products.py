"""The cost of exact int8 products against the fastest ones: `python -m benchmarks.exact_products BUNDLE...`."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
import numpy as np

from models.machine import int8_products, new_session

LENGTHS = (16, 64, 256)
TOKENS = 512
ROUNDS = 15


def seconds_of_pairs(model: Path, n_tokens: int) -> list[tuple[float, float]]:
    """Seconds of one pass over TOKENS tokens with the fastest and with exact products, in turns: ROUNDS pairs."""
    sessions = [new_session(model, exact_option=exact) for exact in (False, True)]
    ids = np.random.default_rng(0).integers(0, 64, (max(2, TOKENS // n_tokens), n_tokens))
    pairs = []
    for _ in range(ROUNDS + 1):
        seconds = []
        for session in sessions:
            started = time.perf_counter()
            session.run(["logits"], {"input_ids": ids})
            seconds.append(time.perf_counter() - started)
        pairs.append((seconds[0], seconds[1]))
    return pairs[1:]  # the first pass packs the weights


@click.command()
@click.argument("bundles", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
def main(bundles: tuple[Path, ...]) -> None:
    """Prints how many times as long the encoders of BUNDLES take with exact products, on one thread."""
    saturates = int8_products().plain.saturates
    click.echo(f"The fastest products {'saturate' if saturates else 'are exact'} on this processor.\n")
    click.echo("| bundle | tokens per text | exact / fastest: median | range |\n|---|---|---|---|")
    for bundle in bundles:
        for n_tokens in LENGTHS:
            ratios = [exact / fastest for fastest, exact in seconds_of_pairs(bundle / "model.onnx", n_tokens)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            click.echo(f"| {bundle.name} | {n_tokens} | {statistics.median(ratios):.2f} | {spread} |")


if __name__ == "__main__":
    main()
