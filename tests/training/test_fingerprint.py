"""A fingerprint holds texts that a machine whose int8 products saturate answers otherwise."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import helper, numpy_helper  # noqa: E402

from models.bundle import load_bundle  # noqa: E402
from models.classifier import FINGERPRINT_TOLERANCE, Classifier  # noqa: E402
from models.machine import Int8Probe, Int8Products, new_session, probe_activations, probe_weights  # noqa: E402  # noqa: E402
from models.training import fingerprint  # noqa: E402
from models.training.fingerprint import (  # noqa: E402
    check_exact_products,
    disturbed_graph,
    fingerprint_texts,
    made_up_texts,
    renew_fingerprint,
    saturated_confidences,
    saturating_graph,
    sensitive_texts,
)
from schemas.errors import BundleError  # noqa: E402

BUNDLES = sorted(path.parent for path in (Path(__file__).parents[2] / "models/bundles").glob("*/model.onnx"))


def product_graph(weights: np.ndarray, zero: int, bias: np.ndarray | None) -> bytes:
    depth, columns = weights.shape
    constants = {
        "weights": weights.astype(np.int8), "scale": np.float32(0.5), "weight_scale": np.full(columns, 2, np.float32),
        "zero": np.uint8(zero), "weight_zero": np.zeros(columns, np.int8),
    }  # fmt: skip
    if bias is not None:
        constants["bias"] = bias.astype(np.float32)
    node = helper.make_node("MatMulIntegerToFloat", ["values", *constants], ["result"], domain="com.microsoft")
    graph = helper.make_graph(
        [node], "product",
        [helper.make_tensor_value_info("values", onnx.TensorProto.UINT8, ["rows", depth])],
        [helper.make_tensor_value_info("result", onnx.TensorProto.FLOAT, ["rows", columns])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def saturated(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Adds each pair of products in 16 bits, as the instruction PMADDUBSW does."""
    products = values.astype(np.int64)[:, :, None] * weights
    if products.shape[1] % 2:
        products = np.concatenate([products, np.zeros_like(products[:, :1])], axis=1)
    return np.clip(products[:, ::2] + products[:, 1::2], -(2**15), 2**15 - 1).sum(axis=1)


@pytest.mark.parametrize("depth", [384, 7])
@pytest.mark.parametrize("zero", [0, 117])
@pytest.mark.parametrize("with_bias", [False, True])
def test_products_saturate_as_on_a_processor_without_vnni(depth: int, zero: int, with_bias: bool) -> None:
    weights, values = probe_weights()[:depth], probe_activations(64)[:, :depth]
    bias = np.arange(weights.shape[1]) if with_bias else None
    session = new_session(saturating_graph(product_graph(weights, zero, bias)))
    [found] = session.run(["result"], {"values": values.astype(np.uint8)})
    expected = saturated(values, weights) - zero * weights.sum(axis=0) + (0 if bias is None else bias)
    assert np.array_equal(found, expected)
    assert not np.array_equal(saturated(values, weights), values @ weights)


def test_where_nothing_saturates_the_answers_are_the_bundle_s_own(
    tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_LOW", -(2**20))
    monkeypatch.setattr(fingerprint, "_HIGH", 2**20)
    bundle = load_bundle(tiny_bundle_unchanged)
    classifier = Classifier(bundle, threads=1)
    texts = [row.text for row in bundle.fingerprint]
    scores = classifier.classify(texts)
    classifier.close()
    found = saturated_confidences(bundle, texts, scores.label_ids)
    assert found == pytest.approx(scores.confidence, abs=1e-5)


def test_other_rounding_is_worked_out_from_results_that_are_slightly_off(tiny_bundle_unchanged: Path) -> None:
    content = load_bundle(tiny_bundle_unchanged).read("model.onnx")
    found = [
        {
            initializer.name: numpy_helper.to_array(initializer)
            for initializer in onnx.load_from_string(graph).graph.initializer
        }
        for graph in (content, disturbed_graph(content, 0), disturbed_graph(content, 1))
    ]
    off = [name for name in found[0] if not np.array_equal(found[0][name], found[1][name])]
    assert off
    for name in off:
        assert not np.array_equal(found[1][name], found[2][name])
        assert found[1][name] == pytest.approx(found[0][name], rel=1.2e-6)


def test_the_most_changed_texts_are_chosen_beside_those_given(
    tiny_bundle_unchanged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)

    def turned(bundle: object, texts: list[str], label_ids: np.ndarray) -> np.ndarray:
        confidence = classifier.classify(texts).confidence
        return confidence + np.where(["card" in text for text in texts], 0.3, 0.001)

    def shaken(bundle: object, texts: list[str], label_ids: np.ndarray, seed: int) -> np.ndarray:
        return classifier.classify(texts).confidence + np.where(["billing" in text for text in texts], 0.01, 0.0)

    monkeypatch.setattr(fingerprint, "saturated_confidences", turned)
    monkeypatch.setattr(fingerprint, "disturbed_confidences", shaken)

    given = ["please refund my card payment", "where is my parcel courier"]
    texts = fingerprint_texts(classifier, given)
    assert texts[:2] == given
    chosen = texts[2:]
    assert 1 <= len(chosen) <= 3
    assert all("card" in text for text in chosen)
    assert not any("billing" in text for text in chosen), "other rounding moves them as well"
    assert chosen == [text for text in sensitive_texts(classifier, given) if text not in given]
    assert fingerprint_texts(classifier, [])[: len(made_up_texts(classifier))] == made_up_texts(classifier)
    classifier.close()


def test_a_fingerprint_that_lets_saturating_machines_pass_is_warned_of(
    tiny_bundle_unchanged: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_HIGH", 2**20)
    monkeypatch.setattr(fingerprint, "_LOW", -(2**20))
    classifier = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    with caplog.at_level(logging.WARNING):
        sensitive_texts(classifier, ["please refund my card payment"])
    classifier.close()
    assert "lets such a machine pass" in caplog.text


def test_no_bundle_is_made_where_products_saturate(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    saturating = Int8Probe(False, False, 1.0)
    monkeypatch.setattr(fingerprint, "int8_products", lambda: Int8Products(saturating, False, saturating))
    for refused in (check_exact_products, lambda: renew_fingerprint(tiny_bundle)):
        with pytest.raises(BundleError, match="int8 products saturate on this processor"):
            refused()


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_bundle_that_comes_along_is_refused_where_products_saturate(folder: Path) -> None:
    bundle = load_bundle(folder)
    rows = bundle.fingerprint[-fingerprint.SENSITIVE_TEXTS :]  # as `fingerprint_texts` puts them
    label_ids = np.array([bundle.labels.index(row.label) for row in rows])
    found = saturated_confidences(bundle, [row.text for row in rows], label_ids)
    assert max(abs(found - [row.confidence for row in rows])) > FINGERPRINT_TOLERANCE


def test_renewing_a_fingerprint_changes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(next(path for path in BUNDLES if path.name == "fraud"), tmp_path / "fraud"))
    before = json.loads((folder / "bundle.json").read_bytes())
    monkeypatch.setattr(fingerprint, "_CANDIDATES", 2)
    renewed = renew_fingerprint(folder)
    after = json.loads((folder / "bundle.json").read_bytes())
    given = before["training"]["configuration"]["fingerprint"]
    assert [row.text for row in renewed.fingerprint][: len(given)] == given
    assert len(given) <= len(renewed.fingerprint) <= len(given) + 2
    assert before | {"fingerprint": []} == after | {"fingerprint": []}
    Classifier(renewed).close()
