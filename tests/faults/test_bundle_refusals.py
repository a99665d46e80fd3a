"""A bundle that cannot be trusted is refused before the first document, by name, and nothing is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_runs import check_refused, classify_arguments, documents, docyard, flip_byte, write_jsonl

FILES = ("bundle.json", "model.onnx", "tokenizer.json", "labels.json", "policy.toml", "calibration.json", "card.md")


@pytest.fixture
def arguments(tiny_bundle: Path, tmp_path: Path) -> Iterator[list[str]]:
    """A run with the tiny bundle; afterwards nothing may have been written."""
    source = write_jsonl(tmp_path / "in" / "a.jsonl", documents(5))
    warehouse = tmp_path / "warehouse"
    yield classify_arguments(source, tiny_bundle, warehouse)
    assert not warehouse.exists()


def refused(arguments: list[str], path: Path, *says: str) -> None:
    """By the run and by the dry run alike, with the file's name."""
    for extra in ((), ("--dry-run",)):
        check_refused(docyard(*arguments, *extra), 4, str(path), *says)


def rewrite(path: Path, content: bytes) -> None:
    """Replaces a file of a bundle and lists its new hash: whoever did it meant to."""
    path.write_bytes(content)
    manifest = path.with_name("bundle.json")
    values: dict[str, Any] = json.loads(manifest.read_bytes())
    values["files"][path.name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest.write_text(json.dumps(values))


def test_the_bundle_is_accepted_as_it_is(tiny_bundle: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in" / "a.jsonl", documents(5))
    assert docyard(*classify_arguments(source, tiny_bundle, tmp_path / "out"), "--dry-run").exit_code == 0


@pytest.mark.parametrize("name", FILES[1:])
def test_one_flipped_byte(arguments: list[str], tiny_bundle: Path, name: str) -> None:
    flip_byte(tiny_bundle / name)
    refused(arguments, tiny_bundle / name, "changed")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(arguments: list[str], tiny_bundle: Path, name: str) -> None:
    (tiny_bundle / name).unlink()
    refused(arguments, tiny_bundle / name, "missing")


@pytest.mark.parametrize(
    "change", [lambda labels: labels[:-1], lambda labels: [*labels, {"name": "one_more"}]], ids=["shorter", "longer"]
)
def test_a_label_list_of_the_wrong_length(
    arguments: list[str], tiny_bundle: Path, change: Callable[[list[Any]], list[Any]]
) -> None:
    path = tiny_bundle / "labels.json"
    labels = change(json.loads(path.read_bytes())["labels"])
    rewrite(path, json.dumps({"labels": labels}).encode())
    manifest = tiny_bundle / "bundle.json"
    values = json.loads(manifest.read_bytes()) | {"fingerprint": []}
    del values["files"]["certificate.json"]  # it is of other labels
    (tiny_bundle / "certificate.json").unlink()
    manifest.write_text(json.dumps(values))
    refused(arguments, tiny_bundle / "model.onnx", "4 columns", f"labels.json has {len(labels)} labels")


@pytest.mark.parametrize("version", [13, 18, 127])
def test_an_onnx_of_another_opset(arguments: list[str], tiny_bundle: Path, version: int) -> None:
    path = tiny_bundle / "model.onnx"
    content = path.read_bytes()
    assert content.count(b"B\x04\n\x00\x10\x11") == 1
    rewrite(path, content.replace(b"B\x04\n\x00\x10\x11", b"B\x04\n\x00\x10" + bytes([version])))
    refused(arguments, path, f"ai.onnx 17, found {version}")


def test_an_onnx_cut_short_whose_hash_was_taken_after(arguments: list[str], tiny_bundle: Path) -> None:
    path = tiny_bundle / "model.onnx"
    rewrite(path, path.read_bytes()[:-100])
    refused(arguments, path, "not an ONNX model")


def test_a_fingerprint_this_machine_does_not_reproduce(arguments: list[str], tiny_bundle: Path) -> None:
    path = tiny_bundle / "bundle.json"
    values = json.loads(path.read_bytes())
    values["fingerprint"][2]["confidence"] -= 0.1
    path.write_text(json.dumps(values))
    refused(arguments, path, "fingerprint text 2")
