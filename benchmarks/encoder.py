"""An encoder's time on one core: by operator, beside the peak of the core, and with exact int8 products.

python -m benchmarks.encoder operators|peak|exact-products BUNDLE...
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from benchmarks.report import markdown_table
from models.bundle import load_bundle
from models.machine import int8_products, new_session, run_session

LENGTHS = (16, 64, 256)
TOKENS = 1024
OPERATOR_PASSES, PEAK_PASSES, PAIRS = 30, 15, 15
_SMALL = 0.005  # of the time; what takes less is summed up
SHAPES = ((1024, 384, 384), (1024, 384, 1536), (1024, 1536, 384), (1024, 1024, 1024), (2048, 2048, 2048))


@click.group()
def main() -> None:
    """Measures the encoder of a bundle on one core."""


def operator_seconds(model: Path, n_tokens: int) -> dict[str, float]:
    """Seconds of each kind of operator in one pass over TOKENS tokens, in texts of `n_tokens`."""
    n_texts = max(2, TOKENS // n_tokens)
    with tempfile.TemporaryDirectory() as folder:
        session = new_session(model, profile=Path(folder) / "profile")
        ids = np.random.default_rng(0).integers(0, 64, (n_texts, n_tokens))  # small vocabularies have them too
        # Graphs of earlier versions read a mask as well.
        inputs = {node.name: ids if node.name == "input_ids" else np.ones_like(ids) for node in session.get_inputs()}
        for _ in range(OPERATOR_PASSES):
            session.run(["logits"], inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node":
            spent[event["args"]["op_name"]] += event["dur"]
    return {name: microseconds / 1e6 / OPERATOR_PASSES for name, microseconds in spent.items()}


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
    rows = []
    for name in named:
        cells = [_cell(spent.get(name, 0.0), total) for (_, _, spent), total in zip(passes, totals, strict=True)]
        rows.append([name, *cells])
    rest = [
        total - sum(spent.get(name, 0.0) for name in named) for (_, _, spent), total in zip(passes, totals, strict=True)
    ]
    rows.append(["others", *(_cell(*pair) for pair in zip(rest, totals, strict=True))])
    rows.append(["all", *(f"{total * 1e3:.2f} ms" for total in totals)])
    head = ["operator", *(f"{model}, {n_tokens} tokens" for model, n_tokens, _ in passes)]
    return "\n".join(markdown_table(head, rows))


def _cell(seconds: float, total: float) -> str:
    return f"{seconds * 1e3:.2f} ms, {seconds / total:.0%}" if seconds else ""


@main.command()
@click.argument("models", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
def operators(models: tuple[Path, ...]) -> None:
    """Prints the time of each kind of operator in MODELS (ONNX files, bundles), one thread, several lengths of text."""
    found = {}
    for path in models:
        model = path / "model.onnx" if path.is_dir() else path
        found[path.stem] = {n_tokens: operator_seconds(model, n_tokens) for n_tokens in LENGTHS}
    click.echo(operators_markdown(found))


def product_speed(rows: int, depth: int, columns: int) -> float:
    """Operations per second of one integer product, uint8 times int8, as the encoder's linear layers are computed."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    arrays = {
        "weights": rng.integers(-127, 128, (depth, columns)).astype(np.int8),
        "scale": np.array(0.02, dtype=np.float32),
        "weight_scale": np.full(columns, 0.01, dtype=np.float32),
        "zero": np.array(128, dtype=np.uint8),
        "weight_zero": np.zeros(columns, dtype=np.int8),
    }
    names = ["values", "weights", "scale", "weight_scale", "zero", "weight_zero"]
    graph = helper.make_graph(
        [helper.make_node("MatMulIntegerToFloat", names, ["result"], domain="com.microsoft")],
        "product",
        [helper.make_tensor_value_info("values", TensorProto.UINT8, [rows, depth])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [rows, columns])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    session = new_session(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    values = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    binding = session.io_binding()
    binding.bind_cpu_input("values", values)
    binding.bind_output("result")
    return 2.0 * rows * depth * columns / _seconds(lambda: session.run_with_iobinding(binding))


def encoder_operations(model: Any) -> int:
    """Operations of the integer products for one token."""
    weights = {initializer.name: initializer.dims for initializer in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMulIntegerToFloat"]
    return sum(2 * int(np.prod(weights[node.input[1]])) for node in products)


def encoder_speed(session: ort.InferenceSession, n_tokens: int, n_pieces: int) -> float:
    """Tokens per second of texts of so many tokens."""
    n_texts = max(2, TOKENS // n_tokens)
    ids = np.random.default_rng(0).integers(0, n_pieces, (n_texts, n_tokens))
    return n_texts * n_tokens / _seconds(lambda: run_session(session, ids, ["logits"]))


def _seconds(work: Callable[[], object]) -> float:
    """Median time, after two passes that are not counted."""
    times = []
    for _ in range(PEAK_PASSES + 2):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
def peak(bundle: Path) -> None:
    """Prints the speed of integer products on one core, and how much of the best the encoder of BUNDLE reaches."""
    import onnx

    loaded = load_bundle(bundle)
    content = loaded.read("model.onnx")
    n_pieces = Tokenizer.from_str(loaded.read("tokenizer.json").decode()).get_vocab_size()
    model = onnx.load_from_string(content)
    speeds = {shape: product_speed(*shape) for shape in SHAPES}
    for (rows, depth, columns), speed in speeds.items():
        click.echo(f"product {rows} x {depth} x {columns}: {speed / 1e9:,.0f} billion operations/s")
    best = max(speeds.values())
    operations = encoder_operations(model)
    session = new_session(content)
    click.echo(f"encoder: {operations / 1e6:.1f} million operations per token in integer products")
    for n_tokens in LENGTHS:
        speed = encoder_speed(session, n_tokens, n_pieces)
        click.echo(
            f"texts of {n_tokens} tokens: {speed:,.0f} tokens/s, {speed * operations / 1e9:,.0f} billion operations/s, "
            f"{speed * operations / best:.0%} of the best product"
        )


def seconds_of_pairs(model: Path, n_tokens: int) -> list[tuple[float, float]]:
    """Seconds of one pass over TOKENS / 2 tokens with the fastest and with exact products, in turns: PAIRS pairs."""
    sessions = [new_session(model, exact_option=exact) for exact in (False, True)]
    ids = np.random.default_rng(0).integers(0, 64, (max(2, TOKENS // 2 // n_tokens), n_tokens))
    pairs = []
    for _ in range(PAIRS + 1):
        seconds = []
        for session in sessions:
            started = time.perf_counter()
            session.run(["logits"], {"input_ids": ids})
            seconds.append(time.perf_counter() - started)
        pairs.append((seconds[0], seconds[1]))
    return pairs[1:]  # the first pass packs the weights


@main.command()
@click.argument("bundles", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
def exact_products(bundles: tuple[Path, ...]) -> None:
    """Prints how many times as long the encoders of BUNDLES take with exact products, on one thread."""
    saturates = int8_products().plain.saturates
    click.echo(f"The fastest products {'saturate' if saturates else 'are exact'} on this processor.\n")
    rows = []
    for bundle in bundles:
        for n_tokens in LENGTHS:
            ratios = [exact / fastest for fastest, exact in seconds_of_pairs(bundle / "model.onnx", n_tokens)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            rows.append([bundle.name, str(n_tokens), f"{statistics.median(ratios):.2f}", spread])
    click.echo("\n".join(markdown_table(["bundle", "tokens per text", "exact / fastest: median", "range"], rows)))


if __name__ == "__main__":
    main()
