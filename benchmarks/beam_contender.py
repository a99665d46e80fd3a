"""Beam's RunInference with its ONNX handler, which needs its parts picklable and so in a module of their own."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import onnxruntime
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.ml.inference.onnx_inference import OnnxModelHandlerNumpy
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tokenizers import Tokenizer


@functools.cache
def _padding_tokenizer(path: str, max_tokens: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(path)
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding()
    return tokenizer


class PaddingHandler(OnnxModelHandlerNumpy):  # type: ignore[misc]
    """The stock handler, given texts: tokenizes and pads each batch, and opens its session for `cores` cores.

    It cannot be given session options, which do not travel to workers, nor a graph of two inputs; overriding these two
    methods is what its documentation leaves for that.
    """

    def __init__(self, model: str, tokenizer: str, max_tokens: int, cores: int, batch: int) -> None:
        super().__init__(model, min_batch_size=batch, max_batch_size=batch)
        self._model, self._tokenizer, self._max_tokens, self._cores = model, tokenizer, max_tokens, cores

    def load_model(self) -> onnxruntime.InferenceSession:
        """A session; the handler keeps the tokenizer itself."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._cores
        return onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])

    def run_inference(self, batch: Sequence[str], model: Any, inference_args: Any = None) -> Iterator[PredictionResult]:
        """The label id of each text."""
        del inference_args
        encodings = _padding_tokenizer(self._tokenizer, self._max_tokens).encode_batch(list(batch))
        inputs = {
            "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        }
        for text, label_id in zip(batch, model.run(["logits"], inputs)[0].argmax(axis=1).tolist(), strict=True):
            yield PredictionResult(text, label_id)

    def get_num_bytes(self, batch: Sequence[str]) -> int:
        """Of the texts."""
        return sum(len(text) for text in batch)


def label_ids(handler: PaddingHandler, texts: Sequence[str]) -> list[int]:
    """Runs a whole pipeline over the texts, which writes a text file."""
    with tempfile.TemporaryDirectory() as folder:
        with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
            (
                pipeline
                | beam.Create(list(enumerate(texts)))
                | RunInference(KeyedModelHandler(handler))
                | beam.MapTuple(lambda row, found: f"{row} {found.inference}")
                | beam.io.WriteToText(f"{folder}/labels", shard_name_template="")
            )
        lines = (line.split() for line in Path(folder, "labels").read_text().splitlines())
        return [label_id for _, label_id in sorted((int(row), int(label_id)) for row, label_id in lines)]
