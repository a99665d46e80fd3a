"""Exports the fine-tuned network to float32 ONNX with optimum."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import export
from optimum.exporters.onnx.model_configs import BertOnnxConfig

from models.bundle import OPSETS
from models.machine import new_session
from models.training.network import MeanPooledClassifier, longest_text
from schemas.errors import BundleError

logger = logging.getLogger(__name__)

_EXPORT_TOLERANCE = 1e-3  # in logits; other rounding of float32 moves them by 1e-5


class MeanPooledClassifierOnnxConfig(BertOnnxConfig):  # type: ignore[misc]
    """Inputs and outputs of MeanPooledClassifier, with their dynamic axes.

    Texts are single, so there are no token types; those of a batch are equally long, so there is no mask.
    """

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        return {"input_ids": {0: "batch", 1: "sequence"}}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
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
        logger.warning(
            "attention was fused in %d of %d layers: the answers are right, but slower than they could be",
            *(n_fused, network.config.num_hidden_layers),
        )
    _check_export(network, path)


def _unmask_attention(graph: onnx.GraphProto) -> None:
    """Removes the mask, which hides nothing in texts of equal length, from the attention nodes.

    The exporter writes one all the same, and the runtime's faster attention takes none.
    """
    for node in graph.node:
        if node.op_type == "MultiHeadAttention":
            del node.input[4:]  # queries, keys, values and bias stay; Docyard's networks have no input behind the mask


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Drops the exporter's remarks that constants are constant, and on every node it fuses."""
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
    for n_tokens in (2, 17, longest_text(network.config)):
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
