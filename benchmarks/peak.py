"""An encoder's speed beside the peak of one core: `python -m benchmarks.peak BUNDLE`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from models.bundle import load_bundle
from models.machine import new_session, run_session

SHAPES = ((1024, 384, 384), (1024, 384, 1536), (1024, 1536, 384), (1024, 1024, 1024), (2048, 2048, 2048))
LENGTHS = (16, 64, 256)
TOKENS = 1024
REPEATS = 15


def product_speed(rows: int, depth: int, columns: int) -> float:
    """Operations per second of one integer product, uint8 times int8, as the encoder's linear layers are computed."""
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


def encoder_operations(model: onnx.ModelProto) -> int:
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
    for _ in range(REPEATS + 2):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
def main(bundle: Path) -> None:
    """Prints the speed of integer products on one core, and how much of the best the encoder of BUNDLE reaches."""
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
    click.echo(f"encoder: {operations / 1e6:.1f} million operations a token in integer products")
    for n_tokens in LENGTHS:
        speed = encoder_speed(session, n_tokens, n_pieces)
        click.echo(
            f"texts of {n_tokens} tokens: {speed:,.0f} tokens/s, {speed * operations / 1e9:,.0f} billion operations/s, "
            f"{speed * operations / best:.0%} of the best product"
        )


if __name__ == "__main__":
    main()
