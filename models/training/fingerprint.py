"""Texts for a bundle's fingerprint, which hold nothing of anybody's documents: `python -m models.training.fingerprint`.

A fingerprint shows a machine that computes otherwise. Decided answers show one that computes something else altogether.
Answers that change most when int8 products saturate show a machine where they do: x86 processors without VNNI multiply
unsigned activations by signed weights, add each two neighbouring products in 16 bits, and saturate there. Graphs that
compute so on any machine are made here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.bundle import OPSETS, ModelBundle, load_bundle, write_bundle_manifest
from models.classifier import FINGERPRINT_TOLERANCE, Classifier
from models.machine import COLUMNS, WIDTH, int8_products, new_session, probe_weights
from models.tokens import TextTokenizer
from models.words import FILE_NAME as WORDS_NAME
from models.words import parse_words
from schemas.errors import BundleError

logger = logging.getLogger(__name__)

TEXTS = 8
SENSITIVE_TEXTS = 3
_MIN_LEAD = 0.2  # over the second-best label, in confidence; ten times what another machine may differ by
_SENTENCES = ("{}", "This is about {}.", "I have a question about {}, please.")
_CANDIDATES = 24
_DISTURBANCES = 4
_STEADY = FINGERPRINT_TOLERANCE / 4  # the most that other rounding may move a text that is chosen for its sensitivity
_MIXTURES = 3000
_MOST_TOKENS = 64  # the memory for a text's saturated products grows with them
_UNDECIDED = 0.6  # confidence at which an answer is easily turned, and yet of one label
_LEAST_LEAD = 0.1  # of such an answer; five times what another machine may differ by
_PRODUCT = "MatMulIntegerToFloat"
_DISTURBANCE = 1e-6
_LOW, _HIGH = -(2**15), 2**15 - 1


def check_exact_products() -> None:
    """Refuses to make a bundle where int8 products saturate: every other machine would answer otherwise.

    Raises:
        BundleError: they do here.
    """
    if int8_products().used.saturates:
        raise BundleError(
            "int8 products saturate on this processor, so that a bundle measured here would answer otherwise "
            "elsewhere; make it on a machine for which `docyard doctor` says they are exact"
        )


def fingerprint_texts(classifier: Classifier, given: Sequence[str]) -> list[str]:
    """The texts of a bundle's fingerprint: those given, or else made-up ones, and those that saturation turns most."""
    texts = list(given) or made_up_texts(classifier)
    return texts + [text for text in sensitive_texts(classifier, given) if text not in texts]


def made_up_texts(classifier: Classifier) -> list[str]:
    """Chooses one to eight sentences made of label names, of different labels: those answered most decidedly.

    A small difference between two processors does not turn a decided answer, so that a machine is only refused for a
    large one.
    """
    labels = classifier.bundle.labels
    texts = _sentences(classifier)
    top = classifier.classify(texts).top_confidences
    leads = np.nan_to_num(top[:, 0] - top[:, 1]).reshape(len(labels), len(_SENTENCES))
    best_sentences = leads.argmax(axis=1)
    ranked = np.argsort(-leads.max(axis=1), kind="stable")[:TEXTS]
    decided = [label for label in ranked.tolist() if leads[label].max() >= _MIN_LEAD] or ranked[:1].tolist()
    return [texts[label * len(_SENTENCES) + int(best_sentences[label])] for label in sorted(decided)]


def sensitive_texts(classifier: Classifier, given: Sequence[str]) -> list[str]:
    """Chooses up to three texts whose answers change most where int8 products saturate, the most changed first.

    They are looked for among sentences made of label names and mixtures of the given texts, near to those whose answer
    is neither decided nor open between two labels. Texts that other rounding moves as well are left out: a machine that
    only rounds otherwise must not be refused. Each of the three differs by more than a fingerprint may where products
    saturate; a warning says when no text does.
    """
    pool = list(dict.fromkeys([*_sentences(classifier), *_mixtures(given)]))
    scores = classifier.classify(pool, encoder_only=True)
    leads = np.nan_to_num(scores.top_confidences[:, 0] - np.nan_to_num(scores.top_confidences[:, 1]))
    fit = ~scores.failed & (scores.n_tokens <= min(_MOST_TOKENS, classifier.bundle.max_tokens)) & (leads >= _LEAST_LEAD)
    rows = np.flatnonzero(fit)
    top = scores.top_confidences[:, 0]
    rows = rows[np.argsort(np.abs(top[rows] - _UNDECIDED), kind="stable")][: 16 * _CANDIDATES]
    for seed in range(_DISTURBANCES):
        disturbed = disturbed_confidences(classifier.bundle, [pool[row] for row in rows], scores.label_ids[rows], seed)
        rows = rows[np.abs(disturbed - top[rows]) <= _STEADY]
    rows = rows[:_CANDIDATES]
    candidates = [pool[row] for row in rows]
    saturated = saturated_confidences(classifier.bundle, candidates, scores.label_ids[rows])
    changes = np.abs(saturated - top[rows])
    chosen = [row for row in np.argsort(-changes, kind="stable").tolist() if changes[row] > FINGERPRINT_TOLERANCE]
    if not chosen:
        logger.warning(
            "%s: of %d texts, none is answered otherwise by a machine whose int8 products saturate: the fingerprint "
            "lets such a machine pass",
            classifier.bundle.name,
            len(candidates),
        )
    return [candidates[row] for row in chosen[:SENSITIVE_TEXTS]]


def renew_fingerprint(folder: Path) -> ModelBundle:
    """Writes bundle.json with texts chosen anew and this machine's answers; everything else in it stays.

    Raises:
        BundleError: the bundle does not load or run, or int8 products saturate here.
    """
    check_exact_products()
    bundle = load_bundle(folder)
    classifier = Classifier(bundle, check_fingerprint=False)
    given = bundle.manifest.training.get("configuration", {}).get("fingerprint", ())
    fingerprint = classifier.fingerprint(fingerprint_texts(classifier, given))
    classifier.close()
    manifest = bundle.manifest
    return write_bundle_manifest(
        folder, name=manifest.name, created=manifest.created, document_type=manifest.document_type,
        max_tokens=manifest.max_tokens, training=manifest.training, fingerprint=fingerprint, reading=manifest.reading,
    )  # fmt: skip


def _sentences(classifier: Classifier) -> list[str]:
    return [sentence.format(label.replace("_", " ")) for label in classifier.bundle.labels for sentence in _SENTENCES]


def _mixtures(texts: Sequence[str]) -> list[str]:
    """The texts with about half of their words replaced by those that others have in their place, ever the same."""
    words = [text.split() for text in texts]
    rng = np.random.default_rng(0)
    mixed = []
    for _ in range(_MIXTURES if len(texts) > 1 else 0):
        base = list(words[rng.integers(len(words))])
        for place in np.flatnonzero(rng.random(len(base)) < 0.5):
            other = words[rng.integers(len(words))]
            base[place] = other[place] if place < len(other) else base[place]
        mixed.append(" ".join(base))
    return mixed


def saturated_confidences(
    bundle: ModelBundle, texts: Sequence[str], label_ids: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """The confidence, with products that saturate, in the label that each text has without: (n_texts,) in [0, 1].

    Takes about a second per text, and memory for all single products of a layer: for short texts only.
    """
    return _confidences(bundle, saturating_graph(bundle.read("model.onnx")), texts, label_ids)


def disturbed_confidences(
    bundle: ModelBundle, texts: Sequence[str], label_ids: npt.NDArray[np.integer], seed: int
) -> npt.NDArray[np.float64]:
    """The same with exact products, each result off by up to a millionth: as if another processor rounded it.

    Such a difference is nothing by itself, but it moves some activation to the next of its 256 values now and then.
    """
    return _confidences(bundle, disturbed_graph(bundle.read("model.onnx"), seed), texts, label_ids)


def _confidences(
    bundle: ModelBundle, graph: bytes, texts: Sequence[str], label_ids: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    session = new_session(graph)
    tokenizer = TextTokenizer(bundle.read("tokenizer.json"), bundle.max_tokens, None, "tokenizer.json")
    windows = tokenizer.tokenize(list(texts)).windows
    added = np.zeros((len(windows), len(bundle.labels)))
    if WORDS_NAME in bundle.manifest.files:
        words = parse_words(bundle.read(WORDS_NAME), len(bundle.labels), WORDS_NAME)
        added = words.weight * words.read([window[1:-1] for window in windows]).logits
    confidences = []
    for window, label_id, word_logits in zip(windows, label_ids, added, strict=True):
        # One row, not doubled as a run would: its last bits do not matter here, its time and memory do.
        encoder_logits = session.run(["logits"], {"input_ids": window[None].astype(np.int64)})[0][0]
        logits = (encoder_logits + word_logits) / bundle.temperature
        odds = np.exp(logits - logits.max())
        confidences.append(odds[label_id] / odds.sum())
    return np.array(confidences)


def disturbed_graph(content: bytes, seed: int) -> bytes:
    """The graph of `model.onnx` with the scale of each column of each integer product off by up to a millionth."""
    model = onnx.load_from_string(content)
    scales = {node.input[3] for node in model.graph.node if node.op_type == _PRODUCT}
    rng = np.random.default_rng(seed)
    for initializer in model.graph.initializer:
        if initializer.name in scales:
            scale = numpy_helper.to_array(initializer)
            noise = 1 + _DISTURBANCE * rng.uniform(-1, 1, scale.shape)
            initializer.CopyFrom(numpy_helper.from_array((scale * noise).astype(np.float32), initializer.name))
    return bytes(model.SerializeToString())


def saturating_graph(content: bytes) -> bytes:
    """The graph of `model.onnx`, its integer products written out so that each two of them saturate in 16 bits."""
    model = onnx.load_from_string(content)
    graph = model.graph
    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == _PRODUCT:
            nodes += _saturating_product(node, constants, graph)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _saturating_product(
    product: onnx.NodeProto, constants: dict[str, npt.NDArray[Any]], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    values, weights_name, scale, weight_scale, zero, _, *bias = product.input
    weights = constants[weights_name].astype(np.int32)
    depth = len(weights)
    weights = np.pad(weights, [(0, depth % 2), (0, 0)])
    name = product.output[0]
    given = {
        "even_weights": weights[::2],
        "odd_weights": weights[1::2],
        "offset": constants[zero].astype(np.int32) * weights.sum(axis=0, dtype=np.int32),
        "scale": (constants[scale] * constants[weight_scale]).astype(np.float32),
        "even": np.arange(0, depth, 2),
        "odd": np.minimum(np.arange(1, depth + 1, 2), depth - 1),  # the last one, without a partner, is weighted by 0
        "last": np.array([-1]),
        "pairs": np.array([-2]),
        "low": np.array(_LOW, dtype=np.int32),
        "high": np.array(_HIGH, dtype=np.int32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"{name}/{key}") for key, value in given.items())

    def step(operator: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
        inputs = [f"{name}/{key}" if key in given or key in made else key for key in inputs]
        made.add(output)
        return helper.make_node(operator, inputs, [output if output == name else f"{name}/{output}"], **attributes)

    made: set[str] = set()
    return [
        step("Cast", [values], "whole", to=onnx.TensorProto.INT32),
        step("Gather", ["whole", "even"], "even_values", axis=-1),
        step("Gather", ["whole", "odd"], "odd_values", axis=-1),
        step("Unsqueeze", ["even_values", "last"], "even_column"),
        step("Unsqueeze", ["odd_values", "last"], "odd_column"),
        step("Mul", ["even_column", "even_weights"], "even_products"),
        step("Mul", ["odd_column", "odd_weights"], "odd_products"),
        step("Add", ["even_products", "odd_products"], "sums"),
        step("Clip", ["sums", "low", "high"], "saturated"),
        step("ReduceSum", ["saturated", "pairs"], "total", keepdims=0),
        step("Sub", ["total", "offset"], "product"),
        step("Cast", ["product"], "float_product", to=onnx.TensorProto.FLOAT),
        step("Mul", ["float_product", "scale"], name if not bias else "scaled"),
        *([step("Add", ["scaled", bias[0]], name)] if bias else []),
    ]


def probe_graph() -> onnx.ModelProto:
    """The graph models/int8_probe.onnx, by which `models.machine` finds out how this machine computes.

    Activations (rows, 384) float32 in; the integer product, and the one quantized like a linear layer, out.
    """
    constants = {
        "one": np.float32(1),
        "zero_point": np.uint8(0),
        "weights": probe_weights().astype(np.int8),
        "bundle_weights": probe_weights().astype(np.int8),  # ONNX Runtime's exact products fail on weights read twice
        "scales": np.ones(COLUMNS, dtype=np.float32),
        "zero_points": np.zeros(COLUMNS, dtype=np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["activations", "one", "zero_point"], ["quantized"]),
        helper.make_node("MatMulInteger", ["quantized", "weights"], ["integer_product"]),
        helper.make_node("DequantizeLinear", ["quantized", "one", "zero_point"], ["left"]),
        helper.make_node("DequantizeLinear", ["bundle_weights", "scales", "zero_points"], ["right"], axis=1),
        helper.make_node("MatMul", ["left", "right"], ["bundle_product"]),
    ]
    graph = helper.make_graph(
        nodes,
        "int8_probe",
        [helper.make_tensor_value_info("activations", TensorProto.FLOAT, ["rows", WIDTH])],
        [
            helper.make_tensor_value_info("integer_product", TensorProto.INT32, ["rows", COLUMNS]),
            helper.make_tensor_value_info("bundle_product", TensorProto.FLOAT, ["rows", COLUMNS]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSETS["ai.onnx"])
    return helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="docyard")


@click.command()
@click.argument("bundles", type=click.Path(path_type=Path), nargs=-1, required=True)
def main(bundles: tuple[Path, ...]) -> None:
    """Chooses the fingerprint of BUNDLES anew and writes it into their bundle.json."""
    logging.basicConfig(format="%(message)s")
    for folder in bundles:
        bundle = renew_fingerprint(folder)
        click.echo(f"{folder}: {len(bundle.fingerprint)} texts, digest {bundle.digest[:12]}")


if __name__ == "__main__":
    main()
