from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.bundle import ModelBundle, load_bundle
from schemas.errors import BundleError
from tests.support.made_up_certificate import write_certified_manifest

FILES = ("model.onnx", "tokenizer.json", "labels.json", "policy.toml", "calibration.json", "card.md")


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads((folder / "bundle.json").read_text())
    change(values)
    (folder / "bundle.json").write_text(json.dumps(values))


def rewrite(folder: Path, name: str, content: str | bytes) -> None:
    """Replaces a file and writes down its new hash, as someone would who builds a bundle by hand."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    record = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    change_manifest(folder, lambda values: values["files"].update({name: record}))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_whole_bundle_loads_with_all_it_says(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert bundle.labels == ("billing", "delivery", "account", "technical")
    assert (bundle.name, bundle.document_type, bundle.max_tokens, bundle.temperature) == ("tiny", "ticket", 32, 1.25)
    assert bundle.policy.label_min_confidence == {"billing": 0.9}
    assert bundle.manifest.training["rows"] == 2000
    assert len(bundle.fingerprint) == 4


def test_the_digest_is_the_hash_of_bundle_json_and_the_reference_its_beginning(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert bundle.digest == hashlib.sha256((tiny_bundle / "bundle.json").read_bytes()).hexdigest()
    assert bundle.reference == f"tiny@{bundle.digest[:12]}"


def test_a_bundle_cannot_be_changed_in_memory(tiny_bundle: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_bundle(tiny_bundle).temperature = 1.0  # type: ignore[misc]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")


def test_a_folder_without_bundle_json_is_refused(tmp_path: Path) -> None:
    assert "bundle.json: missing" in refusal(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_in_any_file_is_refused(tiny_bundle: Path, name: str) -> None:
    content = bytearray((tiny_bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tiny_bundle / name).write_bytes(content)
    assert f"{tiny_bundle / name}: changed" in refusal(tiny_bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tiny_bundle: Path, name: str) -> None:
    (tiny_bundle / name).unlink()
    message = refusal(tiny_bundle)
    assert str(tiny_bundle / name) in message
    assert "missing" in message


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_is_refused(tiny_bundle: Path, name: str) -> None:
    rewrite(tiny_bundle, name, b"")
    assert f"{tiny_bundle / name}: empty" in refusal(tiny_bundle)


def test_a_file_cut_short_is_refused_with_both_sizes(tiny_bundle: Path) -> None:
    content = (tiny_bundle / "model.onnx").read_bytes()
    (tiny_bundle / "model.onnx").write_bytes(content[:-1])
    assert f"expected {len(content)} bytes, found {len(content) - 1}" in refusal(tiny_bundle)


def test_a_git_lfs_pointer_is_refused_with_the_command_that_fetches_the_file(tiny_bundle: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    (tiny_bundle / "model.onnx").write_text(pointer)
    assert "git lfs pull" in refusal(tiny_bundle)
    rewrite(tiny_bundle, "model.onnx", pointer)
    assert "git lfs pull" in refusal(tiny_bundle)


def test_a_folder_in_the_place_of_a_file_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "card.md").unlink()
    (tiny_bundle / "card.md").mkdir()
    assert f"{tiny_bundle / 'card.md'}: cannot be read" in refusal(tiny_bundle)


def test_an_extra_file_or_folder_is_refused(tiny_bundle: Path) -> None:
    (tiny_bundle / "notes.txt").write_text("hello")
    assert f"{tiny_bundle / 'notes.txt'}: not listed" in refusal(tiny_bundle)
    (tiny_bundle / "notes.txt").unlink()
    (tiny_bundle / "more").mkdir()
    assert f"{tiny_bundle / 'more'}: not listed" in refusal(tiny_bundle)


def test_a_file_whose_name_begins_with_a_dot_is_left_alone(tiny_bundle: Path) -> None:
    digest = load_bundle(tiny_bundle).digest
    (tiny_bundle / ".DS_Store").write_bytes(b"\0")
    assert load_bundle(tiny_bundle).digest == digest


def test_a_further_listed_file_belongs_to_the_bundle(tiny_bundle: Path) -> None:
    rewrite(tiny_bundle, "LICENSE", "Apache-2.0")
    assert load_bundle(tiny_bundle).read("LICENSE") == b"Apache-2.0"


def test_a_file_that_changes_after_loading_is_refused_when_read(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    (tiny_bundle / "card.md").write_text("another card")
    with pytest.raises(BundleError, match=r"card\.md"):
        bundle.read("card.md")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b'{"format": NaN}', "not readable as JSON"),
        (b'{"format": 2, "format": 2}', "occurs twice"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[]", "expected an object, found a list"),
        (b"{}", "expected bundle format 2, found None"),
        (b'{"format": 1}', "expected bundle format 2, found 1"),
        (b'{"format": true}', "expected bundle format 2, found True"),
        (b'{"format": 2}', "'name', 'created', 'document_type', 'max_tokens', 'files' are missing"),
    ],
)
def test_a_bundle_json_that_is_none_is_refused(tiny_bundle: Path, content: bytes, expected: str) -> None:
    (tiny_bundle / "bundle.json").write_bytes(content)
    message = refusal(tiny_bundle)
    assert expected in message
    assert str(tiny_bundle / "bundle.json") in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("extra", 1, "unknown key 'extra'"),
        ("name", 1, "name: expected str, found int"),
        ("name", "My Bundle", "name: expected lower-case letters, digits"),
        ("name", "a@b", "name: expected lower-case letters, digits"),
        ("created", "yesterday", "YYYY-MM-DD"),
        ("created", "20261122", "YYYY-MM-DD"),
        ("document_type", "../x", "document_type: expected a lower-case letter"),
        ("max_tokens", "256", "max_tokens: expected int, found str"),
        ("max_tokens", True, "max_tokens: expected int, found bool"),
        ("max_tokens", 2, "at least 3"),
        ("training", [], "training: expected an object, found a list"),
        ("files", [], "files: expected an object, found a list"),
        ("files", {}, "does not list model.onnx"),
        ("fingerprint", {}, "fingerprint: expected a list, found an object"),
        ("fingerprint", ["x"], "fingerprint[0]: expected an object"),
        ("fingerprint", [{"text": "x", "label": "billing"}], "'fingerprint[0].confidence' is missing"),
        (
            "fingerprint",
            [{"text": "x", "label": "billing", "confidence": 1.5}],
            "expected a number in [0, 1], found 1.5",
        ),
        ("fingerprint", [{"text": "x", "label": "cooking", "confidence": 1}], "'cooking', which labels.json"),
    ],
)
def test_a_wrong_value_in_bundle_json_is_refused(tiny_bundle: Path, key: str, value: object, expected: str) -> None:
    change_manifest(tiny_bundle, lambda values: values.update({key: value}))
    assert expected in refusal(tiny_bundle)


@pytest.mark.parametrize("key", ["name", "created", "document_type", "max_tokens", "files", "training"])
def test_a_missing_key_in_bundle_json_is_refused(tiny_bundle: Path, key: str) -> None:
    change_manifest(tiny_bundle, lambda values: values.pop(key))
    assert f"{key!r} is missing" in refusal(tiny_bundle)


@pytest.mark.parametrize(
    "name", ["../card.md", "/etc/hosts", "a/b", "a\\b", "..", ".", "", "C:x", ".hidden", "bundle.json", "a\n", "a\0b"]
)
def test_a_file_name_that_leads_out_of_the_folder_is_refused(tiny_bundle: Path, name: str) -> None:
    record = {"sha256": "0" * 64, "bytes": 1}
    change_manifest(tiny_bundle, lambda values: values["files"].update({name: record}))
    assert "expected names of files beside bundle.json" in refusal(tiny_bundle)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"sha256": "0" * 64}, "is missing"),
        ({"sha256": "0" * 64, "bytes": 1.0}, "expected int"),
        ({"sha256": "ABC", "bytes": 1}, "64 hexadecimal digits"),
        ({"sha256": "0" * 64, "bytes": 1, "mode": 7}, "unknown key"),
        ("0" * 64, "expected an object"),
    ],
)
def test_a_wrong_file_record_is_refused(tiny_bundle: Path, record: object, expected: str) -> None:
    change_manifest(tiny_bundle, lambda values: values["files"].update({"card.md": record}))
    message = refusal(tiny_bundle)
    assert expected in message
    assert "files['card.md']" in message


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], "at least two labels, found 0"),
        ([{"name": "one"}], "at least two labels, found 1"),
        ([{"name": "one"}, {"name": "one"}], "'one' occurs twice"),
        ([{"name": "one"}, {"name": ""}], "printable name"),
        ([{"name": "one"}, {"name": " two"}], "printable name"),
        ([{"name": "one"}, {"name": "t\two"}], "printable name"),
        ([{"name": "one"}, {"name": 2}], "labels[1].name: expected str, found int"),
        ([{"name": "one"}, "two"], "expected an object, found str"),
        ([{"name": "one"}, {"name": "two", "id": 2}], "unknown key 'labels[1].id'"),
        ([{"name": "one"}, {"name": "two", "sources": "x"}], "labels[1].sources: expected a list"),
        ([{"name": "one"}, {"name": "two", "sources": [1]}], "labels[1].sources[0]: expected str"),
        ({"one": 0}, "labels: expected a list"),
    ],
)
def test_labels_that_are_none_are_refused(tiny_bundle: Path, labels: object, expected: str) -> None:
    rewrite(tiny_bundle, "labels.json", json.dumps({"labels": labels}))
    message = refusal(tiny_bundle)
    assert expected in message
    assert "labels.json" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{}", "'temperature' is missing"),
        ('{"temperature": 0}', "more than 0"),
        ('{"temperature": -1.5}', "more than 0"),
        ('{"temperature": "1"}', "expected float"),
        ('{"temperature": true}', "expected float"),
        ('{"temperature": 1e999}', "expected a finite number"),
        ("[]", "expected an object"),
        ("", "empty"),
    ],
)
def test_a_calibration_without_a_usable_temperature_is_refused(tiny_bundle: Path, content: str, expected: str) -> None:
    rewrite(tiny_bundle, "calibration.json", content)
    message = refusal(tiny_bundle)
    assert expected in message
    assert "calibration.json" in message


def write_again(folder: Path) -> ModelBundle:
    return write_certified_manifest(
        folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32, training={"rows": 1}
    )


def test_writing_the_manifest_twice_gives_the_same_bytes_and_a_bundle_that_loads(tiny_bundle: Path) -> None:
    first = write_again(tiny_bundle)
    content = (tiny_bundle / "bundle.json").read_bytes()
    assert write_again(tiny_bundle) == first == load_bundle(tiny_bundle)
    assert (tiny_bundle / "bundle.json").read_bytes() == content


def test_the_digest_changes_with_any_file(tiny_bundle: Path) -> None:
    before = write_again(tiny_bundle).digest
    (tiny_bundle / "card.md").write_text("# Another card\n")
    assert write_again(tiny_bundle).digest != before


def test_a_copy_of_a_bundle_has_the_same_digest(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    assert load_bundle(copy).digest == load_bundle(tiny_bundle).digest


def test_a_manifest_is_not_written_over_an_incomplete_folder(tiny_bundle: Path) -> None:
    (tiny_bundle / "bundle.json").unlink()
    (tiny_bundle / "policy.toml").unlink()
    with pytest.raises(BundleError, match=r"policy\.toml missing"):
        write_again(tiny_bundle)
    assert not (tiny_bundle / "bundle.json").exists()


def test_a_manifest_is_not_written_over_a_nested_folder_or_none(tiny_bundle: Path, tmp_path: Path) -> None:
    (tiny_bundle / "more").mkdir()
    with pytest.raises(BundleError, match="one flat folder"):
        write_again(tiny_bundle)
    with pytest.raises(BundleError, match="no such folder"):
        write_again(tmp_path / "nowhere")


def test_a_manifest_with_a_value_that_would_not_load_is_not_written(tiny_bundle: Path) -> None:
    before = (tiny_bundle / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="name: expected lower-case letters, digits"):
        write_certified_manifest(tiny_bundle, name="A B", created="2026-11-22", document_type="ticket", max_tokens=32)
    assert (tiny_bundle / "bundle.json").read_bytes() == before
