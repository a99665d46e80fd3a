"""This machine: its cores and processor, the exactness of its int8 products, and ONNX Runtime sessions made for it.

x86 processors without VNNI add pairs of 8-bit products in 16 bits, where large ones saturate: a network quantized to
the full range then answers otherwise. The probe is the graph int8_probe.onnx, made by `probe_graph` of
models/training/fingerprint.py: a product as ONNX has it (MatMulInteger), and one written as in a bundle, which ONNX
Runtime turns into the operator that bundles run on.
"""

from __future__ import annotations

import functools
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from schemas.errors import BundleError

PROBE = Path(__file__).with_name("int8_probe.onnx")
WIDTH, COLUMNS = 384, 16
INPUTS = ("input_ids",)
OUTPUTS = ("logits", "embedding")
SLOW_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]  # slower than the two kernels they replace
_EXACT_PRODUCTS = "session.x64quantprecision"  # products of two unsigned numbers: slower, and never saturated
_LOG_ERRORS = 3
_LOG_FATAL_ERRORS = 4  # of a run: a failure reaches the caller as an exception, which is enough

# What to call it -> the flags of /proc/cpuinfo, any of which means it.
_X86 = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AMX int8": ("amx_int8",),
    "AMX bf16": ("amx_bf16",),
    "bf16": ("avx512_bf16",),
}
_ARM = {"dot product": ("asimddp",), "i8mm": ("i8mm",), "bf16": ("bf16",)}


@dataclass(frozen=True)
class Machine:
    """The means that a process here may use.

    Attributes:
        processor: the model's name; "unknown" where the system does not tell.
        architecture: such as x86_64 or aarch64.
        cores: that this process may run on.
        memory_bytes: of the machine, or of the container if that is less; None if unknown.
        features: instructions that matter for int8 -> True where they are there; None if unknown.
    """

    processor: str
    architecture: str
    cores: int
    memory_bytes: int | None
    features: dict[str, bool] | None


def this_machine() -> Machine:
    """Looks at the machine; what the system does not tell is unknown, never guessed."""
    architecture = platform.machine()
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    processor, features = parse_cpuinfo(cpuinfo, architecture)
    return Machine(
        processor=processor or platform.processor() or "unknown",
        architecture=architecture or "unknown",
        cores=usable_cores(),
        memory_bytes=_memory_bytes(),
        features=features,
    )


def parse_cpuinfo(content: str, architecture: str) -> tuple[str, dict[str, bool] | None]:
    """The processor's name ("" if not told) and its features (None if not told), of Linux's /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in content.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    known = _ARM if architecture.lower() in ("aarch64", "arm64") else _X86
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    features = {name: not flags.isdisjoint(any_of) for name, any_of in known.items()} if flags else None
    return facts.get("model name", ""), features


def usable_cores() -> int:
    """The number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdigit() else memory


@dataclass(frozen=True)
class Int8Probe:
    """The probe's findings.

    Attributes:
        integer_exact: True where the plain integer product is exact.
        bundle_exact: True where the product that bundles run on is exact.
        largest_error: of both, in units of the integer result, which goes up to 12,435,840.
    """

    integer_exact: bool
    bundle_exact: bool
    largest_error: float

    @property
    def saturates(self) -> bool:
        """True where int8 arithmetic here differs from the exact one."""
        return not (self.integer_exact and self.bundle_exact)


def compare_products(session: ort.InferenceSession) -> Int8Probe:
    """Runs the probe's graph on one row and on many, which take different ways through the runtime."""
    errors = []
    for rows in (1, 2, 64):
        activations = probe_activations(rows)
        integer, as_in_bundle = session.run(
            ["integer_product", "bundle_product"], {"activations": activations.astype(np.float32)}
        )
        expected = activations @ probe_weights()
        errors.append([np.abs(found.astype(np.float64) - expected).max() for found in (integer, as_in_bundle)])
    integer_error, bundle_error = np.max(errors, axis=0)
    return Int8Probe(bool(integer_error == 0), bool(bundle_error == 0), float(max(integer_error, bundle_error)))


def probe_activations(rows: int) -> npt.NDArray[np.int64]:
    """(rows, WIDTH) in 0 to 255: the first row all 255, the others a mixture of extremes and halves."""
    row, place = np.ogrid[:rows, :WIDTH]
    activations: npt.NDArray[np.int64] = np.array([255, 0, 254, 128, 255, 1, 127], dtype=np.int64)[
        (5 * row + place + row * place) % 7
    ]
    activations[0] = 255
    return activations


def probe_weights() -> npt.NDArray[np.int64]:
    """(WIDTH, COLUMNS) in -127 to 127: all highest, all lowest, both in turn, in pairs, then mixtures of extremes.

    The graph holds them too. They are made by arithmetic only, so that no other version of numpy makes others.
    """
    place, column = np.ogrid[:WIDTH, :COLUMNS]
    weights: npt.NDArray[np.int64] = np.array([127, -127, 126, 0, -126, 1, 127], dtype=np.int64)[
        (3 * column + place + column * place) % 7
    ]
    turn = np.arange(WIDTH)
    weights[:, 0], weights[:, 1] = 127, -127
    weights[:, 2], weights[:, 3] = np.where(turn % 2, 127, -127), np.where(turn // 2 % 2, 127, -127)
    return weights


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
    model: bytes | Path, optimized: Path | None = None, profile: Path | None = None, exact_option: bool | None = None
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
