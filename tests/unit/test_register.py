"""The register of a warehouse: append-only, chained, written by one at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.codes import RegisterAction
from schemas.errors import ConfigError, VerificationError
from warehouse.folder import FolderWarehouse
from warehouse.register import (
    REGISTER_FILE,
    Entry,
    append,
    demoted_labels,
    promotions,
    read_register,
    register_end,
    standing_bundle,
    verify_register,
)

_APPEND_MANY = """
import sys
from pathlib import Path
from warehouse.folder import FolderWarehouse
from warehouse.register import append
for number in range(15):
    warehouse = FolderWarehouse(Path(sys.argv[1]))
    append(warehouse, action="adopt", subject="ticket", by=sys.argv[2], reason=f"number {number}")
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> FolderWarehouse:
    return FolderWarehouse(tmp_path)


def _decide(
    warehouse: FolderWarehouse, action: RegisterAction, subject: str = "ticket", by: str = "ada", **details: object
) -> Entry:
    return append(warehouse, action=action, subject=subject, by=by, reason="as agreed", details=details)


def _promote(warehouse: FolderWarehouse, bundle: str, approvals: int = 1, by: str = "ada") -> Entry:
    return _decide(warehouse, RegisterAction.PROMOTE, by=by, bundle=bundle, digest=bundle * 64, approvals=approvals)


def _standing(warehouse: FolderWarehouse) -> str | None:
    found = standing_bundle(read_register(warehouse), "ticket")
    return None if found is None else found.details["bundle"]


def test_what_was_appended_is_read_back_as_it_was(warehouse: FolderWarehouse) -> None:
    written = [_promote(warehouse, "a"), _decide(warehouse, RegisterAction.DEMOTE, "tickets", label="wîre — 1")]
    assert read_register(warehouse) == tuple(written)
    assert written[1].previous == written[0].sha256
    assert read_register(FolderWarehouse(warehouse.root / "none")) == ()


def test_processes_that_append_at_once_lose_nothing_and_break_no_chain(warehouse: FolderWarehouse) -> None:
    names = ("ada", "bob", "cyd")
    arguments = [[sys.executable, "-c", _APPEND_MANY, str(warehouse.root), name] for name in names]
    processes = [subprocess.Popen(command) for command in arguments]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    entries = verify_register(warehouse)
    assert [entry.number for entry in entries] == list(range(1, 46))
    for name in names:
        assert [e.reason for e in entries if e.by == name] == [f"number {number}" for number in range(15)]


@pytest.mark.parametrize("torn", [b'{"number": 2, "at"', b"\xff\xfe", b'{"number": 9}'])
def test_the_unfinished_line_of_a_killed_writer_is_skipped_and_then_replaced(
    warehouse: FolderWarehouse, torn: bytes
) -> None:
    _promote(warehouse, "a")
    path = warehouse.root / REGISTER_FILE
    path.write_bytes(path.read_bytes() + torn)
    assert len(read_register(warehouse)) == 1
    _promote(warehouse, "b")
    assert len(verify_register(warehouse)) == 2
    assert torn not in path.read_bytes()


def test_a_changed_a_removed_and_an_inserted_entry_are_found(warehouse: FolderWarehouse) -> None:
    for bundle in "abc":
        _promote(warehouse, bundle)
    path = warehouse.root / REGISTER_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    changed = json.loads(lines[1]) | {"by": "eve"}
    for spoiled, wrong in (
        ([lines[0], json.dumps(changed).encode() + b"\n", lines[2]], "line 2"),
        ([lines[0], lines[2]], "line 2"),
        ([lines[1], lines[2]], "line 1"),
        ([*lines, lines[2]], "line 4"),
        ([lines[0], b"\n", *lines[1:]], "line 2"),
    ):
        path.write_bytes(b"".join(spoiled))
        with pytest.raises(VerificationError, match=wrong):
            read_register(warehouse)
        with pytest.raises(VerificationError, match=wrong):
            _promote(warehouse, "d")


def test_a_register_that_was_cut_off_is_found_by_an_end_kept_elsewhere(warehouse: FolderWarehouse) -> None:
    for bundle in "ab":
        _promote(warehouse, bundle)
    end = register_end(read_register(warehouse))
    verify_register(warehouse, [("run 1", end)])
    path = warehouse.root / REGISTER_FILE
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    verify_register(warehouse)
    with pytest.raises(VerificationError, match="run 1"):
        verify_register(warehouse, [("run 1", end)])
    path.unlink()
    with pytest.raises(VerificationError, match="run 1"):
        verify_register(warehouse, [("run 1", end)])


@pytest.mark.parametrize(
    ("by", "reason"), [("", "why"), (" ", "why"), ("ada", ""), ("ada", "x\ny"), ("ada", "x" * 3000)]
)
def test_a_decision_needs_a_name_and_a_reason_on_one_line(warehouse: FolderWarehouse, by: str, reason: str) -> None:
    with pytest.raises(ConfigError):
        append(warehouse, action=RegisterAction.ADOPT, subject="ticket", by=by, reason=reason)
    assert read_register(warehouse) == ()


def test_a_demotion_holds_until_it_is_revoked_and_only_for_its_bundle(warehouse: FolderWarehouse) -> None:
    for label in ("fraud", "refund"):
        _decide(warehouse, RegisterAction.DEMOTE, "tickets", label=label)
    _decide(warehouse, RegisterAction.CONFIRM, "tickets", label="fraud")
    assert set(demoted_labels(read_register(warehouse), "tickets")) == {"fraud", "refund"}
    assert demoted_labels(read_register(warehouse), "receipts") == {}
    _decide(warehouse, RegisterAction.REVOKE, "tickets", label="refund")
    demoted = demoted_labels(read_register(warehouse), "tickets")
    assert {label: entry.number for label, entry in demoted.items()} == {"fraud": 1}


def test_the_last_promotion_stands_and_a_rollback_returns_to_an_earlier_one(warehouse: FolderWarehouse) -> None:
    assert _standing(warehouse) is None
    first, second, _ = [_promote(warehouse, bundle) for bundle in "abc"]
    seen = [_standing(warehouse)]
    for promotion in (second, first):
        _decide(warehouse, RegisterAction.ROLLBACK, entry=promotion.number)
        seen.append(_standing(warehouse))
    _promote(warehouse, "d")
    seen.append(_standing(warehouse))
    assert seen == ["c", "b", "a", "d"]
    assert [entry.details["bundle"] for entry in promotions(read_register(warehouse), "ticket").standing] == ["a", "d"]


def test_a_promotion_for_two_stands_once_another_person_approved_it(warehouse: FolderWarehouse) -> None:
    _promote(warehouse, "a")
    proposed = _promote(warehouse, "b", approvals=2)
    for again in ("ada", " ADA ", "\uff21da"):
        _decide(warehouse, RegisterAction.APPROVE, by=again, entry=proposed.number)
        assert _standing(warehouse) == "a"
    _decide(warehouse, RegisterAction.APPROVE, by="bob", entry=proposed.number)
    assert _standing(warehouse) == "b"


def test_a_later_promotion_ends_one_that_is_pending(warehouse: FolderWarehouse) -> None:
    proposed = _promote(warehouse, "a", approvals=2)
    assert promotions(read_register(warehouse), "ticket").pending == proposed
    _promote(warehouse, "b")
    _decide(warehouse, RegisterAction.APPROVE, by="bob", entry=proposed.number)
    assert promotions(read_register(warehouse), "ticket").pending is None
    assert _standing(warehouse) == "b"


def test_an_entry_without_the_details_that_its_action_needs_is_never_written(warehouse: FolderWarehouse) -> None:
    for action, details in (
        (RegisterAction.DEMOTE, {}),
        (RegisterAction.DEMOTE, {"label": 7}),
        (RegisterAction.PROMOTE, {"bundle": "a", "digest": "d", "approvals": "2"}),
        (RegisterAction.ROLLBACK, {"entry": True}),
        (RegisterAction.ADOPT, {"share": float("nan")}),
    ):
        with pytest.raises(ConfigError, match="details"):
            _decide(warehouse, action, **details)
    assert read_register(warehouse) == ()
