"""Exports the fine-tuned network to ONNX with optimum and quantizes it statically to int8.

What is quantized was chosen by measurement (docs/decisions/0004): every linear layer of the encoder and the
embeddings. Attention's own products and the head stay float, and no layer's output is quantized twice: each linear
layer is one integer product with a float result. The channels of normalised activations are made alike first
(docs/decisions/0008).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType
from onnxruntime.quantization.calibrate import PercentileCalibrater
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import export
from optimum.exporters.onnx.model_configs import BertOnnxConfig

from models.bundle import OPSETS
from models.machine import new_session
from models.training.equalisation import channel_maxima, equalise
from models.training.integer_products import fuse_integer_products
from models.training.network import MeanPooledClassifier
from models.training.products import check_int8_products
from schemas.errors import BundleError

logger = logging.getLogger(__name__)

QUANTIZED_OPERATORS = ["MatMul", "Gather"]
_HISTOGRAM_BINS = 2048
_CALIBRATION_BATCH_TOKENS = 2048  # a calibration batch keeps the input of every linear layer: about 40 MB of MiniLM-L6
_EXPORT_TOLERANCE = 1e-3  # in logits; other rounding of float32 moves them by 1e-5


class MeanPooledClassifierOnnxConfig(BertOnnxConfig):  # type: ignore[misc]
    """Tells optimum the inputs and outputs of MeanPooledClassifier.

    Texts are single, so there are no token types; those of a batch are equally long, so there is no mask.
    """

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Input names with their dynamic axes."""
        return {"input_ids": {0: "batch", 1: "sequence"}}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Output names with their dynamic axes."""
        return {"logits": {0: "batch"}, "embedding": {0: "batch"}}


def export_float(network: MeanPooledClassifier, path: Path) -> None:
    """Writes the network as a float32 ONNX graph in which each layer's attention and each Gelu is one node.

    Queries, keys and values stay plain MatMuls, which the quantizer has to see.

    Raises:
        BundleError: the graph does not answer as the network does.
    """
    config = MeanPooledClassifierOnnxConfig(network.config, task="text-classification")
    options = FusionOptions("bert")
    options.use_multi_head_attention = True
    options.enable_embed_layer_norm = options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
    options.enable_bias_gelu = False  # the bias joins the integer product or the Gelu when the graph is opened
    with tempfile.TemporaryDirectory() as folder, _without_remarks():
        plain = Path(folder) / "plain.onnx"
        export(network, config, plain, opset=OPSETS["ai.onnx"])
        fused = optimize_model(
            str(plain),
            model_type="bert",
            num_heads=network.config.num_attention_heads,
            hidden_size=network.config.hidden_size,
            optimization_options=options,
            opt_level=0,
        )
        _unmask_attention(fused.model.graph)
        fused.prune_graph()
        fused.save_model_to_file(str(path))
    n_fused = fused.get_fused_operator_statistics()["MultiHeadAttention"]
    if n_fused != network.config.num_hidden_layers:  # the same answers, but slower
        logger.warning("attention was fused in %d of %d layers", n_fused, network.config.num_hidden_layers)
    _check_export(network, path)


def _unmask_attention(graph: onnx.GraphProto) -> None:
    """Takes the mask, which hides nothing in texts of equal length, from the attention nodes.

    The exporter writes one all the same, and with it the runtime leaves out its faster attention.
    """
    for node in graph.node:
        if node.op_type == "MultiHeadAttention":
            del node.input[4:]  # queries, keys, values, bias; then the mask and what Docyard's networks have not


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Drops what the exporter notes on the way: that constants are constant, and every node it fuses."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=torch.jit.TracerWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)  # the newer exporter's attention cannot be fused
        logging.disable(logging.INFO)
        try:
            yield
        finally:
            logging.disable(before)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _check_export(network: MeanPooledClassifier, path: Path) -> None:
    """Compares graph and network on made-up token ids, from two tokens to the most the network reads."""
    session = new_session(path.read_bytes())
    rng = np.random.default_rng(0)
    for n_tokens in (2, 17, network.config.max_position_embeddings):
        ids = rng.integers(0, network.config.vocab_size, (3, n_tokens))
        (found,) = session.run(["logits"], {"input_ids": ids})
        mask = torch.ones(ids.shape, dtype=torch.int64)  # as in training
        expected = network(input_ids=torch.from_numpy(ids), attention_mask=mask).logits.numpy()
        difference = float(np.abs(found - expected).max())
        if not difference <= _EXPORT_TOLERANCE:
            raise BundleError(
                f"{path}: on {n_tokens} tokens its logits differ by {difference:.2g} from the network's, expected at "
                f"most {_EXPORT_TOLERANCE}; install the versions of torch, transformers and optimum that setup.py names"
            )


def quantize(
    float_path: Path, int8_path: Path, calibration_token_ids: list[list[int]], percentiles: Sequence[float]
) -> float:
    """Quantizes statically: QDQ, signed int8 weights per output channel, unsigned activations, embeddings too.

    Activation ranges are fixed here, from the calibration texts, so that an answer never depends on the texts it
    shares a batch with. Which percentile is best depends on the texts: in short ones a few large values are noise that
    coarsens all the rest, in long ones they are the special tokens, without which nothing is right. So each is tried.

    Args:
        float_path: graph written by `export_float`.
        int8_path: where the int8 graph goes.
        calibration_token_ids: token ids of training texts, without padding, each at most as long as the model reads.
        percentiles: shares of the values, in percent, that the ranges may have to cover; the rest saturates.

    Returns:
        The percentile whose logits lie nearest to the float graph's on the calibration texts.

    Raises:
        BundleError: the runtime would still compute one of the linear layers in float.
    """
    batches = list(_equal_length_batches(calibration_token_ids))
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(float_path), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(str(prepared))
        equalise(graph, channel_maxima(graph, batches))
        _declare_activations(graph)
        onnx.save(graph, str(prepared))
        calibrator = LinearInputCalibrater(
            prepared, augmented_model_path=str(Path(folder) / "augmented.onnx"), num_bins=_HISTOGRAM_BINS
        )
        calibrator.augment_graph()
        calibrator.create_inference_session()
        with contextlib.redirect_stdout(io.StringIO()):  # the calibrator prints a line for every batch
            for batch in batches:
                calibrator.collect_data(OneBatch(batch))
            ranges = {percentile: calibrator.ranges(percentile) for percentile in percentiles}
    expected = _logits(float_path.read_bytes(), batches)
    best: tuple[float, float] | None = None
    for percentile in percentiles:
        content = _with_ranges(graph, ranges[percentile]).SerializeToString()
        error = float(np.sqrt(((_logits(content, batches) - expected) ** 2).mean()))
        logger.info("ranges at the %gth percentile: logits %.4f off on the calibration texts", percentile, error)
        if best is None or error < best[0]:
            best = (error, percentile)
            int8_path.write_bytes(content)
    assert best is not None
    n_products = check_int8_products(int8_path, float_path)
    logger.info("int8 graph: %.1f MB, %d integer products", int8_path.stat().st_size / 1e6, n_products)
    return best[1]


def _with_ranges(graph: onnx.ModelProto, ranges: Any) -> onnx.ModelProto:
    """The int8 graph with these activation ranges; `graph` stays as it is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in graph.graph.node if _is_product_of_activations(node, graph)],
        op_types_to_quantize=QUANTIZED_OPERATORS,
        extra_options={"WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": QUANTIZED_OPERATORS},
    )
    quantizer.quantize_model()
    model: onnx.ModelProto = quantizer.model.model
    fuse_integer_products(model)
    used = [entry for entry in model.opset_import if (entry.domain or "ai.onnx") in OPSETS]
    del model.opset_import[:]  # the quantizer names every set there is
    model.opset_import.extend(used)
    return model


def _logits(model: bytes, batches: list[np.ndarray]) -> np.ndarray:
    session = new_session(model)
    return np.concatenate([session.run(["logits"], {"input_ids": ids})[0] for ids in batches])


class LinearInputCalibrater(PercentileCalibrater):  # type: ignore[misc]
    """Observes what goes into the linear layers and nothing else.

    The calibrater it is made from keeps the scores of attention too, which no range is needed for: for texts of 512
    tokens they are most of the memory.
    """

    def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set[str], dict[str, Any]]:
        """Names of the tensors to observe, and the declarations of all."""
        _, declared = super().select_tensors_to_calibrate(model)
        return set(_linear_inputs(model)), declared

    def ranges(self, percentile: float) -> Any:
        """The ranges that cover this share, in percent, of what was observed."""
        self.collector.percentile = percentile
        return self.compute_data()


class OneBatch(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one batch of texts of equal length: padding would widen the ranges with values nobody reads."""

    def __init__(self, token_ids: np.ndarray) -> None:
        self._batches = iter([{"input_ids": token_ids}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The batch once, then None."""
        return next(self._batches, None)


def _declare_activations(graph: onnx.ModelProto) -> None:
    """Declares the inputs of the linear layers as float.

    The shape inference knows no fused node; an activation behind one would have no type, and the quantizer leaves
    what has no type in float without a word.
    """
    declared = {value.name for value in graph.graph.value_info}
    for name in sorted(_linear_inputs(graph) - declared):
        graph.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))


def _linear_inputs(graph: onnx.ModelProto) -> set[str]:
    weights = {initializer.name for initializer in graph.graph.initializer}
    return {
        name
        for node in graph.graph.node
        if node.op_type == "MatMul" and not _is_product_of_activations(node, graph)
        for name in node.input
        if name not in weights
    }


def _is_product_of_activations(node: onnx.NodeProto, graph: onnx.ModelProto) -> bool:
    """True for a node that is one of attention's own products, where int8 costs accuracy and saves no time."""
    weights = {initializer.name for initializer in graph.graph.initializer}
    return node.op_type == "MatMul" and not weights.intersection(node.input)


def _equal_length_batches(token_ids: list[list[int]]) -> Iterator[np.ndarray]:
    by_length: dict[int, list[list[int]]] = {}
    for ids in token_ids:
        by_length.setdefault(len(ids), []).append(ids)
    for length, rows in sorted(by_length.items()):
        at_most = max(1, min(32, _CALIBRATION_BATCH_TOKENS // length))
        for start in range(0, len(rows), at_most):
            yield np.asarray(rows[start : start + at_most], dtype=np.int64)
