"""Promote, approve, rollback: the bundle that stands, as runs see it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models.bundle import load_bundle
from pipelines.classify import prepare
from pipelines.promotion import promote, register_state
from schemas.codes import RegisterAction
from schemas.run_config import InputConfig, RunConfig
from tests.support.dying import dying_at
from tests.support.small_runs import RUN_DATE, check_refused, config_of, documents, docyard, flip_byte, write_jsonl
from tests.support.tiny_versions import tiny_version
from warehouse.folder import FolderWarehouse
from warehouse.register import REGISTER_FILE, append


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    (tmp_path / "warehouse").mkdir()
    return tmp_path / "warehouse"


@pytest.fixture
def versions(tiny_bundle_unchanged: Path, tmp_path: Path) -> tuple[Path, Path]:
    return (
        tiny_version(tiny_bundle_unchanged, tmp_path / "first", min_confidence=0.8),
        tiny_version(tiny_bundle_unchanged, tmp_path / "second", min_confidence=0.95),
    )


def _promote(bundle: Path, warehouse: Path, *more: object, by: str = "ada") -> Any:
    where = ("--warehouse", warehouse, "--by", by, "--reason", "better")
    return docyard("promote", bundle, *where, *more)


def _run(tmp_path: Path, warehouse: Path) -> Any:
    source = write_jsonl(tmp_path / "in.jsonl", documents(20))
    where = ("--input", source, "--document-type", "ticket", "--warehouse", warehouse, "--run-date", RUN_DATE)
    return docyard("classify", *where, "--json")


def _register(warehouse: Path) -> dict[str, Any]:
    result = docyard("register", "--warehouse", warehouse, "--json")
    assert result.exit_code == 0, result.stderr
    state: dict[str, Any] = json.loads(result.stdout)
    return state


def test_a_run_without_a_bundle_uses_the_one_that_stands_across_a_rollback(
    versions: tuple[Path, Path], warehouse: Path, tmp_path: Path
) -> None:
    first, second = (load_bundle(folder) for folder in versions)
    check_refused(_run(tmp_path, warehouse), 2, "no bundle stands", "docyard promote")
    config = RunConfig(RUN_DATE, str(warehouse), (InputConfig((str(tmp_path / "in.jsonl"),), "ticket"),))
    used, ends = [], []
    for decide in (
        lambda: _promote(versions[0], warehouse),
        lambda: _promote(versions[1], warehouse),
        lambda: docyard("rollback", "ticket", "--warehouse", warehouse, "--by", "bob"),
    ):
        assert decide().exit_code == 0
        planned = prepare(config)[0].manifest()
        used.append(planned.bundles["ticket"]["digest"])
        ends.append((planned.register.number, planned.register.sha256))
    assert used == [first.digest, second.digest, first.digest]
    assert ends == [(entry["number"], entry["sha256"]) for entry in _register(warehouse)["entries"]]
    for folder in versions:
        shutil.rmtree(folder)  # the warehouse has its own copies
    result = _run(tmp_path, warehouse)
    assert result.exit_code == 0, result.stderr
    manifest = json.loads(result.stdout)
    assert manifest["bundles"]["ticket"]["digest"] == first.digest
    assert manifest["register"]["number"] == 3
    assert manifest["config"]["inputs"][0]["bundle"] == str(warehouse / "bundles" / first.reference)


def test_promote_and_rollback_done_twice_change_nothing_the_second_time(
    versions: tuple[Path, Path], warehouse: Path
) -> None:
    for folder in versions:
        for _ in range(2):
            assert _promote(folder, warehouse).exit_code == 0
    arguments = ("rollback", "ticket", "--warehouse", warehouse, "--by", "bob", "--json")
    changed = [json.loads(docyard(*arguments).stdout)["changed"] for _ in range(2)]
    assert changed == [True, False]
    state = _register(warehouse)
    assert [entry["action"] for entry in state["entries"]] == ["promote", "promote", "rollback"]
    assert state["standing"]["ticket"]["bundle"] == load_bundle(versions[0]).reference


def test_a_rollback_needs_a_bundle_to_return_to(versions: tuple[Path, Path], warehouse: Path) -> None:
    arguments = ("rollback", "ticket", "--warehouse", warehouse, "--by", "bob")
    check_refused(docyard(*arguments), 2, "no bundle stands")
    assert _promote(versions[0], warehouse).exit_code == 0
    check_refused(docyard(*arguments), 2, "no bundle stood", "earlier bundles: none")
    assert docyard(*arguments, "--to", load_bundle(versions[0]).reference).exit_code == 0  # it stands already
    assert len(_register(warehouse)["entries"]) == 1
    check_refused(docyard(*arguments, "--to", "tiny@000000000000"), 2, "did not stand")


def test_where_two_must_approve_the_proposer_cannot_be_the_second(
    versions: tuple[Path, Path], warehouse: Path, tmp_path: Path
) -> None:
    (warehouse / "governance.toml").write_text("approvals = 2\n")
    result = _promote(versions[0], warehouse, "--json")
    assert json.loads(result.stdout)["approvals_missing"] == 1
    assert json.loads(result.stdout)["standing"] is None
    check_refused(_run(tmp_path, warehouse), 2, "no bundle stands")
    approve = ("approve", "1", "--warehouse", warehouse, "--by")
    check_refused(docyard(*approve, " Ada"), 2, "another person")
    assert docyard(*approve, "bob").exit_code == 0
    check_refused(docyard(*approve, "cyd"), 2, "no promotion that waits")
    check_refused(docyard("approve", "7", "--warehouse", warehouse, "--by", "bob"), 2, "no promotion that waits")
    assert _run(tmp_path, warehouse).exit_code == 0
    assert _register(warehouse)["pending"] == {}


def test_a_rollback_withdraws_a_proposal_and_leaves_what_stands(versions: tuple[Path, Path], warehouse: Path) -> None:
    arguments = ("rollback", "ticket", "--warehouse", warehouse, "--by", "bob")
    (warehouse / "governance.toml").write_text("approvals = 2\n")
    assert _promote(versions[0], warehouse).exit_code == 0
    assert "nothing stands for ticket" in docyard(*arguments).stdout
    (warehouse / "governance.toml").unlink()
    assert _promote(versions[0], warehouse).exit_code == 0
    (warehouse / "governance.toml").write_text("approvals = 2\n")
    assert _promote(versions[1], warehouse).exit_code == 0
    for _ in range(2):
        assert docyard(*arguments).exit_code == 0
    state = _register(warehouse)
    assert state["pending"] == {}
    assert state["standing"]["ticket"]["bundle"] == load_bundle(versions[0]).reference
    assert len(state["entries"]) == 5
    check_refused(docyard("approve", "4", "--warehouse", warehouse, "--by", "cyd"), 2, "no promotion that waits")


def test_rules_that_cannot_be_read_stop_a_promotion(versions: tuple[Path, Path], warehouse: Path) -> None:
    for content, says in (("approvals = 0", "[1, 9]"), ("aprovals = 2", "approvals")):
        (warehouse / "governance.toml").write_text(content)
        check_refused(_promote(versions[0], warehouse), 2, "governance.toml", says)
    assert _register(warehouse)["entries"] == []


def test_an_uncertified_bundle_is_promoted_only_where_that_is_said(
    tiny_bundle_unchanged: Path, warehouse: Path, tmp_path: Path
) -> None:
    bundle = tiny_version(tiny_bundle_unchanged, tmp_path / "unproven", certified=False)
    arguments = ("promote", bundle, "--warehouse", warehouse, "--by", "ada", "--reason", "better")
    check_refused(docyard(*arguments), 4, "certify", "--uncertified")
    assert _register(warehouse)["entries"] == []
    assert docyard(*arguments, "--uncertified").exit_code == 0
    certified = ("promote", tiny_bundle_unchanged, *arguments[2:])
    assert docyard(*certified).exit_code == 0
    proof = (tiny_bundle_unchanged / "certificate.json").read_bytes()
    proofs = [entry["details"]["certificate_sha256"] for entry in _register(warehouse)["entries"]]
    assert proofs == ["", hashlib.sha256(proof).hexdigest()]


def test_a_damaged_copy_is_neither_run_nor_promoted_nor_returned_to(
    versions: tuple[Path, Path], warehouse: Path, tmp_path: Path
) -> None:
    for folder in versions:
        assert _promote(folder, warehouse).exit_code == 0
    first, second = (warehouse / "bundles" / load_bundle(folder).reference for folder in versions)
    flip_byte(first / "model.onnx")
    check_refused(docyard("rollback", "ticket", "--warehouse", warehouse, "--by", "bob"), 4, "model.onnx")
    assert _run(tmp_path, warehouse).exit_code == 0
    shutil.rmtree(second)
    shutil.copytree(versions[0], second)
    check_refused(_run(tmp_path, warehouse), 4, "expected the digest")
    check_refused(_promote(versions[1], warehouse), 4, "expected the digest")
    assert len(_register(warehouse)["entries"]) == 2


def test_a_promotion_that_is_killed_at_any_step_is_completed_by_the_same_command(
    versions: tuple[Path, Path], tmp_path: Path, no_waiting_for_the_disk: None
) -> None:
    reference = load_bundle(versions[0]).reference
    for step in range(1, 200):
        warehouse = tmp_path / f"warehouse{step}"
        with dying_at(step) as death:
            promote(versions[0], str(warehouse), "ada", "better")
        if not death.died:
            break
        if warehouse.is_dir():
            state = register_state(str(warehouse))
            assert state["standing"] in ({}, {"ticket": {"bundle": reference, "entry": 1}})
        promote(versions[0], str(warehouse), "ada", "better")
        assert [entry["number"] for entry in register_state(str(warehouse))["entries"]] == [1]
        assert [path.name for path in (warehouse / "bundles").iterdir()] == [reference]
        assert load_bundle(warehouse / "bundles" / reference).reference == reference
    assert step > 10


def test_a_register_that_was_changed_or_cut_off_is_found_and_stops_runs(
    versions: tuple[Path, Path], warehouse: Path, tmp_path: Path
) -> None:
    for folder in versions:
        assert _promote(folder, warehouse).exit_code == 0
    assert _run(tmp_path, warehouse).exit_code == 0
    path = warehouse / REGISTER_FILE
    content = path.read_text()
    path.write_text(content.replace('"by": "ada"', '"by": "eve"', 1))
    for result in (_run(tmp_path, warehouse), docyard("register", "--warehouse", warehouse)):
        check_refused(result, 8, "line 1")
    path.write_text(content.splitlines(keepends=True)[0])
    check_refused(docyard("register", "--warehouse", warehouse), 8, "run ", "entry 2")


def test_a_demoted_label_is_handed_to_the_run(versions: tuple[Path, Path], warehouse: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(5))
    config = config_of(source, versions[0], warehouse)
    assert prepare(config)[0].demoted == (frozenset(),)
    append(
        FolderWarehouse(warehouse),
        action=RegisterAction.DEMOTE,
        subject="tiny",
        by="the audits",
        reason="too many wrong",
        details={"label": "billing"},
    )
    plan, _ = prepare(config)
    assert plan.demoted == (frozenset({"billing"}),)
    assert plan.manifest().register == plan.register
    assert plan.register.number == 1
