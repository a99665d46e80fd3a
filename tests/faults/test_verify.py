from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.classify import classify
from pipelines.runs import list_runs
from tests.support.small_runs import (
    RUN_DATE,
    check_refused,
    classify_arguments,
    config_of,
    documents,
    docyard,
    flip_byte,
    write_jsonl,
)
from warehouse.layout import SUCCESS_FILE, Partition

PARTITION = Partition(RUN_DATE, "ticket")


@pytest.fixture
def run_id(warehouse: Path) -> str:
    return str(list_runs(warehouse)[0]["run_id"])


def _a_file(warehouse: Path, table: str = "classifications") -> Path:
    return min((warehouse / table / PARTITION.path).glob("*.parquet"))


def test_what_was_published_and_left_alone_is_verified(warehouse: Path, run_id: str) -> None:
    result = docyard("verify", run_id, "--warehouse", warehouse)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "60 read = 54 classified + 6 rejected" in result.stdout


def _remove_success(warehouse: Path) -> None:
    (warehouse / "escalations" / PARTITION.path / SUCCESS_FILE).unlink()


def _miscount(warehouse: Path) -> None:
    [path] = warehouse.glob("runs/*/manifest.json")
    path.write_text(path.read_text().replace('"classified": 54', '"classified": 53'))


def _miscount_one_kind(warehouse: Path) -> None:
    [path] = warehouse.glob("runs/*/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["counts"]["by_document_type"]["ticket"]["rejected"] += 1
    path.write_text(json.dumps(manifest))


def _without(*place: str) -> Callable[[Path], object]:
    def damage(warehouse: Path) -> None:
        [path] = warehouse.glob("runs/*/manifest.json")
        manifest = table = json.loads(path.read_text())
        for key in place[:-1]:
            table = table[key]
        del table[place[-1]]
        path.write_text(json.dumps(manifest))

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda warehouse: flip_byte(_a_file(warehouse)), "sha256"),
        (lambda warehouse: flip_byte(_a_file(warehouse, "rejections")), "sha256"),
        (lambda warehouse: _a_file(warehouse).unlink(), "the manifest names it"),
        (lambda warehouse: shutil.copy(_a_file(warehouse), _a_file(warehouse).with_name("x.parquet")), "not in the"),
        (lambda warehouse: _a_file(warehouse).write_bytes(b""), "sha256"),
        (_remove_success, "superseded"),
        (_miscount, "classified is 54 in the files, 53 in the manifest"),
        (_miscount_one_kind, "ticket: rejected is 6 in the files, 7 in the manifest"),
        (lambda warehouse: next(warehouse.glob("runs/*/manifest.json")).write_text("{"), "not a run manifest"),
        *((_without(key), f"not a run manifest: found no {key}") for key in ("document_types", "files", "warnings")),
        *((_without("counts", key), key) for key in ("split_off", "cached", "absent_fields", "by_document_type")),
    ],
)
def test_a_run_that_is_not_what_its_manifest_says_ends_with_8(
    warehouse: Path, run_id: str, damage: Callable[[Path], object], says: str
) -> None:
    damage(warehouse)
    check_refused(docyard("verify", run_id, "--warehouse", warehouse), 8, says)


def test_a_run_that_is_unknown_superseded_or_failed_cannot_be_verified(
    warehouse: Path, run_id: str, tiny_bundle_unchanged: Path, tmp_path: Path
) -> None:
    check_refused(docyard("verify", "no-such-run", "--warehouse", warehouse), 8, "`docyard runs` lists them")
    blank = tmp_path / "blank.jsonl"
    blank.write_bytes(b"\n")
    docyard(*classify_arguments(blank, tiny_bundle_unchanged, warehouse))
    failed = list_runs(warehouse)[0]
    check_refused(docyard("verify", failed["run_id"], "--warehouse", warehouse), 8, "published nothing")
    manifest = classify(
        config_of(write_jsonl(tmp_path / "c.jsonl", documents(5)), tiny_bundle_unchanged, warehouse), ()
    )
    check_refused(docyard("verify", run_id, "--warehouse", warehouse), 8, manifest.run_id, "superseded")
