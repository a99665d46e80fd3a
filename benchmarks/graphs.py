"""Exports the float graphs that contenders run, once, through optimum."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from models.bundle import OPSETS
from models.training.export import MeanPooledClassifierOnnxConfig, export_float
from models.training.network import TrainedNetwork


class _Masked(MeanPooledClassifierOnnxConfig):
    """With a mask, for those who pad."""

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        return {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}


def export_graphs(network_folder: Path, folder: Path) -> None:
    """Writes `masked.onnx` (for padded batches), `plain.onnx` (without mask) and `unmasked.onnx` (the same, with its
    attention fused), all float32, and the configuration optimum looks for; nothing where they are.
    """
    done = folder / "done"
    if done.is_file():
        return
    from optimum.exporters.onnx import export

    folder.mkdir(parents=True, exist_ok=True)
    network = TrainedNetwork.load(network_folder).network
    for name, config in (("masked", _Masked), ("plain", MeanPooledClassifierOnnxConfig)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export(
                network,
                config(network.config, task="text-classification"),
                folder / f"{name}.onnx",
                opset=OPSETS["ai.onnx"],
            )
    export_float(network, folder / "unmasked.onnx")
    (folder / "config.json").write_text(json.dumps(network.config.to_dict(), default=str))
    done.write_text("")
