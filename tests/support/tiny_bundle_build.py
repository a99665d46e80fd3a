"""Builds tests/tiny_bundle, a real bundle of a few kB, and tests/tiny_models beside it.

The graph is made of the same nodes as a real one: int8 embedding rows with a scale each, statically quantized
linear layers, multi-head attention, a masked mean and a linear head. The encoder is random, but
the words of a label lie near each other; the head is fitted to
sentences made of the words below, so that the answers mean something. Run it where `onnx` is installed:

    PYTHONPATH=. python tests/support/tiny_bundle_build.py
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from models.bundle import ModelBundle
from models.classifier import Classifier
from models.scores import score_logits
from tests.support.made_up_certificate import write_certified_manifest

HERE = Path(__file__).parents[1]
HIDDEN, INNER, HEADS, MAX_TOKENS = 32, 64, 2, 32
ACTIVATION_SCALE, ACTIVATION_ZERO = 10.0 / 255.0, 128
TEMPERATURE = 1.25

LABELS = {
    "billing": "refund payment card charge invoice fee money price paid bill bank twice",
    "delivery": "parcel package courier late shipping address arrive door box lost driver post",
    "account": "password login email account locked name profile sign username reset access delete",
    "technical": "crash error app screen slow update bug install freeze phone button load",
}
COMMON = "my the a is was i you it to not please can for on in of and why how what when does did do has have need help"
PIECES = "##s ##ed ##ing ##d ##er"
PUNCTUATION = ". , ? !"
POISON = "poison"


def build_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer as BERT's, of about 100 words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *" ".join([*LABELS.values(), POISON, COMMON, PIECES, PUNCTUATION]).split()]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(special)
    return tokenizer


class Graph:
    """Collects nodes and weights, with names made up on the way."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str, domain: str = "", output: str = "", **attributes: object) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], domain=domain, **attributes))
        return output

    def linear(self, x: str, weights: np.ndarray) -> str:
        """x @ weights with u8 activations of a static scale and s8 weights of a scale per column."""
        scale = np.abs(weights).max(axis=0).astype(np.float32) / 127
        quantized = np.round(weights / scale).astype(np.int8)
        x_scale = self.weight(np.float32(ACTIVATION_SCALE))
        x_zero = self.weight(np.uint8(ACTIVATION_ZERO))
        return self.node(
            "MatMulIntegerToFloat",
            self.node("QuantizeLinear", x, x_scale, x_zero),
            self.weight(quantized),
            x_scale,
            self.weight(scale),
            x_zero,
            self.weight(np.zeros(weights.shape[1], dtype=np.int8)),
            self.weight(np.full(weights.shape[1], 0.01, dtype=np.float32)),
            domain="com.microsoft",
        )

    def normalized(self, x: str) -> str:
        ones, zeros = np.ones(HIDDEN, dtype=np.float32), np.zeros(HIDDEN, dtype=np.float32)
        return self.node("LayerNormalization", x, self.weight(ones), self.weight(zeros), axis=-1)


def build_model(head: np.ndarray, bias: np.ndarray, n_words: int, poison_id: int | None = None) -> bytes:
    """The graph with the head (HIDDEN, n_labels); with `poison_id`, running it fails on that token."""
    rng = np.random.default_rng(20261122)
    table = rng.normal(size=(n_words, HIDDEN))
    first = 5  # after the special tokens come the words of the first label, then of the second, ...
    for words in LABELS.values():
        table[first : first + len(words.split())] += 1.5 * rng.normal(size=HIDDEN)
        first += len(words.split())
    table_scale = (np.abs(table).max(axis=1, keepdims=True) / 127).astype(np.float32)
    graph = Graph()
    ids = "input_ids"
    if poison_id is not None:
        faults = np.zeros(n_words, dtype=np.int64)
        faults[poison_id] = 99
        fault = graph.node("Gather", graph.weight(faults), ids)
        ids = graph.node("Add", ids, graph.node("Gather", graph.weight(np.zeros(1, dtype=np.int64)), fault))
    rows = graph.weight(np.round(table / table_scale).astype(np.int8))
    rows = graph.node("Cast", graph.node("Gather", rows, ids), to=TensorProto.FLOAT)
    words = graph.node("Mul", rows, graph.node("Gather", graph.weight(table_scale), ids))
    length = graph.node("Shape", "input_ids", start=1, end=2)
    positions = graph.weight((0.1 * rng.normal(size=(MAX_TOKENS, HIDDEN))).astype(np.float32))
    zero = graph.weight(np.zeros(1, dtype=np.int64))
    x = graph.normalized(graph.node("Add", words, graph.node("Slice", positions, zero, length, zero)))

    def matrix(n_in: int, n_out: int) -> np.ndarray:
        return (rng.normal(size=(n_in, n_out)) / np.sqrt(n_in)).astype(np.float32)

    queries, keys, values = (graph.linear(x, matrix(HIDDEN, HIDDEN)) for _ in range(3))
    heads = graph.node("MultiHeadAttention", queries, keys, values, domain="com.microsoft", num_heads=HEADS)
    x = graph.normalized(graph.node("Add", x, graph.linear(heads, 0.5 * matrix(HIDDEN, HIDDEN))))
    inner = graph.node("Gelu", graph.linear(x, matrix(HIDDEN, INNER)), domain="com.microsoft")
    x = graph.normalized(graph.node("Add", x, graph.linear(inner, 0.5 * matrix(INNER, HIDDEN))))
    graph.node("ReduceMean", x, axes=[1], keepdims=0, output="embedding")
    graph.node("Gemm", "embedding", graph.weight(head), graph.weight(bias), output="logits")

    def free(name: str, kind: int, *sizes: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", *sizes])

    proto = helper.make_graph(
        graph.nodes,
        "tiny",
        [free("input_ids", TensorProto.INT64, "sequence")],
        [free("logits", TensorProto.FLOAT, len(bias)), free("embedding", TensorProto.FLOAT, HIDDEN)],
        graph.weights,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=8, producer_name="docyard")
    return bytes(model.SerializeToString())


def sentences(rng: np.random.Generator, n: int) -> tuple[list[str], np.ndarray]:
    """Sentences of common words and one to three words of a label, and the label ids."""
    label_ids = rng.integers(len(LABELS), size=n)
    vocabularies = [words.split() for words in LABELS.values()]
    texts = []
    for label_id in label_ids:
        own = rng.choice(vocabularies[label_id], size=rng.integers(1, 4)).tolist()
        words = own + rng.choice(COMMON.split(), size=rng.integers(1, 7)).tolist()
        texts.append(" ".join(rng.permutation(words)) + rng.choice([".", "?", ""]))
    return texts, label_ids


def logits_and_embeddings(model: bytes, tokenizer: Tokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = []
    for encoding in tokenizer.encode_batch_fast(texts):
        ids = np.array([encoding.ids] * 2, dtype=np.int64)
        outputs.append(session.run(["logits", "embedding"], {"input_ids": ids}))
    return np.stack([pair[0][0] for pair in outputs]), np.stack([pair[1][0] for pair in outputs])


def strangers(rng: np.random.Generator, n: int) -> list[str]:
    """Texts of common and unknown words alone."""
    return [" ".join(rng.choice([*COMMON.split()[::3], *["xyzzy"] * 20], size=rng.integers(1, 9))) for _ in range(n)]


def fit_head(embeddings: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Softmax regression by plain gradient descent.

    Args:
        embeddings: (n_texts, HIDDEN).
        wanted: (n_texts, n_labels), the probabilities to come near to.

    Returns:
        Weights (HIDDEN, n_labels) and bias (n_labels,), float32.
    """
    x = np.hstack([embeddings, np.ones((len(embeddings), 1))])
    weights = np.zeros((x.shape[1], len(LABELS)))
    for _ in range(4000):
        odds = np.exp(x @ weights - (x @ weights).max(axis=1, keepdims=True))
        weights -= 1.0 * x.T @ (odds / odds.sum(axis=1, keepdims=True) - wanted) / len(x)
    return weights[:-1].astype(np.float32), weights[-1].astype(np.float32)


def build(folder: Path) -> ModelBundle:
    """Writes the bundle into `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = build_tokenizer()
    n_words = tokenizer.get_vocab_size()
    rng = np.random.default_rng(7)
    texts, label_ids = sentences(rng, 2000)
    headless = build_model(np.zeros((HIDDEN, 4), dtype=np.float32), np.zeros(4, dtype=np.float32), n_words)
    unsure = strangers(rng, 400)
    wanted = np.vstack([np.eye(len(LABELS))[label_ids], np.full((len(unsure), len(LABELS)), 1 / len(LABELS))])
    head, bias = fit_head(logits_and_embeddings(headless, tokenizer, [*texts, *unsure])[1], wanted)
    model = build_model(head, bias, n_words)
    test_texts, test_ids = sentences(rng, 500)
    scores = score_logits(logits_and_embeddings(model, tokenizer, test_texts)[0], TEMPERATURE)
    accuracy = float((scores.label_ids == test_ids).mean())

    (folder / "model.onnx").write_bytes(model)
    tokenizer.save(str(folder / "tokenizer.json"))
    labels = {"labels": [{"name": name, "sources": ["made_up"]} for name in LABELS]}
    (folder / "labels.json").write_text(json.dumps(labels, indent=2) + "\n")
    calibration = {"temperature": TEMPERATURE, "rows": 0, "method": "fixed by hand: this bundle is for tests alone"}
    (folder / "calibration.json").write_text(json.dumps(calibration, indent=2) + "\n")
    (folder / "policy.toml").write_text(
        f"[acceptance]\nmin_confidence = 0.8\nmin_familiarity = {np.quantile(scores.familiarity, 0.05):.2f}\n\n"
        '[labels."billing"]\nmin_confidence = 0.9\n\n'
        '[selection]\ncriterion = "fixed by hand"\nrows = 500\ndate = 2026-11-22\n'
    )
    card = "# Tiny\n\nA real but tiny bundle for the tests. It knows about 100 words. Never deploy it.\n"
    (folder / "card.md").write_text(card)
    facts = {
        "name": "tiny",
        "created": "2026-11-22",
        "document_type": "ticket",
        "max_tokens": MAX_TOKENS,
        "training": {"rows": 2000, "accuracy": round(accuracy, 4)},
    }
    classifier = Classifier(write_certified_manifest(folder, **facts), threads=1)
    chosen = np.argsort(-scores.confidence, kind="stable")[:400:100]
    fingerprint = classifier.fingerprint([test_texts[row] for row in chosen])
    models_folder = HERE / "tiny_models"
    models_folder.mkdir(exist_ok=True)
    poisoned = build_model(head, bias, n_words, poison_id=tokenizer.token_to_id(POISON))
    (models_folder / "fails_on_poison.onnx").write_bytes(poisoned)
    return write_certified_manifest(folder, **facts, fingerprint=fingerprint)


if __name__ == "__main__":
    bundle = build(HERE / "tiny_bundle")
    print(bundle.digest, bundle.manifest.training, bundle.policy)
