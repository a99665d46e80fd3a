"""The contenders, and their turns: each opens a network the way its own documentation advises, and then labels texts.

All have the same texts, the same cores, and the same network (its int8 bundle, its PyTorch checkpoint or a float ONNX
export of it), but for the linear model, which shows what words without context do. All cut a text at the same length.
Each imports what it needs only when it is opened.
"""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import OPSETS
from models.tokens import plan_batches
from schemas.errors import RunFailedError

logger = logging.getLogger(__name__)
Labeller = Callable[[Sequence[str]], list[str]]
_LIMIT_S = 1800.0  # of one contender's turn
BATCH = 32  # texts in a padded batch
ONE_CORE = ", one core"  # ends the name of who has one core where the others have several
_NEEDED_CRITERION = {
    "docyard, first tier by equal average": "equal_average",
    "docyard, first tier by near average": "near_average",
}


@dataclass(frozen=True)
class Job:
    """A contender's input.

    Attributes:
        bundle: folder of the bundle.
        network: folder of the PyTorch checkpoint of the full float network.
        graphs: folder with what `export_graphs` wrote.
        labels: the network's labels in its order.
        max_tokens: length at which a text is cut.
        cores: number of cores it runs on.
        train: training rows for the linear model, "" without.
        criteria: those by which the bundle's first tier may answer; none without a first tier.
    """

    bundle: str
    network: str
    graphs: str
    labels: tuple[str, ...]
    max_tokens: int
    cores: int
    train: str = ""
    criteria: tuple[str, ...] = ()

    def has(self, contender: str) -> bool:
        """True where the contender has what it needs."""
        if contender.startswith("scikit-learn"):
            return bool(self.train)
        return _NEEDED_CRITERION.get(contender, "strict") in (*self.criteria, "strict")


def docyard(job: Job, *, first_tier: str = "strict") -> Labeller:
    """The bundle as a run classifies with it."""
    from models.bundle import load_bundle
    from models.classifier import Classifier

    classifier = Classifier(load_bundle(Path(job.bundle)), threads=job.cores, first_tier=first_tier)
    return lambda texts: [job.labels[label_id] for label_id in classifier.classify(texts).label_ids.tolist()]


def transformers_pipeline(job: Job, *, by_length: bool = False, bf16: bool = False) -> Labeller:
    """The transformers pipeline on the checkpoint, in batches."""
    import torch
    from transformers import PreTrainedTokenizerFast, pipeline

    from models.training.network import load_network

    torch.set_num_threads(job.cores)
    network = load_network(Path(job.network), torch.bfloat16 if bf16 else torch.float32)
    network.config.id2label = dict(enumerate(job.labels))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{job.network}/tokenizer.json", pad_token="[PAD]")
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    classify = pipeline("text-classification", model=network, tokenizer=tokenizer, device="cpu", batch_size=BATCH)
    options = {"truncation": True, "max_length": job.max_tokens}

    def label(texts: Sequence[str]) -> list[str]:
        return [answer["label"] for answer in classify(list(texts), **options)]

    return _longest_first(label) if by_length else label


def optimum_pipeline(job: Job) -> Labeller:
    """The same pipeline on ONNX Runtime, through optimum."""
    from onnxruntime import SessionOptions
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from optimum.onnxruntime import pipeline as ort_pipeline
    from transformers import PreTrainedTokenizerFast

    options = SessionOptions()
    options.intra_op_num_threads = job.cores
    model = ORTModelForSequenceClassification.from_pretrained(
        job.graphs, file_name="masked.onnx", session_options=options, provider="CPUExecutionProvider"
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{job.network}/tokenizer.json", pad_token="[PAD]")
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    model.config.id2label = dict(enumerate(job.labels))
    classify = ort_pipeline("text-classification", model=model, tokenizer=tokenizer, batch_size=BATCH)
    return lambda texts: [
        answer["label"] for answer in classify(list(texts), truncation=True, max_length=job.max_tokens)
    ]


def bucketed_onnx(job: Job) -> Labeller:
    """ONNX Runtime on the float graph, in groups of exactly equal length like Docyard's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.cores
    session = onnxruntime.InferenceSession(f"{job.graphs}/unmasked.onnx", options, providers=["CPUExecutionProvider"])
    return _by_exact_length(job, lambda ids: session.run(["logits"], {"input_ids": ids})[0])


def openvino(job: Job, *, precision: str) -> Labeller:
    """OpenVINO on the float graph, computing in `precision`, in groups of exactly equal length like Docyard's."""
    from openvino import Core

    model = Core().compile_model(
        f"{job.graphs}/plain.onnx",
        "CPU",
        {"INFERENCE_NUM_THREADS": job.cores, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision},
    )
    request = model.create_infer_request()
    return _by_exact_length(job, lambda ids: request.infer({"input_ids": ids})["logits"])


def beam_run_inference(job: Job) -> Labeller:
    """Beam's RunInference with its ONNX handler on the float graph; each time a pipeline of its own, start and end."""
    from benchmarks.beam_contender import PaddingHandler, label_ids

    tokenizer = f"{job.network}/tokenizer.json"
    handler = PaddingHandler(f"{job.graphs}/masked.onnx", tokenizer, job.max_tokens, job.cores, BATCH)
    return lambda texts: [job.labels[label_id] for label_id in label_ids(handler, texts)]


def linear_model(job: Job) -> Labeller:
    """scikit-learn: TF-IDF of words and pairs of words, and a linear support vector machine."""
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    rows = pd.read_parquet(job.train)
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC())
    model.fit(rows["text"], rows["label"])
    return lambda texts: [str(label) for label in model.predict(list(texts))]


def _longest_first(label: Labeller) -> Labeller:
    """Sorts the texts by length in characters, so that a batch is padded little."""

    def sorted_label(texts: Sequence[str]) -> list[str]:
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        answers = dict(zip(order, label([texts[row] for row in order]), strict=True))
        return [answers[row] for row in range(len(texts))]

    return sorted_label


def _by_exact_length(job: Job, logits_of: Callable[[np.ndarray], np.ndarray]) -> Labeller:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{job.network}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(job.max_tokens)

    def label(texts: Sequence[str]) -> list[str]:
        token_ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
        answers = [""] * len(texts)
        for rows in plan_batches(np.array([len(ids) for ids in token_ids]), 1024):
            logits = logits_of(np.array([token_ids[row] for row in rows], dtype=np.int64))
            for row, label_id in zip(rows.tolist(), logits.argmax(axis=1).tolist(), strict=True):
                answers[row] = job.labels[label_id]
        return answers

    return label


CONTENDERS: dict[str, Callable[[Job], Labeller]] = {
    "docyard": docyard,
    **{name: functools.partial(docyard, first_tier=criterion) for name, criterion in _NEEDED_CRITERION.items()},
    "docyard, encoder alone": lambda job: docyard(job, first_tier="off"),
    "transformers pipeline, fp32": transformers_pipeline,
    "transformers pipeline, fp32, by length": lambda job: transformers_pipeline(job, by_length=True),
    "transformers pipeline, bf16": lambda job: transformers_pipeline(job, bf16=True),
    "transformers pipeline, bf16, by length": lambda job: transformers_pipeline(job, by_length=True, bf16=True),
    "optimum ONNX Runtime pipeline, fp32": optimum_pipeline,
    "ONNX Runtime, fp32, exact length": bucketed_onnx,
    "OpenVINO, bf16, exact length": lambda job: openvino(job, precision="bf16"),
    "Beam RunInference, ONNX, fp32": beam_run_inference,
    "scikit-learn TF-IDF + linear SVM": linear_model,
}
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True)
class Measured:
    """The result of one contender.

    Attributes:
        seconds: of each round, text in to label out.
        labels: its answers, the same in every round.
        memory_bytes: of its process after the last round.
    """

    seconds: tuple[float, ...]
    labels: tuple[str, ...]
    memory_bytes: int


def run_rounds(jobs: Mapping[str, Job], texts: Sequence[str], rounds: int, cores: Sequence[int]) -> dict[str, Measured]:
    """Lets every contender label the texts once unmeasured and then `rounds` times, in turns.

    Args:
        jobs: by contender; one whose name ends in ONE_CORE is that contender on one core.
        texts: (n,).
        rounds: number of rounds.
        cores: the processor's cores to run on, of which each job gets as many of the last ones as it names.

    Raises:
        RunFailedError: a contender fails, or does not answer the same in every round.
    """
    context = multiprocessing.get_context("spawn")
    workers: dict[str, tuple[Any, Connection]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    labels: dict[str, tuple[str, ...]] = {}
    memory: dict[str, int] = {}
    try:
        for name, job in jobs.items():
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(name, job, tuple(texts), cores[-job.cores :], theirs), daemon=True
            )
            process.start()
            workers[name] = process, ours
            labels[name] = _answer(name, process, ours)[1]
        for number in range(rounds):
            for name, (process, ours) in workers.items():
                ours.send("run")
                elapsed, found, memory[name] = _answer(name, process, ours)
                seconds[name].append(elapsed)
                if found != labels[name]:
                    n = sum(a != b for a, b in zip(found, labels[name], strict=True))
                    raise RunFailedError(f"{name}: {n} of {len(texts)} answers differ from one round to the next")
                logger.info("round %d of %d, %s: %.0f texts/s", number + 1, rounds, name, len(texts) / elapsed)
    finally:
        for process, _ in workers.values():
            process.kill()
    return {name: Measured(tuple(seconds[name]), labels[name], memory[name]) for name in jobs}


def _answer(name: str, process: Any, pipe: Connection) -> tuple[float, tuple[str, ...], int]:
    deadline = time.monotonic() + _LIMIT_S
    while not pipe.poll(0.05):
        if not process.is_alive() or time.monotonic() > deadline:
            raise RunFailedError(f"{name}: gave no answer; see its messages above")
    answer: tuple[float, tuple[str, ...], int] = pipe.recv()
    return answer


def _work(name: str, job: Job, texts: tuple[str, ...], cores: Sequence[int], pipe: Connection) -> None:
    """In the contender's process: opens it, runs it once, and then whenever told to."""
    import psutil

    os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(len(cores))
    label = CONTENDERS[name.removesuffix(ONE_CORE)](job)
    while True:
        started = time.perf_counter()
        labels = tuple(label(texts))
        elapsed = time.perf_counter() - started
        pipe.send((elapsed, labels, psutil.Process().memory_info().rss))
        pipe.recv()


def export_graphs(network_folder: Path, folder: Path) -> None:
    """Writes `masked.onnx` (for padded batches), `plain.onnx` (without mask) and `unmasked.onnx` (the same, with its
    attention fused), all float32, and the configuration optimum looks for; nothing where they are.
    """
    done = folder / "done"
    if done.is_file():
        return
    from optimum.exporters.onnx import export

    from models.training.export import MeanPooledClassifierOnnxConfig, export_float
    from models.training.network import TrainedNetwork

    class Masked(MeanPooledClassifierOnnxConfig):
        """With a mask, for those who pad."""

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}

    folder.mkdir(parents=True, exist_ok=True)
    network = TrainedNetwork.load(network_folder).network
    for name, config in (("masked", Masked), ("plain", MeanPooledClassifierOnnxConfig)):
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
