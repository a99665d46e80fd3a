"""bundle.json: what belongs to a ModelBundle, with the size and hash of every file."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from schemas.codes import SPLITS
from schemas.errors import BundleError, ConfigError
from schemas.run_config import Split
from schemas.text_template import parse_text_template

FORMAT = 2
MANIFEST_NAME = "bundle.json"
BUNDLE_FILES = {
    MANIFEST_NAME: "Name, document type, size and SHA-256 of every other file, origin, fingerprint.",
    "model.onnx": "The int8 graph: `input_ids` in, `logits` and `embedding` out.",
    "tokenizer.json": "The tokenizer, with one special token before the text and one after it.",
    "labels.json": "The labels in the order of the model's outputs, each with the data sets of its training rows.",
    "policy.toml": "The thresholds above which an answer stands.",
    "first_tier.npz": "Optional: the first tier.",
    "calibration.json": "The temperature that makes confidences honest, and its origin.",
    "card.md": "For people: intended use, limits, measured accuracy, licences.",
}
REQUIRED_FILES = ("model.onnx", "tokenizer.json", "labels.json", "policy.toml", "calibration.json", "card.md")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_DOCUMENT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_BUILD_AGAIN = "restore it from where it was published, or build the bundle again"


@dataclass(frozen=True)
class FileRecord:
    """The required state of a file of the bundle: its hash in hexadecimal and its size."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class FingerprintRow:
    """A text with the answer the bundle gave where it was certified; every machine must give it again.

    Attributes:
        text: any text that is free to publish.
        label: the label it got.
        confidence: the calibrated confidence it got, in [0, 1].
    """

    text: str
    label: str
    confidence: float


@dataclass(frozen=True)
class ReadingRules:
    """Rules that make a document into the model's input; those the model was trained for.

    Attributes:
        template: makes a text of a record's fields; "" for the text field as it is.
        split: "none", or "paragraphs" where every paragraph is classified by itself.
        window_overlap: tokens that neighbouring windows of a text longer than `max_tokens` share; None where such a
            text is cut.
    """

    template: str = ""
    split: Split = "none"
    window_overlap: int | None = None


TEXT_AS_IT_IS = ReadingRules()


@dataclass(frozen=True)
class BundleManifest:
    """The content of bundle.json.

    Attributes:
        name: of the bundle; with the digest it is how classifications refer to it.
        created: ISO 8601 date.
        document_type: the kind of document it was trained on.
        max_tokens: number of tokens the model reads, special tokens included.
        files: file name -> what it must be.
        training: free facts about how it came about.
        fingerprint: answers that every machine must reproduce.
        reading: rules that make a document into the model's input.
    """

    name: str
    created: str
    document_type: str
    max_tokens: int
    files: Mapping[str, FileRecord]
    training: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: tuple[FingerprintRow, ...] = ()
    reading: ReadingRules = TEXT_AS_IT_IS

    def to_bytes(self) -> bytes:
        """bundle.json as written: the same content always gives the same bytes."""
        values = {"format": FORMAT} | asdict(self)
        if not self.fingerprint:
            del values["fingerprint"]
        if self.reading == TEXT_AS_IT_IS:
            del values["reading"]
        return (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_json(content: bytes, where: str) -> Any:
    """Reads strict JSON: UTF-8, no key twice in one object, no NaN.

    Raises:
        BundleError: the content is anything else.
    """
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not readable as JSON: {error}; {_BUILD_AGAIN}") from None


def checked_keys(value: Any, required: tuple[str, ...], optional: tuple[str, ...], where: str) -> dict[str, Any]:
    """Returns `value` when it is an object with the required keys and no other than the optional ones.

    Raises:
        BundleError: it is not.
    """
    if not isinstance(value, dict):
        raise BundleError(f"{where}: expected an object, found {_kind(value)}; {_BUILD_AGAIN}")
    for key in value:
        if key not in required + optional:
            raise BundleError(f"{where}: unknown key {key!r}; known keys: {', '.join(required + optional)}")
    for key in required:
        if key not in value:
            raise BundleError(f"{where}: key {key!r} is missing; {_BUILD_AGAIN}")
    return value


def checked_type(value: Any, kind: type, where: str) -> Any:
    """Returns `value` when its type is exactly `kind`; a whole number passes as a float.

    Raises:
        BundleError: it is not, or is a float that is not finite.
    """
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise BundleError(f"{where}: expected {kind.__name__}, found {_kind(value)}; {_BUILD_AGAIN}")
    return value


def parse_bundle_manifest(content: bytes, where: str) -> BundleManifest:
    """Reads the content of bundle.json.

    Raises:
        BundleError: it is no JSON of this format version, or a key is unknown, missing or of the wrong kind.
    """
    values = parse_json(content, where)
    found = checked_type(values, dict, where).get("format")
    if type(found) is not int or found != FORMAT:
        raise BundleError(
            f"{where}: expected bundle format {FORMAT}, found {found!r}; build the bundle with this Docyard, or "
            "install the version it was built with"
        )
    required = ("format", "name", "created", "document_type", "max_tokens", "files", "training")
    checked_keys(values, required, ("fingerprint", "reading"), where)
    for key, pattern in (("name", _NAME), ("document_type", _DOCUMENT_TYPE)):
        if not pattern.fullmatch(checked_type(values[key], str, f"{where}: {key!r}")):
            raise BundleError(f"{where}: {key!r} must match {pattern.pattern}, found {values[key]!r}")
    max_tokens = checked_type(values["max_tokens"], int, f"{where}: 'max_tokens'")
    if max_tokens < 3:
        raise BundleError(f"{where}: 'max_tokens' must be at least 3, two of them special, found {max_tokens}")
    return BundleManifest(
        name=values["name"],
        created=_date(values["created"], f"{where}: 'created'"),
        document_type=values["document_type"],
        max_tokens=max_tokens,
        files=_file_records(values["files"], where),
        training=checked_type(values["training"], dict, f"{where}: 'training'"),
        fingerprint=_fingerprint(values.get("fingerprint", []), f"{where}: 'fingerprint'"),
        reading=_reading(values.get("reading", {}), max_tokens, f"{where}: 'reading'"),
    )


def read_file(folder: Path, name: str, record: FileRecord) -> bytes:
    """Returns the bytes of a file of the bundle, which are what its record says.

    Raises:
        BundleError: the file is missing, empty, a Git LFS pointer, or has another size or hash.
    """
    path = folder / name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: listed in {MANIFEST_NAME}, but missing; {_BUILD_AGAIN}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; check its kind and its permissions") from None
    if content.startswith(_LFS_POINTER):
        raise BundleError(f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull`")
    if not content:
        raise BundleError(f"{path}: empty; {_BUILD_AGAIN}")
    if len(content) != record.bytes:
        raise BundleError(f"{path}: expected {record.bytes} bytes, found {len(content)}; {_BUILD_AGAIN}")
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise BundleError(f"{path}: changed: expected sha256 {record.sha256}, found {found}; {_BUILD_AGAIN}")
    return content


def check_no_extra_files(folder: Path, manifest: BundleManifest) -> None:
    """Refuses whatever lies in the folder without being listed; names that begin with a dot are left alone.

    Raises:
        BundleError: naming the first such entry.
    """
    for entry in sorted(folder.iterdir()):
        if entry.name != MANIFEST_NAME and entry.name not in manifest.files and not entry.name.startswith("."):
            raise BundleError(f"{entry}: not listed in {MANIFEST_NAME}; move it out of the bundle's folder")


def _file_records(value: Any, where: str) -> dict[str, FileRecord]:
    records = {}
    for name, record in checked_type(value, dict, f"{where}: 'files'").items():
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST_NAME:
            raise BundleError(
                f"{where}: {name!r} in 'files' is not allowed; expected names of files beside bundle.json"
            )
        here = f"{where}: {name!r} in 'files'"
        checked_keys(record, ("sha256", "bytes"), (), here)
        sha256 = checked_type(record["sha256"], str, f"{here}: 'sha256'")
        if not _SHA256.fullmatch(sha256):
            raise BundleError(f"{here}: 'sha256' must be 64 hexadecimal digits in lower case")
        records[name] = FileRecord(sha256, checked_type(record["bytes"], int, f"{here}: 'bytes'"))
    for name in REQUIRED_FILES:
        if name not in records:
            raise BundleError(f"{where}: 'files' does not list {name}, which every bundle has; build the bundle again")
    return records


def _fingerprint(value: Any, where: str) -> tuple[FingerprintRow, ...]:
    rows = []
    for index, row in enumerate(checked_type(value, list, where)):
        here = f"{where}[{index}]"
        checked_keys(row, ("text", "label", "confidence"), (), here)
        confidence = checked_type(row["confidence"], float, f"{here}: 'confidence'")
        if not 0.0 <= confidence <= 1.0:
            raise BundleError(f"{here}: 'confidence' must lie in 0 to 1, found {confidence}")
        text, label = (checked_type(row[key], str, f"{here}: {key!r}") for key in ("text", "label"))
        rows.append(FingerprintRow(text, label, confidence))
    return tuple(rows)


def _reading(value: Any, max_tokens: int, where: str) -> ReadingRules:
    checked_keys(value, (), ("template", "split", "window_overlap"), where)
    split = checked_type(value.get("split", "none"), str, f"{where}: 'split'")
    if split not in SPLITS:
        raise BundleError(f"{where}: 'split' must be one of {', '.join(SPLITS)}, found {split!r}")
    overlap = value.get("window_overlap")
    most = (max_tokens - 2) // 2  # a window takes at least as many new tokens as it repeats
    if overlap is not None and not 0 <= checked_type(overlap, int, f"{where}: 'window_overlap'") <= most:
        raise BundleError(
            f"{where}: 'window_overlap' must lie in 0 to {most}, half of what a window of {max_tokens} tokens holds, "
            f"found {overlap}"
        )
    template = checked_type(value.get("template", ""), str, f"{where}: 'template'")
    try:
        if template:
            parse_text_template(template)
    except ConfigError as error:
        raise BundleError(f"{where}: 'template': {error}") from None
    return ReadingRules(template, split, overlap)


def _date(value: Any, where: str) -> str:
    text: str = checked_type(value, str, where)
    try:
        valid = datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        valid = False
    if not valid:
        raise BundleError(f"{where}: expected a date as YYYY-MM-DD, found {text!r}")
    return text


def _kind(value: Any) -> str:
    return {"NoneType": "null", "dict": "an object", "list": "a list"}.get(type(value).__name__, type(value).__name__)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return values


def _no_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")
