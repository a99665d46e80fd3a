"""Runs the contenders in turns, each in a process of its own that waits while the others run."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import psutil

from benchmarks.contenders import CONTENDERS, Job
from schemas.errors import RunFailedError

logger = logging.getLogger(__name__)
_LIMIT_S = 1800.0  # of one contender's turn


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
        jobs: by contender.
        texts: (n,).
        rounds: number of rounds.
        cores: the processor's cores to run on, the same for all.

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
            process = context.Process(target=_work, args=(name, job, tuple(texts), tuple(cores), theirs), daemon=True)
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


def _work(name: str, job: Job, texts: tuple[str, ...], cores: tuple[int, ...], pipe: Connection) -> None:
    """In the contender's process: opens it, runs it once, and then whenever told to."""
    os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(len(cores))
    label = CONTENDERS[name](job)
    while True:
        started = time.perf_counter()
        labels = tuple(label(texts))
        elapsed = time.perf_counter() - started
        pipe.send((elapsed, labels, psutil.Process().memory_info().rss))
        pipe.recv()
