"""An encoder's time, operator by operator: `python -m benchmarks.operators MODEL...`."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from models.machine import new_session

LENGTHS = (16, 64, 256)
TOKENS = 1024
REPEATS = 30
_SMALL = 0.005  # of the time; what takes less is summed up


def operator_seconds(model: Path, n_tokens: int) -> dict[str, float]:
    """Seconds of each kind of operator in one pass over TOKENS tokens, in texts of `n_tokens`."""
    n_texts = max(2, TOKENS // n_tokens)
    with tempfile.TemporaryDirectory() as folder:
        session = new_session(model, profile=Path(folder) / "profile")
        ids = np.random.default_rng(0).integers(0, 64, (n_texts, n_tokens))  # small vocabularies have them too
        # Graphs of earlier versions read a mask as well.
        inputs = {node.name: ids if node.name == "input_ids" else np.ones_like(ids) for node in session.get_inputs()}
        for _ in range(REPEATS):
            session.run(["logits"], inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node":
            spent[event["args"]["op_name"]] += event["dur"]
    return {name: microseconds / 1e6 / REPEATS for name, microseconds in spent.items()}


def operators_markdown(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """A table: operators down, models and lengths across; milliseconds of 1,024 tokens and their share.

    Args:
        found: model -> tokens per text -> operator -> seconds.
    """
    passes = [(model, n_tokens, spent) for model, lengths in found.items() for n_tokens, spent in lengths.items()]
    totals = [sum(spent.values()) for _, _, spent in passes]
    shares: Counter[str] = Counter()
    for (_, _, spent), total in zip(passes, totals, strict=True):
        for name, seconds in spent.items():
            shares[name] = max(shares[name], seconds / total)  # type: ignore[assignment]
    named = [name for name, share in shares.most_common() if share >= _SMALL]
    header = ["operator", *(f"{model}, {n_tokens} tokens" for model, n_tokens, _ in passes)]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name in named:
        cells = [_cell(spent.get(name, 0.0), total) for (_, _, spent), total in zip(passes, totals, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rest = [
        total - sum(spent.get(name, 0.0) for name in named) for (_, _, spent), total in zip(passes, totals, strict=True)
    ]
    lines.append(f"| others | {' | '.join(_cell(*pair) for pair in zip(rest, totals, strict=True))} |")
    lines.append(f"| all | {' | '.join(f'{total * 1e3:.2f} ms' for total in totals)} |")
    return "\n".join(lines)


def _cell(seconds: float, total: float) -> str:
    return f"{seconds * 1e3:.2f} ms, {seconds / total:.0%}" if seconds else ""


@click.command()
@click.argument("models", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
def main(models: tuple[Path, ...]) -> None:
    """Prints the time of each kind of operator in MODELS (ONNX files, bundles), one thread, several lengths of text."""
    found = {}
    for path in models:
        model = path / "model.onnx" if path.is_dir() else path
        found[path.stem] = {n_tokens: operator_seconds(model, n_tokens) for n_tokens in LENGTHS}
    click.echo(operators_markdown(found))


if __name__ == "__main__":
    main()
