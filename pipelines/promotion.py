"""Promotion: the bundle that stands for a document type, put there, approved and taken back by people on record.

A promoted bundle is copied into the warehouse as `bundles/<name>@<digest>`, so that its runs depend on no other folder
and a rollback finds it again. The copy is there, whole and checked, before the register names it: killed in between, a
promotion has changed nothing, and the same command completes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle import ModelBundle, load_bundle
from pipelines.terminal import counted
from schemas.codes import RegisterAction
from schemas.errors import BundleError, ConfigError, VerificationError
from schemas.governance import GOVERNANCE_FILE, Governance, parse_governance
from warehouse.interface import Warehouse
from warehouse.manifest import read_manifest
from warehouse.places import open_warehouse, warehouse_at
from warehouse.register import (
    Entry,
    OpenRegister,
    Promotions,
    RegisterEnd,
    demoted_labels,
    open_register,
    person_key,
    promotions,
    register_end,
    standing_bundle,
    verify_register,
)


@dataclass(frozen=True)
class Decided:
    """The outcome of a command that decides.

    Attributes:
        entry: that says so; of an earlier command where this one changed nothing.
        standing: the promotion whose bundle the next run uses; None where there is none yet.
        changed: False where all was already as asked.
        missing: people who still have to approve.
    """

    entry: Entry
    standing: Entry | None
    changed: bool = True
    missing: int = 0

    def values(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {
            "entry": self.entry.values(),
            "changed": self.changed,
            "approvals_missing": self.missing,
            "standing": None if self.standing is None else self.standing.details["bundle"],
        }

    def words(self) -> str:
        """The outcome in one line."""
        kind, stands = self.entry.subject, self.standing.details["bundle"] if self.standing else "nothing"
        done = f"entry {self.entry.number}" if self.changed else f"nothing to do since entry {self.entry.number}"
        if self.missing:
            return (
                f"{done}: waits for {self.missing} more of the people who must approve: "
                f"docyard approve {self.entry.details.get('entry', self.entry.number)} --by NAME; "
                f"until then {stands} stands for {kind}"
            )
        further = "; --to NAME@DIGEST returns further" if self.entry.action is RegisterAction.ROLLBACK else ""
        return f"{done}: {stands} stands for {kind}{'' if self.changed else further}"


def promote(folder: Path, warehouse_folder: str, by: str, reason: str, uncertified: bool = False) -> Decided:
    """Makes a bundle the standing one of its document type, or proposes it where the warehouse asks for approvals.

    Args:
        folder: of the bundle.
        warehouse_folder: the warehouse; made if need be.
        by: the person who promotes it.
        reason: in that person's words.
        uncertified: True to promote a bundle that accepts nothing, because no certificate proves its policy.

    Raises:
        BundleError: the bundle, or the warehouse's copy of it, is not what its hashes say, or has no certificate.
        ConfigError: an unusable name or reason, or rules of the warehouse that cannot be read.
        LockedError: another process holds the register.
        VerificationError: the register was changed.
    """
    bundle = load_bundle(folder.absolute())
    if not uncertified and bundle.certificate is None:
        raise BundleError(
            f"{folder}: no certificate proves its policy, so its runs would accept nothing; certify it with `docyard "
            "certify`, or promote it all the same with --uncertified"
        )
    warehouse = open_warehouse(warehouse_folder)
    needed = _governance(warehouse).approvals
    with open_register(warehouse) as register:
        state = promotions(register.entries, bundle.document_type)
        asked = state.pending or (state.standing[-1] if state.standing else None)
        if asked is not None and asked.details["digest"] == bundle.digest:
            _checked_copy(warehouse, asked)
            return _decided(register, asked, changed=False)
        _copy(bundle, warehouse)
        details = {
            "bundle": bundle.reference,
            "digest": bundle.digest,
            "approvals": needed,
            "certificate_sha256": "" if bundle.certificate is None else bundle.certificate.sha256,
        }
        entry = register.append(
            action=RegisterAction.PROMOTE, subject=bundle.document_type, by=by, reason=reason, details=details
        )
        return _decided(register, entry)


def approve(number: int, warehouse_folder: str, by: str, reason: str) -> Decided:
    """Agrees to a promotion that waits for another person.

    Args:
        number: of the promotion's entry in the register.
        warehouse_folder: the warehouse.
        by: the person who approves; none of those who stand behind it already.
        reason: in that person's words.

    Raises:
        ConfigError: no promotion of that number waits, or this person stands behind it already.
        BundleError: the warehouse's copy of the bundle is not what was proposed.
    """
    warehouse = _with_register(warehouse_folder)
    with open_register(warehouse) as register:
        entry = register.entries[number - 1] if 1 <= number <= len(register.entries) else None
        state = promotions(register.entries, entry.subject) if entry is not None else Promotions()
        if entry is None or state.pending != entry:
            raise ConfigError(
                f"entry {number} of the register is no promotion that waits for approval; `docyard register "
                f"--warehouse {warehouse_folder}` lists those that do"
            )
        if person_key(by) in state.approved_by:
            raise ConfigError(f"{by!r} stands behind entry {number} already; another person must approve it")
        _checked_copy(warehouse, entry)
        done = register.append(
            action=RegisterAction.APPROVE, subject=entry.subject, by=by, reason=reason, details={"entry": number}
        )
        return _decided(register, done)


def rollback(document_type: str, warehouse_folder: str, by: str, reason: str, to: str = "") -> Decided:
    """Takes the last promotion of a document type back; done again, it changes nothing.

    One that still waits for approval is withdrawn, and the standing bundle stays.

    Args:
        document_type: the kind of document.
        warehouse_folder: the warehouse.
        by: the person who decides.
        reason: in that person's words.
        to: name@digest of the bundle to return to; "" for the one before the last promotion.

    Raises:
        ConfigError: there is no bundle to return to.
        BundleError: the warehouse's copy of it is not what was promoted.
    """
    warehouse = _with_register(warehouse_folder)
    with open_register(warehouse) as register:
        state = promotions(register.entries, document_type)
        if state.pending is None and state.rollback is not None and to in ("", _reference(state)):
            return _decided(register, state.rollback, changed=False)
        if state.pending is None and state.standing and to == _reference(state):
            return _decided(register, state.standing[-1], changed=False)
        target = _target(state, document_type, to)
        if target is not None:
            _checked_copy(warehouse, target)
        entry = register.append(
            action=RegisterAction.ROLLBACK,
            subject=document_type,
            by=by,
            reason=reason,
            details={"entry": target.number, "bundle": target.details["bundle"]} if target else {"entry": 0},
        )
        return _decided(register, entry)


def _reference(state: Promotions) -> str:
    return str(state.standing[-1].details["bundle"]) if state.standing else ""


def _target(state: Promotions, document_type: str, to: str) -> Entry | None:
    """The promotion that stands after a rollback; None where a proposal is withdrawn before anything stood."""
    if state.pending is not None and to in ("", _reference(state)):
        return state.standing[-1] if state.standing else None
    if not state.standing:
        raise ConfigError(f"no bundle stands for documents of type {document_type!r}; there is nothing to take back")
    earlier = [entry for entry in state.standing[:-1] if to in ("", entry.details["bundle"])]
    if not earlier:
        found = ", ".join(str(entry.details["bundle"]) for entry in state.standing[:-1]) or "none"
        asked = f"{to!r} did not stand" if to else "no bundle stood"
        raise ConfigError(
            f"{asked} for documents of type {document_type!r} before {_reference(state)}; earlier bundles: {found}"
        )
    return earlier[-1]


def load_standing(warehouse: Warehouse, entries: Sequence[Entry], document_type: str) -> ModelBundle:
    """The bundle that stands for a document type, from the warehouse's own copy.

    Raises:
        ConfigError: none stands.
        BundleError: the copy is not what was promoted.
    """
    entry = standing_bundle(entries, document_type)
    if entry is None:
        raise ConfigError(
            f"no bundle stands for documents of type {document_type!r} in {warehouse.place}; promote one with `docyard "
            "promote`, or name a bundle's folder (--bundle)"
        )
    return _checked_copy(warehouse, entry)


def register_state(warehouse_folder: str) -> dict[str, Any]:
    """The register of a warehouse, verified against itself and against every run that obeyed it.

    Returns:
        `entries`, and what follows from them: `standing` and `pending` (document type -> reference and number),
        `demoted` (bundle's name -> labels), and `end` (number and sha256).

    Raises:
        VerificationError: entries were changed, removed or inserted.
        ConfigError: the folder holds no warehouse.
    """
    warehouse = _with_register(warehouse_folder)
    entries = verify_register(warehouse, _known_ends(warehouse))
    standing: dict[str, Any] = {}
    pending: dict[str, Any] = {}
    demoted: dict[str, list[str]] = {}
    for document_type in sorted({entry.subject for entry in entries if entry.action is RegisterAction.PROMOTE}):
        state = promotions(entries, document_type)
        for found, into in ((state.standing[-1:], standing), ((state.pending,), pending)):
            for entry in found:
                if entry is not None:
                    into[document_type] = {"bundle": entry.details["bundle"], "entry": entry.number}
    for name in sorted({entry.subject for entry in entries if entry.action is RegisterAction.DEMOTE}):
        if labels := demoted_labels(entries, name):
            demoted[name] = sorted(labels)
    end = register_end(entries)
    return {
        "entries": [entry.values() for entry in entries],
        "standing": standing,
        "pending": pending,
        "demoted": demoted,
        "end": {"number": end.number, "sha256": end.sha256},
    }


def describe_register(state: dict[str, Any]) -> str:
    """The register for a terminal: its entries, then what is in force."""
    lines = [
        f"{entry['number']:>5}  {entry['at']}  {entry['action']:<8}  {entry['subject']}  {_about(entry['details'])}  "
        f"by {entry['by']}: {entry['reason']}"
        for entry in state["entries"]
    ]
    lines += [f"standing for {kind}: {found['bundle']}" for kind, found in state["standing"].items()]
    lines += [
        f"waits for approval for {kind}: {found['bundle']} (entry {found['entry']})"
        for kind, found in state["pending"].items()
    ]
    lines += [f"demoted in {name}: {', '.join(labels)}" for name, labels in state["demoted"].items()]
    end = state["end"]
    entries = counted(end["number"], "entry", "entries")
    return "\n".join([*lines, f"{entries}, unbroken; end {end['number']}:{end['sha256']}"])


def _about(details: dict[str, Any]) -> str:
    return " ".join(str(details[key]) for key in ("bundle", "label", "entry") if key in details)


def _decided(register: OpenRegister, entry: Entry, *, changed: bool = True) -> Decided:
    state = promotions(register.entries, entry.subject)
    missing = 0
    if state.pending is not None and entry.action is not RegisterAction.ROLLBACK:
        missing = state.pending.details["approvals"] - len(state.approved_by)
    return Decided(entry, state.standing[-1] if state.standing else None, changed, missing)


def _governance(warehouse: Warehouse) -> Governance:
    try:
        content = warehouse.read(GOVERNANCE_FILE)
    except FileNotFoundError:
        return Governance()
    return parse_governance(content, warehouse.location(GOVERNANCE_FILE))


def _with_register(place: str) -> Warehouse:
    warehouse = warehouse_at(place)
    if not (warehouse.exists() or (warehouse.folder and warehouse.folder.is_dir())):
        raise ConfigError(f"{place}: no warehouse here; name the place that holds it (--warehouse)")
    return warehouse


def _known_ends(warehouse: Warehouse) -> list[tuple[str, RegisterEnd]]:
    """The ends that the runs of a warehouse recorded; a damaged manifest is for `docyard verify` to tell."""
    ends = []
    for run_id in warehouse.run_ids():
        try:
            ends.append((f"run {run_id}", read_manifest(warehouse, run_id).register))
        except VerificationError:
            continue
    return ends


def _checked_copy(warehouse: Warehouse, promotion: Entry) -> ModelBundle:
    """The warehouse's copy of a promoted bundle.

    Raises:
        BundleError: it is not there, or not what was promoted.
    """
    reference = promotion.details["bundle"]
    place = warehouse.location(f"bundles/{reference}")
    try:
        bundle = load_bundle(warehouse.bundle_folder(reference))
    except BundleError as error:
        raise BundleError(
            f"the promoted bundle was changed: {error}; or put the bundle's files into {place} again"
        ) from None
    if bundle.digest != promotion.details["digest"]:
        raise BundleError(
            f"{place}: not the bundle that entry {promotion.number} of the register promoted: expected the digest "
            f"{promotion.details['digest']}, found {bundle.digest}; put the right files there"
        )
    return bundle


def _copy(bundle: ModelBundle, warehouse: Warehouse) -> None:
    """Copies a bundle into the warehouse in one step; call it while the register is held."""
    warehouse.keep_bundle(bundle.reference, bundle.folder)
    place = warehouse.location(f"bundles/{bundle.reference}")
    if (found := load_bundle(warehouse.bundle_folder(bundle.reference)).digest) != bundle.digest:
        raise BundleError(f"{place}: holds the bundle {found}, not {bundle.digest}; move it away")
