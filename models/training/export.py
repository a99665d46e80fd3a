"""Exports the fine-tuned network to ONNX with optimum and quantizes it statically to int8.

What is quantized was chosen by measurement (docs/decisions/0004): every linear layer of the encoder and the
embeddings. Attention's own products and the head stay float, and no layer's output is quantized twice: the runtime
then fuses each linear layer into one integer product with a float result.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process
from optimum.exporters.onnx import export
from optimum.exporters.onnx.model_configs import BertOnnxConfig

from models.training.network import MeanPooledClassifier

logger = logging.getLogger(__name__)

OPSET = 17
QUANTIZED_OPERATORS = ["MatMul", "Gemm", "Gather"]


class MeanPooledClassifierOnnxConfig(BertOnnxConfig):  # type: ignore[misc]
    """Tells optimum the inputs and outputs of MeanPooledClassifier; texts are single, so no token types."""

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Input names with their dynamic axes."""
        return {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Output names with their dynamic axes."""
        return {"logits": {0: "batch"}, "embedding": {0: "batch"}}


def export_float(network: MeanPooledClassifier, path: Path) -> None:
    """Writes the network as a float32 ONNX graph, not yet fused: the quantizer has to see plain MatMuls."""
    config = MeanPooledClassifierOnnxConfig(network.config, task="text-classification")
    export(network, config, path, opset=OPSET)


class OneBatch(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one batch of texts of equal length: padding would widen the ranges with values nobody reads."""

    def __init__(self, token_ids: np.ndarray) -> None:
        self._batches = iter([{"input_ids": token_ids, "attention_mask": np.ones_like(token_ids)}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The batch once, then None."""
        return next(self._batches, None)


def quantize(float_path: Path, int8_path: Path, calibration_token_ids: list[list[int]], percentile: float) -> None:
    """Quantizes statically: QDQ, signed int8 weights per output channel, unsigned activations, embeddings too.

    Activation ranges are fixed here, from `percentile` of the calibration texts' values, so that an answer never
    depends on the texts it shares a batch with.

    Args:
        float_path: graph written by `export_float`.
        int8_path: where the int8 graph goes.
        calibration_token_ids: token ids of training texts, without padding.
        percentile: share of the values, in percent, that the ranges must cover; the rest saturates.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(float_path), str(prepared), skip_symbolic_shape=True)
        calibrator = create_calibrator(
            prepared,
            op_types_to_calibrate=QUANTIZED_OPERATORS,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": percentile, "symmetric": False, "num_bins": 2048},
        )
        with contextlib.redirect_stdout(io.StringIO()):  # the calibrator prints a line for every batch
            for batch in _equal_length_batches(calibration_token_ids, batch_documents=32):
                calibrator.collect_data(OneBatch(batch))
            ranges = calibrator.compute_data()
        graph = onnx.load(str(prepared))
        quantizer = QDQQuantizer(
            graph,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=_kept_in_float(graph),
            op_types_to_quantize=QUANTIZED_OPERATORS,
            extra_options={"WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": QUANTIZED_OPERATORS},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(int8_path), False)
    logger.info("int8 graph: %.1f MB", int8_path.stat().st_size / 1e6)


def _kept_in_float(graph: onnx.ModelProto) -> list[str]:
    """Names of the head and of the products of two activations, where int8 costs accuracy and saves no time."""
    weights = {initializer.name for initializer in graph.graph.initializer}
    return [
        node.name
        for node in graph.graph.node
        if node.op_type == "Gemm" or (node.op_type == "MatMul" and not weights.intersection(node.input))
    ]


def _equal_length_batches(token_ids: list[list[int]], batch_documents: int) -> Iterator[np.ndarray]:
    by_length: dict[int, list[list[int]]] = {}
    for ids in token_ids:
        by_length.setdefault(len(ids), []).append(ids)
    for _, rows in sorted(by_length.items()):
        for start in range(0, len(rows), batch_documents):
            yield np.asarray(rows[start : start + batch_documents], dtype=np.int64)
