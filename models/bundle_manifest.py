"""bundle.json: what belongs to a ModelBundle, with the size and hash of every file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import AfterValidator

from schemas.configuration import DocumentType, IsoDate, Matching, Within, read_values, validated
from schemas.errors import BundleError
from schemas.run_config import Split, Template

FORMAT = 2
MANIFEST_NAME = "bundle.json"
BUNDLE_FILES = {
    MANIFEST_NAME: "Name, document type, size and SHA-256 of every other file, origin, fingerprint.",
    "model.onnx": "The int8 graph: `input_ids` in, `logits` and `embedding` out.",
    "tokenizer.json": "The tokenizer, with one special token before the text and one after it.",
    "labels.json": "The labels in the order of the model's outputs, each with the data sets of its training rows; the "
    "separator of their names, where they are a tree.",
    "policy.toml": "The thresholds above which an answer stands.",
    "first_tier.npz": "Optional: the first tier.",
    "words.npz": "Optional: the linear model of word pieces and pairs, whose scores are added to the encoder's.",
    "deferral.npz": "Optional: the model of the confidence, from all signals that tell right from wrong.",
    "guard.npz": "Optional: the model of the familiarity.",
    "calibration.json": "The temperature that makes confidences honest, its origin, and when further labels are given.",
    "certificate.json": "Optional: the proof of the policy, and the hashes of the files it holds for. Without it no "
    "answer is accepted.",
    "certificate.html": "Optional: the certificate for people.",
    "training_rows.npz": "Optional: hashes of the training rows, so that none of them can certify the bundle.",
    "card.md": "For people: intended use, limits, measured accuracy, licences.",
    "datasheet.md": "Optional, for people: the data by file, licence, split and label; what was found and left out.",
}
REQUIRED_FILES = ("model.onnx", "tokenizer.json", "labels.json", "policy.toml", "calibration.json", "card.md")

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_BUILD_AGAIN = "restore it from where it was published, or build the bundle again"
T = TypeVar("T")


def _no_path(name: str) -> str:
    if name == MANIFEST_NAME or not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", name):
        raise ValueError(f"expected names of files beside {MANIFEST_NAME}")
    return name


@validated(error=BundleError)
class FileRecord:
    """The required state of a file of the bundle."""

    sha256: Annotated[str, Matching("[0-9a-f]{64}", "64 hexadecimal digits in lower case")]
    """Hash of the file, in hexadecimal."""
    bytes: int
    """Size of the file."""


@validated(error=BundleError)
class FingerprintRow:
    """A text with the answer the bundle gave where it was certified; every machine must give it again."""

    text: str
    """Any text that is free to publish."""
    label: str
    """The label it got."""
    confidence: Annotated[float, Within("[0, 1]")]
    """The softmax probability of that label."""


@validated(error=BundleError)
class ReadingRules:
    """Rules that make a document into the model's input; those the model was trained for."""

    template: Template = ""
    """Makes a text of a record's fields; `""` for the text field as it is."""
    split: Split = "none"
    """`"paragraphs"`: every paragraph is classified by itself."""
    window_overlap: int | None = None
    """Tokens that neighbouring windows of a text longer than `max_tokens` share, at most half of `max_tokens` without
    its two special ones; without it such a text is cut."""


TEXT_AS_IT_IS = ReadingRules()


@validated(error=BundleError)
class BundleManifest:
    """The content of bundle.json."""

    name: Annotated[str, Matching("[a-z0-9][a-z0-9_.-]{0,62}", "lower-case letters, digits, _, . and -")]
    """Name of the bundle; with the digest it is how classifications refer to it."""
    created: IsoDate
    """Date of its making."""
    document_type: DocumentType
    """The kind of document it was trained on."""
    max_tokens: Annotated[int, Within("[3, inf)")]
    """Tokens the model reads at once, two of them special."""
    files: Mapping[Annotated[str, AfterValidator(_no_path)], FileRecord]
    """File name -> what it must be."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Free facts about its origin."""
    fingerprint: tuple[FingerprintRow, ...] = ()
    """Answers that every machine must reproduce."""
    reading: ReadingRules = TEXT_AS_IT_IS
    """Rules that make a document into the model's input."""

    def __post_init__(self) -> None:
        most = (self.max_tokens - 2) // 2  # a window takes at least as many new tokens as it repeats
        overlap = self.reading.window_overlap
        if overlap is not None and not 0 <= overlap <= most:
            raise ValueError(
                f".reading.window_overlap: expected 0 to {most}, half of what a window of {self.max_tokens} tokens "
                f"holds, found {overlap}"
            )

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


def read_json(kind: type[T], values: Any, where: str) -> T:
    """Makes an instance of a `validated` class of a file of the bundle.

    Raises:
        BundleError: a key is unknown or missing, or a value cannot be used.
    """
    return read_values(kind, values, where, BundleError, _BUILD_AGAIN)


def parse_bundle_manifest(content: bytes, where: str) -> BundleManifest:
    """Reads the content of bundle.json.

    Raises:
        BundleError: it is not JSON of this format version, or a key is unknown, missing or of the wrong kind.
    """
    values = parse_json(content, where)
    if not isinstance(values, dict):
        return read_json(BundleManifest, values, where)
    found = values.pop("format", None)
    if type(found) is not int or found != FORMAT:
        raise BundleError(
            f"{where}: expected bundle format {FORMAT}, found {found!r}; build the bundle with this Docyard, or "
            "install the version it was built with"
        )
    manifest = read_json(BundleManifest, values, where)
    if "training" not in values:
        raise BundleError(f"{where}: 'training' is missing; {_BUILD_AGAIN}")
    for name in REQUIRED_FILES:
        if name not in manifest.files:
            raise BundleError(f"{where}: 'files' does not list {name}, which every bundle has; build the bundle again")
    return manifest


def read_manifest(folder: Path) -> bytes:
    """Returns the bytes of a bundle's bundle.json.

    Raises:
        BundleError: there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; give the folder of a bundle, which holds {MANIFEST_NAME}")
    path = folder / MANIFEST_NAME
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: missing; {folder} is not a bundle, or was copied in part") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; check its kind and its permissions") from None


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


def check_no_extra_files(folder: Path, listed: Collection[str]) -> None:
    """Refuses whatever lies in the folder without being listed; names that begin with a dot are ignored.

    Raises:
        BundleError: naming the first such entry.
    """
    for entry in sorted(folder.iterdir()):
        if entry.name != MANIFEST_NAME and entry.name not in listed and not entry.name.startswith("."):
            raise BundleError(f"{entry}: not listed in {MANIFEST_NAME}; move it out of the bundle's folder")


class _Listing(Protocol):
    @property
    def files(self) -> Mapping[str, FileRecord]: ...


L = TypeVar("L", bound=_Listing)


def read_listed_files(
    folder: Path, expected: str, subject: str, kind: type[L], names: Collection[str]
) -> tuple[L, dict[str, bytes], str]:
    """Reads a bundle that is no classifier's, and checks every hash.

    Args:
        folder: of the bundle.
        expected: its format.
        subject: such as "kinds", for messages.
        kind: class of its manifest.
        names: of its files, but for the manifest.

    Returns:
        The manifest, name -> content of each file, and the digest.

    Raises:
        BundleError: the folder or a file is missing, not listed, changed, or holds what it must not.
    """
    content, path = read_manifest(folder), folder / MANIFEST_NAME
    values = parse_json(content, str(path))
    found = values.pop("format", None) if isinstance(values, dict) else None
    if found != expected:
        raise BundleError(
            f"{path}: expected a bundle of {subject} of format {expected!r}, found {found!r}; give the folder of such "
            "a bundle, or build it again with this Docyard"
        )
    manifest = read_json(kind, values, str(path))
    if set(manifest.files) != set(names):
        raise BundleError(
            f"{path}: expected the files {', '.join(names)}, found {', '.join(manifest.files) or 'none'}; build the "
            "bundle again"
        )
    files = {name: read_file(folder, name, record) for name, record in manifest.files.items()}
    check_no_extra_files(folder, manifest.files)
    return manifest, files, hashlib.sha256(content).hexdigest()


def file_records(contents: Mapping[str, bytes]) -> dict[str, FileRecord]:
    """The records of files, as a manifest lists them."""
    return {name: FileRecord(hashlib.sha256(part).hexdigest(), len(part)) for name, part in contents.items()}


def readable_json(values: Mapping[str, Any]) -> bytes:
    """JSON for people, keys in a fixed order."""
    return (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_listed_files(folder: Path, form: str, manifest: Any, contents: Mapping[str, bytes]) -> None:
    """Writes a bundle that `read_listed_files` reads; the same arguments give the same bytes.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        form: its format.
        manifest: that lists the files.
        contents: name -> content of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in contents.items():
        (folder / name).write_bytes(part)
    (folder / MANIFEST_NAME).write_bytes(readable_json({"format": form} | asdict(manifest)))


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return values


def _no_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")
