"""Opens ONNX graphs in ONNX Runtime, all with the same settings, and checks that a bundle's is one Docyard can run."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.int8_probe import PROBE, Int8Probe, compare_products
from schemas.errors import BundleError

INPUTS = ("input_ids",)
OUTPUTS = ("logits", "embedding")
SLOW_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]  # slower than the two kernels they replace
_EXACT_PRODUCTS = "session.x64quantprecision"  # products of two unsigned numbers: slower, and never saturated
_LOG_ERRORS = 3
_LOG_FATAL_ERRORS = 4  # of a run: a failure reaches the caller as an exception, which is enough


def open_session(model: bytes, n_labels: int, where: str) -> ort.InferenceSession:
    """Opens a graph for one thread a call; several threads may call the session at once.

    Args:
        model: content of `model.onnx`.
        n_labels: number of the bundle's labels.
        where: names the file in errors.

    Raises:
        BundleError: ONNX Runtime cannot load it, or its inputs and outputs are not a classifier's.
    """
    try:
        session = new_session(model)
    except Exception as error:  # ONNX Runtime's own errors share no narrower base
        raise BundleError(
            f"{where}: ONNX Runtime {ort.__version__} cannot load it: {_first_line(error)}; install the "
            "version the bundle was built with, or build the bundle again"
        ) from None
    _check_graph(session, n_labels, where)
    return session


@dataclass(frozen=True)
class Int8Products:
    """Results of int8 products on this machine.

    Attributes:
        plain: the probe's findings with ONNX Runtime's fastest products.
        exact_option: True where sessions here are opened with ONNX Runtime's option for exact products.
        used: the probe's findings with the products that sessions here compute.
    """

    plain: Int8Probe
    exact_option: bool
    used: Int8Probe


@functools.cache
def int8_products() -> Int8Products:
    """Probes this machine, once per process: its fastest products where they are exact, the exact ones elsewhere.

    If neither are exact, the fastest are used, and a bundle's fingerprint shows the effect on it.
    """
    plain = _probe(exact_option=False)
    if plain.saturates:
        exact = _probe(exact_option=True)
        if exact.bundle_exact:
            return Int8Products(plain, True, exact)
    return Int8Products(plain, False, plain)


def new_session(
    model: bytes | Path,
    optimized: Path | None = None,
    profile: Path | None = None,
    exact_option: bool | None = None,
) -> ort.InferenceSession:
    """Opens any graph with the settings every run uses; ONNX Runtime's own errors pass through.

    Args:
        model: content of an ONNX file, or its path.
        optimized: path to write the graph to as it will run, for looking at it.
        profile: beginning of the file's name to which `end_profiling` of the session writes each operator's time.
        exact_option: for ONNX Runtime's exact int8 products or against them; None for what this machine needs.
    """
    options = _session_options(int8_products().exact_option if exact_option is None else exact_option)
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return ort.InferenceSession(
        str(model) if isinstance(model, Path) else model,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=SLOW_FUSIONS,
    )


def _probe(exact_option: bool) -> Int8Probe:
    return compare_products(new_session(PROBE, exact_option=exact_option))


def _session_options(exact_option: bool) -> ort.SessionOptions:
    """One thread a call, every optimization, only errors in the log."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_ERRORS
    if exact_option:
        options.add_session_config_entry(_EXACT_PRODUCTS, "1")
    return options


def run_session(
    session: ort.InferenceSession, input_ids: npt.NDArray[np.int64], outputs: list[str]
) -> list[npt.NDArray[np.float32]]:
    """Runs a batch of texts of equal length.

    A batch of one may be summed in another order than a larger one (it is, by the reduction that makes the mean over
    tokens), and then differs in its last bits. A lone text therefore runs twice over, so that its answer does not
    depend on whether it had company. From two texts on, size changes nothing.

    Args:
        session: from `open_session`.
        input_ids: (n_documents, n_tokens) int64 without padding.
        outputs: names among OUTPUTS.

    Returns:
        One array (n_documents, width) float32 per name.
    """
    n_documents = len(input_ids)
    if n_documents == 1:
        input_ids = np.repeat(input_ids, 2, axis=0)
    options = ort.RunOptions()
    options.log_severity_level = _LOG_FATAL_ERRORS
    arrays = session.run(outputs, {"input_ids": input_ids}, options)
    return [array[:n_documents] for array in arrays]


def _check_graph(session: ort.InferenceSession, n_labels: int, where: str) -> None:
    inputs = {node.name: node for node in session.get_inputs()}
    if set(inputs) != set(INPUTS):
        raise BundleError(f"{where}: expected the inputs {', '.join(INPUTS)}, found {_names(inputs)}; export it again")
    for name, node in inputs.items():
        if node.type != "tensor(int64)" or len(node.shape) != 2 or any(isinstance(size, int) for size in node.shape):
            raise BundleError(
                f"{where}: input {name!r} must be int64 (batch, sequence), both sizes free, found {node.type} "
                f"{node.shape}; export it again"
            )
    outputs = {node.name: node for node in session.get_outputs()}
    if set(outputs) != set(OUTPUTS):
        raise BundleError(f"{where}: expected outputs {', '.join(OUTPUTS)}, found {_names(outputs)}; export it again")
    for name, node in outputs.items():
        if node.type != "tensor(float)" or len(node.shape) != 2:
            raise BundleError(f"{where}: output {name!r} must be float of two axes, found {node.type} {node.shape}")
    check_label_count(outputs["logits"].shape[1], n_labels, where)


def check_label_count(width: Any, n_labels: int, where: str) -> None:
    """Refuses logits of another width than there are labels; a symbolic width passes.

    Raises:
        BundleError: the numbers differ.
    """
    if isinstance(width, int) and width != n_labels:
        raise BundleError(
            f"{where}: its logits have {width} columns, labels.json has {n_labels} labels; they do not belong together"
        )


def _names(nodes: dict[str, Any]) -> str:
    return ", ".join(sorted(nodes)) or "none"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
