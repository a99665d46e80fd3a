"""ModelBundle: a folder with a model and all that its answers depend on; used only when every hash holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from models.bundle_manifest import (
    MANIFEST_NAME,
    REQUIRED_FILES,
    TEXT_AS_IT_IS,
    BundleManifest,
    FileRecord,
    FingerprintRow,
    ReadingRules,
    check_no_extra_files,
    parse_bundle_manifest,
    parse_json,
    read_file,
    read_json,
    read_manifest,
)
from models.certificate import FILE_NAME as CERTIFICATE_NAME
from models.certificate import Certificate, check_certificate, parse_certificate
from models.label_sets import FurtherLabels
from models.label_tree import tree_fault
from models.policy import Policy, parse_policy
from schemas.configuration import Within, validated
from schemas.errors import BundleError

_ACCEPT_ALL = b"[acceptance]\nmin_confidence = 0\nmin_familiarity = -inf\n"
# What Docyard exports. Exporters name further sets that no node uses; a node that does use one fails when it is opened.
OPSETS = {"ai.onnx": 17, "com.microsoft": 1}

# Of onnx.proto: ModelProto.opset_import, OperatorSetIdProto.domain and .version.
_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2
_MOST_FIELDS = 1000  # of a message; a real ModelProto has a few dozen, since the graph is one of them
_MOST_VARINT_BYTES = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups (3, 4) are not in ONNX


def _printable(name: str) -> str:
    if not name or name != name.strip() or not name.isprintable():
        raise ValueError(f"expected a printable name without spaces around it, found {name!r}")
    return name


@validated
class _Label:
    name: Annotated[str, AfterValidator(_printable)]
    sources: tuple[str, ...] = ()  # the data sets of its training rows


@validated
class _Labels:
    labels: tuple[_Label, ...]
    tree_separator: str = ""

    def __post_init__(self) -> None:
        names = [label.name for label in self.labels]
        if len(names) < 2:
            raise ValueError(f"expected at least two labels, found {len(names)}; a classifier needs a choice")
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f".labels: {repeated[0]!r} occurs twice; give every label its own name")
        if fault := tree_fault(names, self.tree_separator):
            raise ValueError(f".labels: {fault}; give every part a name, or leave tree_separator out")


@validated
class _FirstTierCalibration:
    temperature: Annotated[float, Within("(0, inf)")]
    rows: Any = None


@validated
class _Calibration:
    temperature: Annotated[float, Within("(0, inf)")]
    first_tier: _FirstTierCalibration | None = None
    further_labels: FurtherLabels | None = None


@dataclass(frozen=True)
class ModelBundle:
    """A bundle whose files were all found to be what `bundle.json` says.

    Attributes:
        folder: the folder it lies in.
        digest: sha256 of the bytes of bundle.json, in hexadecimal; it pins every other file.
        manifest: the content of bundle.json.
        labels: names in the order of the model's outputs.
        calibration: the whole of calibration.json.
        label_sources: label -> the data sets of its training rows.
        tree_separator: text between the names of a tree of labels; "" where labels are no tree.
        policy: decides on the answers that hold by themselves.
        certificate: proves the policy; None where nothing does, so that no answer holds by itself.
        further_labels: which labels it gives a document besides the first; None for a bundle that gives one.
        contents: name -> content of the files of a bundle that does not lie in a folder yet.
    """

    folder: Path
    digest: str
    manifest: BundleManifest
    labels: tuple[str, ...]
    calibration: Mapping[str, Any]
    label_sources: Mapping[str, tuple[str, ...]]
    tree_separator: str
    policy: Policy
    certificate: Certificate | None = None
    further_labels: FurtherLabels | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def reference(self) -> str:
        """Its name in the classifications that it made: "tickets@0123456789ab"."""
        return f"{self.name}@{self.digest[:12]}"

    @property
    def name(self) -> str:
        """The bundle's name, without the digest."""
        return self.manifest.name

    @property
    def document_type(self) -> str:
        """The kind of document it was trained on."""
        return self.manifest.document_type

    @property
    def max_tokens(self) -> int:
        """The number of tokens the model reads, special tokens included."""
        return self.manifest.max_tokens

    @property
    def reading(self) -> ReadingRules:
        """The rules that make a document into the model's input."""
        return self.manifest.reading

    @property
    def temperature(self) -> float:
        """The divisor of the logits before the softmax, > 0."""
        return float(self.calibration["temperature"])

    @property
    def first_tier_temperature(self) -> float:
        """The divisor of the first tier's logits before the softmax, > 0."""
        return float(self.calibration.get("first_tier", {}).get("temperature", 1.0))

    @property
    def fingerprint(self) -> tuple[FingerprintRow, ...]:
        """Answers that every machine must reproduce; may be empty."""
        return self.manifest.fingerprint

    def read(self, name: str) -> bytes:
        """Returns the bytes of one of its files, checked against the manifest once more.

        Raises:
            BundleError: the file changed since the bundle was loaded.
        """
        return self.contents[name] if self.contents else read_file(self.folder, name, self.manifest.files[name])


def load_bundle(folder: Path) -> ModelBundle:
    """Loads a bundle after checking everything about it that can be checked without running the model.

    Raises:
        BundleError: the folder or a file is missing, not listed, changed, or holds what it must not; the message
            names the file and says what to do.
    """
    content, path = read_manifest(folder), folder / MANIFEST_NAME
    manifest = parse_bundle_manifest(content, str(path))
    files = {name: read_file(folder, name, record) for name, record in manifest.files.items()}
    check_no_extra_files(folder, manifest.files)
    bundle = _parse_files(folder, content, manifest, files)
    for index, row in enumerate(manifest.fingerprint):
        if row.label not in bundle.labels:
            raise BundleError(f"{path}: 'fingerprint'[{index}] names {row.label!r}, which labels.json does not hold")
    return bundle


def bundle_in_memory(
    files: Mapping[str, bytes],
    *,
    name: str,
    created: str,
    document_type: str,
    max_tokens: int,
    training: Mapping[str, Any] | None = None,
    reading: ReadingRules = TEXT_AS_IT_IS,
) -> ModelBundle:
    """Makes a bundle that a Classifier can run before there is a folder of it; its files never touch a disk.

    Args:
        files: content of model.onnx, tokenizer.json and labels.json, and of any further file of a bundle. Without
            calibration.json its temperature is 1, without policy.toml its policy accepts every answer. The policy
            counts as certified, since such a bundle is there to be measured.
        name: as for `write_bundle_manifest`, like all that follow.

    Raises:
        BundleError: a file does not hold what it must.
    """
    files = {"calibration.json": b'{"temperature": 1}', "policy.toml": _ACCEPT_ALL, **files}
    manifest = BundleManifest(
        name=name,
        created=created,
        document_type=document_type,
        max_tokens=max_tokens,
        files=_records(files),
        training=dict(training or {}),
        reading=reading,
    )
    bundle = _parse_files(Path(name), manifest.to_bytes(), manifest, files)
    return replace(bundle, policy=replace(bundle.policy, certified=True), contents=files)


def _parse_files(folder: Path, content: bytes, manifest: BundleManifest, files: Mapping[str, bytes]) -> ModelBundle:
    check_opset(files["model.onnx"], str(folder / "model.onnx"))
    where = str(folder / "labels.json")
    named = read_json(_Labels, parse_json(files["labels.json"], where), where)
    sources = {label.name: label.sources for label in named.labels}
    labels = tuple(sources)
    policy = parse_policy(files["policy.toml"], labels, str(folder / "policy.toml"))
    calibration, further_labels = _parse_calibration(
        files["calibration.json"], labels, str(folder / "calibration.json")
    )
    certificate = None
    if CERTIFICATE_NAME in files:
        where = str(folder / CERTIFICATE_NAME)
        certificate = parse_certificate(files[CERTIFICATE_NAME], where)
        check_certificate(certificate, manifest.files, policy.finite_thresholds(), where)
    return ModelBundle(
        folder=folder,
        digest=hashlib.sha256(content).hexdigest(),
        manifest=manifest,
        labels=labels,
        calibration=calibration,
        label_sources=sources,
        tree_separator=named.tree_separator,
        policy=replace(policy, certified=certificate is not None),
        certificate=certificate,
        further_labels=further_labels,
    )


def _records(files: Mapping[str, bytes]) -> dict[str, FileRecord]:
    return {name: FileRecord(hashlib.sha256(content).hexdigest(), len(content)) for name, content in files.items()}


def write_bundle_manifest(
    folder: Path,
    *,
    name: str,
    created: str,
    document_type: str,
    max_tokens: int,
    training: Mapping[str, Any] | None = None,
    fingerprint: Sequence[FingerprintRow] = (),
    reading: ReadingRules = TEXT_AS_IT_IS,
) -> ModelBundle:
    """Writes bundle.json over the files that lie in `folder`, and loads the bundle it makes of them.

    The same files and arguments give the same bytes. Files whose name begins with a dot are left out.

    Args:
        folder: holds the other files of the bundle.
        name: of the bundle: lower-case letters, digits, `_`, `.` and `-`.
        created: ISO 8601 date.
        document_type: the kind of document it was trained on.
        max_tokens: number of tokens the model reads, special tokens included.
        training: free facts, as JSON values.
        fingerprint: answers that every machine must reproduce.
        reading: rules that make a document into the model's input.

    Raises:
        BundleError: what lies in the folder does not make a bundle.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder; put the bundle's files there first")
    missing = [required for required in REQUIRED_FILES if not (folder / required).is_file()]
    if missing:
        raise BundleError(f"{folder}: {', '.join(missing)} missing; a bundle needs {', '.join(REQUIRED_FILES)}")
    paths = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME and not path.name.startswith(".")]
    for path in paths:
        if not path.is_file():
            raise BundleError(f"{path}: not a file; a bundle is one flat folder of files")
    manifest = BundleManifest(
        name=name,
        created=created,
        document_type=document_type,
        max_tokens=max_tokens,
        files=_records({path.name: path.read_bytes() for path in paths}),
        training=dict(training or {}),
        fingerprint=tuple(fingerprint),
        reading=reading,
    )
    content = manifest.to_bytes()
    parse_bundle_manifest(content, str(folder / MANIFEST_NAME))
    draft = folder / f".{MANIFEST_NAME}.draft"
    draft.write_bytes(content)
    draft.replace(folder / MANIFEST_NAME)
    return load_bundle(folder)


def put_into_place(folder: Path, out: Path, replaced: Path) -> None:
    """Exchanges the bundles; if anything goes wrong in between, Ctrl-C included, the old one stays where it was."""
    try:
        if out.exists():
            out.rename(replaced)
        folder.rename(out)
    except BaseException:
        if replaced.exists() and not out.exists():
            replaced.rename(out)
        raise


def _parse_calibration(
    content: bytes, labels: tuple[str, ...], where: str
) -> tuple[dict[str, Any], FurtherLabels | None]:
    values = parse_json(content, where)
    known = {key: values[key] for key in ("temperature", "first_tier", "further_labels") if key in values}
    further = read_json(_Calibration, known if isinstance(values, dict) else values, where).further_labels
    if further is not None and further.none_label and further.none_label not in labels:
        raise BundleError(
            f"{where}: 'further_labels' names {further.none_label!r}, which labels.json does not hold; build the "
            "bundle again"
        )
    return dict(values), further


def check_opset(model: bytes, where: str) -> None:
    """Refuses a model that is not written for the operator sets that Docyard exports.

    Args:
        model: content of `model.onnx`; any bytes at all.
        where: names the file in errors.

    Raises:
        BundleError: the bytes are no ONNX model, or name another version of an operator set.
    """
    try:
        opsets = read_opsets(model)
    except ValueError as error:
        raise BundleError(f"{where}: not an ONNX model: {error}; build the bundle again") from None
    if not any(domain == "ai.onnx" for domain, _ in opsets):
        raise BundleError(f"{where}: not an ONNX model: it names no version of ai.onnx; build the bundle again")
    for domain, version in opsets:
        if domain in OPSETS and version != OPSETS[domain]:
            raise BundleError(
                f"{where}: expected operator set {domain} {OPSETS[domain]}, found {version}; build the bundle with "
                "this Docyard, or install the version it was built with"
            )


def read_opsets(model: bytes) -> list[tuple[str, int]]:
    """The operator sets that a model names, in its order: domain and version; the empty domain is "ai.onnx".

    Raises:
        ValueError: the bytes are no protobuf message of the kind.
    """
    view = memoryview(model)
    opsets = []
    for number, value in _fields(view):
        if number == _OPSET_IMPORT:
            if not isinstance(value, memoryview):
                raise ValueError("its operator sets are not readable")
            parts = dict(_fields(value))
            domain, version = parts.get(_DOMAIN, memoryview(b"")), parts.get(_VERSION, 0)
            if not isinstance(domain, memoryview) or not isinstance(version, int):
                raise ValueError("its operator sets are not readable")
            opsets.append((bytes(domain).decode("utf-8", "replace") or "ai.onnx", version))
    return opsets


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of every field of a protobuf message; nested messages stay bytes.

    Source: Protocol Buffers documentation, "Encoding".
    """
    position = count = 0
    while position < len(message):
        count += 1
        if count > _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS} fields")
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, position = _varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {kind}")
        if size > len(message) - position:
            raise ValueError("cut short")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number that begins at `position`, and where the next value begins."""
    value = 0
    for index, byte in enumerate(message[position : position + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("cut short" if len(message) - position < _MOST_VARINT_BYTES else "a number too long")
