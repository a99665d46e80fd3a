"""Export, quantization and the parity gate, on a tiny random encoder with a head made of label means."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
from transformers import BertConfig, BertModel  # noqa: E402

from models.bundle import (  # noqa: E402
    ModelBundle,
    read_opsets,
    write_bundle_manifest,
)
from models.bundle_manifest import ReadingRules  # noqa: E402
from models.evaluation.intervals import paired_loss_interval  # noqa: E402
from models.machine import new_session  # noqa: E402
from models.training.config import FineTuning, ParityLimits, Pruning, Recipe  # noqa: E402
from models.training.export import export_float  # noqa: E402
from models.training.network import MeanPooledClassifier, encode, load_tokenizer  # noqa: E402
from models.training.parity import (  # noqa: E402
    ParityReport,
    check_parity,
    measure_parity,
)
from models.training.quantize import (  # noqa: E402
    channel_maxima,
    check_int8_products,
    equalise,
    optimized_operators,
    quantize,
)
from models.training.recipe import Training  # noqa: E402
from schemas.errors import BundleError  # noqa: E402
from tests.support.spoiling import spoil  # noqa: E402
from tests.support.tiny_base import made_up_rows, write_tiny_base  # noqa: E402

TEXTS, GOLD = made_up_rows(240)
LABELS = sorted(set(GOLD))
LABEL_IDS = np.array([LABELS.index(label) for label in GOLD])
MAX_TOKENS, LAYERS = 16, 3
GOOD = ParityReport(
    rows=1000, in_scope_rows=1000, label_flips=10, route_flips=20, float_accuracy=0.95, int8_accuracy=0.947,
    accuracy_loss=0.003, accuracy_loss_interval_95=(0.001, 0.005), mean_confidence_difference=0.01,
    batch_differences=0, int8_products=36,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Exported:
    network: MeanPooledClassifier
    tokenizer: bytes
    token_ids: list[list[int]]
    float_model: Path
    int8_model: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(20261122)
    base = write_tiny_base(folder / "base", layers=LAYERS)
    network = MeanPooledClassifier(BertConfig.from_pretrained(base, num_labels=len(LABELS))).eval()
    network.encoder.load_state_dict(BertModel.from_pretrained(base, add_pooling_layer=False).state_dict())
    tokenizer = (base / "tokenizer.json").read_bytes()
    token_ids = encode(load_tokenizer(tokenizer, MAX_TOKENS), TEXTS)
    embeddings, _ = network.infer(token_ids)
    network.start_head_from_prototypes(torch.as_tensor(embeddings), torch.as_tensor(LABEL_IDS), 8.0)
    export_float(network, folder / "float.onnx")
    quantize(folder / "float.onnx", folder / "int8.onnx", token_ids, (99.99,))
    return Exported(network, tokenizer, token_ids, folder / "float.onnx", folder / "int8.onnx")


def bundle_of(exported: Exported, model: Path, folder: Path, window_overlap: int | None = None) -> ModelBundle:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.read_bytes())
    (folder / "tokenizer.json").write_bytes(exported.tokenizer)
    (folder / "labels.json").write_text(json.dumps({"labels": [{"name": label} for label in LABELS]}))
    (folder / "calibration.json").write_text('{"temperature": 1.0}')
    (folder / "policy.toml").write_text(
        "[acceptance]\nmin_confidence = 0.6\nmin_familiarity = -inf\nmax_windows = 99\n"
    )
    (folder / "card.md").write_text("# Tiny\n")
    return write_bundle_manifest(
        folder, name="tiny", created="2026-11-22", document_type="letter", max_tokens=MAX_TOKENS,
        reading=ReadingRules(window_overlap=window_overlap),
    )  # fmt: skip


def test_the_exported_graph_has_one_node_for_each_layer_s_attention(exported: Exported) -> None:
    operators = [node.op_type for node in onnx.load(str(exported.float_model)).graph.node]
    assert operators.count("MultiHeadAttention") == operators.count("Gelu") == LAYERS
    assert "Softmax" not in operators
    assert "Erf" not in operators


def test_the_int8_graph_runs_every_linear_layer_of_the_encoder_in_integers(exported: Exported) -> None:
    assert read_opsets(exported.int8_model.read_bytes()) == [("ai.onnx", 17), ("com.microsoft", 1)]
    operators = optimized_operators(exported.int8_model.read_bytes())
    assert operators["MatMulIntegerToFloat"] == check_int8_products(exported.int8_model, exported.float_model)
    assert operators["MatMulIntegerToFloat"] == 6 * LAYERS
    assert operators["MatMul"] == operators["MatMulNBits"] == operators["Softmax"] == 0


def test_the_int8_graph_adds_its_biases_inside_the_products_and_hides_no_token(exported: Exported) -> None:
    graph = onnx.load(str(exported.int8_model)).graph
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 6 * LAYERS
    assert all(len(node.input) == 7 for node in products)
    attention = [node for node in graph.node if node.op_type == "MultiHeadAttention"]
    assert [len(node.input) for node in attention] == [3] * LAYERS  # queries, keys, values; neither bias nor mask
    assert [value.name for value in graph.input] == ["input_ids"]


def test_an_mpnet_is_deployed_in_int8_with_its_vocabulary_pruned(tmp_path: Path) -> None:
    base = write_tiny_base(tmp_path / "base", layers=LAYERS, kind="mpnet")
    recipe = Recipe(
        fine_tuning=FineTuning(epochs=4, batch_documents=16, encoder_learning_rate=2e-3, max_tokens=MAX_TOKENS),
        pruning=Pruning(layers=(0, 2), vocabulary=200),
    )
    trained = Training(recipe, base, TEXTS, LABEL_IDS, len(LABELS), tmp_path / "work").run()
    token_ids = trained.encode(TEXTS, MAX_TOKENS)
    assert (trained.network.infer(token_ids)[1].argmax(axis=1) == LABEL_IDS).mean() > 0.9
    float_model, int8_model = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    export_float(trained.network, float_model)
    quantize(float_model, int8_model, token_ids, (99.99,))
    assert check_int8_products(int8_model, float_model) == 6 * 2
    made = Exported(trained.network, trained.tokenizer, token_ids, float_model, int8_model)
    report = measure_parity(bundle_of(made, int8_model, tmp_path / "mpnet"), float_model, TEXTS, LABEL_IDS)
    check_parity(report, ParityLimits(max_label_flips=0.1, max_route_flips=0.2))
    assert report.int8_accuracy > 0.85
    assert report.batch_differences == 0


@pytest.fixture
def qdq_model(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The int8 graph as the quantizer leaves it."""
    monkeypatch.setattr("models.training.quantize.fuse_integer_products", lambda model: None)
    quantize(exported.float_model, tmp_path / "qdq.onnx", exported.token_ids, (99.99,))
    return tmp_path / "qdq.onnx"


def test_one_node_for_each_product_answers_as_the_graph_in_qdq_form(exported: Exported, qdq_model: Path) -> None:
    operators = [node.op_type for node in onnx.load(str(qdq_model)).graph.node]
    assert operators.count("MatMul") == 6 * LAYERS
    qdq = answers(qdq_model.read_bytes(), exported.token_ids)
    assert np.abs(answers(exported.int8_model.read_bytes(), exported.token_ids) - qdq).max() < 0.02 * np.ptp(qdq)


def answers(model: bytes, token_ids: list[list[int]]) -> np.ndarray:
    session = new_session(model)
    batches = [np.array([ids, ids]) for ids in token_ids]
    return np.array([session.run(["logits"], {"input_ids": ids})[0][0] for ids in batches])


def test_equalised_channels_change_no_answer_of_the_float_graph(exported: Exported) -> None:
    graph = onnx.load(str(exported.float_model))
    before = answers(graph.SerializeToString(), exported.token_ids)
    n_divisions = sum(node.op_type == "Mul" for node in graph.graph.node)
    maxima = channel_maxima(graph, [np.array([ids]) for ids in exported.token_ids])
    # What queries, keys and values share, what the wide layer reads, its Gelu, and the attention.
    assert len(maxima) == 4 * LAYERS
    equalise(graph, maxima)
    assert sum(node.op_type == "Mul" for node in graph.graph.node) == n_divisions + 3 * LAYERS
    assert np.abs(answers(graph.SerializeToString(), exported.token_ids) - before).max() < 1e-4
    undivided = {node.input[0] for node in graph.graph.node if node.op_type == "MatMul"} & maxima.keys()
    attention = {node.output[0] for node in graph.graph.node if node.op_type == "MultiHeadAttention"}
    assert undivided == attention  # whose values are divided before them
    weights = [node.input[1] for node in graph.graph.node if node.op_type == "MatMul"]
    assert sum(name.endswith("_equalised_weight") for name in weights) == 5 * LAYERS
    assert sum(name.endswith("_multiplied_weight") for name in weights) == LAYERS


def test_a_channel_that_outgrows_the_rest_costs_less_when_channels_are_equalised(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five random networks, because in one of them something else may cost more."""

    def error(name: str) -> float:
        quantize(tmp_path / "float.onnx", tmp_path / name, exported.token_ids, (99.99,))
        return float(np.abs(answers((tmp_path / name).read_bytes(), exported.token_ids) - expected).mean())

    gains = []
    for seed in range(5):
        torch.manual_seed(seed)
        network = copy.deepcopy(exported.network)
        network.encoder.load_state_dict(BertModel(network.config, add_pooling_layer=False).state_dict())
        with torch.no_grad():
            for layer in network.encoder.encoder.layer:
                layer.attention.output.LayerNorm.weight[3] *= 30
                layer.intermediate.dense.weight[:, 3] /= 30
        export_float(network, tmp_path / "float.onnx")
        expected = answers((tmp_path / "float.onnx").read_bytes(), exported.token_ids)
        equalised = error("equalised")
        with monkeypatch.context() as patched:
            patched.setattr("models.training.quantize.equalise", lambda model, maxima: None)
            gains.append(error("plain") / equalised)
    assert np.median(gains) > 1.5


def test_a_graph_of_int8_weights_and_float_activations_is_refused(
    exported: Exported, qdq_model: Path, tmp_path: Path
) -> None:
    graph = onnx.load(str(qdq_model))
    kept = {node.input[0]: node for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    for node in graph.graph.node:  # past QuantizeLinear and DequantizeLinear, straight to the activation
        if node.op_type == "QuantizeLinear" and node.output[0] in kept:
            skipped = kept[node.output[0]].output[0]
            for user in graph.graph.node:
                user.input[:] = [node.input[0] if name == skipped else name for name in user.input]
    onnx.save(graph, str(tmp_path / "half.onnx"))
    with pytest.raises(BundleError, match=r"half\.onnx: expected the 18 linear layers .* found 0"):
        check_int8_products(tmp_path / "half.onnx", exported.float_model)


def test_a_graph_that_answers_otherwise_than_the_network_is_refused(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.export._EXPORT_TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="its logits differ by"):
        export_float(exported.network, tmp_path / "float.onnx")


def test_a_float_graph_has_parity_with_itself_in_all_but_integers(exported: Exported, tmp_path: Path) -> None:
    bundle = bundle_of(exported, exported.float_model, tmp_path / "bundle")
    report = measure_parity(bundle, exported.float_model, TEXTS, LABEL_IDS)
    assert (report.label_flips, report.route_flips, report.batch_differences) == (0, 0, 0)
    assert (report.accuracy_loss, report.mean_confidence_difference) == (0.0, 0.0)
    with pytest.raises(BundleError, match="no matrix product is integer"):
        check_parity(report, ParityLimits())


@pytest.mark.parametrize("window_overlap", [None, 4])
def test_a_well_quantized_bundle_passes_the_gate(
    exported: Exported, tmp_path: Path, window_overlap: int | None
) -> None:
    bundle = bundle_of(exported, exported.int8_model, tmp_path / "bundle", window_overlap)
    texts = [f"{text} {text} {text}" for text in TEXTS]  # longer than one window
    label_ids = np.where(np.arange(len(TEXTS)) % 10 == 0, -1, LABEL_IDS)
    report = measure_parity(bundle, exported.float_model, texts, label_ids)
    check_parity(report, ParityLimits())
    assert (report.rows, report.in_scope_rows) == (240, 216)
    assert report.batch_differences == 0
    assert report.float_accuracy is not None
    assert report.float_accuracy > 0.9
    assert json.loads(json.dumps(report.figures(), allow_nan=False))["label_flip_share"] == report.label_flips / 240


def test_a_badly_quantized_bundle_is_refused_with_the_figures(exported: Exported, tmp_path: Path) -> None:
    shutil.copy(exported.int8_model, tmp_path / "bad.onnx")
    spoil(tmp_path / "bad.onnx")
    bundle = bundle_of(exported, tmp_path / "bad.onnx", tmp_path / "bundle")
    report = measure_parity(bundle, exported.float_model, TEXTS, LABEL_IDS)
    with pytest.raises(BundleError, match=rf"{report.label_flips} of 240 rows .* get another label") as caught:
        check_parity(report, ParityLimits())
    assert "\n" not in str(caught.value)
    assert not any(text in str(caught.value) for text in TEXTS)


def test_figures_at_their_limits_pass_the_gate() -> None:
    check_parity(GOOD, ParityLimits())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label_flips": 11}, r"11 of 1000 rows \(1\.10%\) get another label"),
        ({"route_flips": 21}, r"21 of 1000 rows \(2\.10%\) change between"),
        ({"accuracy_loss": 0.004}, r"accuracy falls by 0\.40% \(95% interval 0\.10% to 0\.50%\)"),
        ({"batch_differences": 1}, "1 answers change with the batch"),
        ({"int8_products": 0}, "no matrix product is integer"),
    ],
)
def test_a_figure_beyond_its_limit_is_refused(change: dict[str, float], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        check_parity(dataclasses.replace(GOOD, **change), ParityLimits())


def test_a_small_set_is_not_refused_for_what_is_chance() -> None:
    few = dataclasses.replace(
        GOOD, rows=100, in_scope_rows=100, label_flips=3, route_flips=3, accuracy_loss=0.02,
        accuracy_loss_interval_95=paired_loss_interval(3, 1, 100),
    )  # fmt: skip
    check_parity(few, ParityLimits())
    with pytest.raises(BundleError, match="4 of 100 rows"):
        check_parity(dataclasses.replace(few, label_flips=4), ParityLimits())


def test_without_a_row_in_scope_there_is_no_accuracy_to_lose() -> None:
    check_parity(dataclasses.replace(GOOD, accuracy_loss=None, accuracy_loss_interval_95=None), ParityLimits())


def test_the_interval_of_a_paired_loss_is_the_published_one() -> None:
    # By hand: n = 100, lost 8, gained 2: (9 - 3) / 102 ± 1.96 sqrt((12 / 102 - (6 / 102)²) / 102)
    assert paired_loss_interval(8, 2, 100) == pytest.approx((-0.00677, 0.12442), abs=1e-4)
    low, high = paired_loss_interval(0, 0, 50)
    assert low == -high < 0


def test_the_percentile_that_keeps_the_logits_nearest_is_taken(exported: Exported, tmp_path: Path) -> None:
    for percentiles in ((20.0, 100.0), (100.0, 20.0)):
        assert quantize(exported.float_model, tmp_path / "tried.onnx", exported.token_ids, percentiles) == 100.0
    quantize(exported.float_model, tmp_path / "alone.onnx", exported.token_ids, (100.0,))
    assert (tmp_path / "tried.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()
