"""The register of a warehouse: who decided, and when, about what its runs answer with.

`register.jsonl` is append-only, one JSON object per line. Each entry holds the hash of the one before, so a changed,
removed or inserted entry breaks the chain at its place. A register that was cut off at its end still is a chain; it is
found by comparing it with an end that was kept elsewhere, as every run's manifest keeps one.

Entries are written one at a time under a lock, and are on the disk when `append` returns. A writer that was killed can
leave a line without an end: readers skip it, and the next writer removes it, since nobody was told of that entry.

What is in force follows from the entries alone: `standing_bundle` and `demoted_labels`.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.codes import RegisterAction
from schemas.configuration import validated
from schemas.errors import ConfigError, VerificationError
from warehouse.layout import REGISTER_FILE

MAX_WORDS = 2_000
"""Characters of a name or a reason."""

# What follows from an entry rests on these details of it.
_DETAILS: dict[RegisterAction, dict[str, type]] = {
    RegisterAction.PROMOTE: {"bundle": str, "digest": str, "approvals": int},
    RegisterAction.APPROVE: {"entry": int},
    RegisterAction.ROLLBACK: {"entry": int},
    RegisterAction.DEMOTE: {"label": str},
    RegisterAction.CONFIRM: {"label": str},
    RegisterAction.REVOKE: {"label": str},
}
_KEYS = ("number", "at", "action", "subject", "by", "reason", "details", "previous")


@dataclass(frozen=True)
class Entry:
    """One decision on record.

    Attributes:
        number: 1, 2, 3 …
        at: ISO 8601, UTC.
        action: what was decided.
        subject: a document type; of demotions, confirmations and revocations the bundle's name.
        by: the person, or the process, that decided.
        reason: in that one's words; never document text.
        details: JSON values: of promotions `bundle` (its reference), `digest`, `approvals` (people needed) and
            `certificate_sha256`; of approvals and rollbacks `entry`, the promotion's number; of demotions and what
            follows them `label`.
        previous: hash of the entry before; empty in the first one.
        sha256: of all the above, in hexadecimal.
    """

    number: int
    at: str
    action: RegisterAction
    subject: str
    by: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)
    previous: str = ""
    sha256: str = ""

    def values(self) -> dict[str, Any]:
        """The entry as it stands in the file."""
        return {key: getattr(self, key) for key in (*_KEYS, "sha256")} | {"action": self.action.value}


@validated
class RegisterEnd:
    """The last entry at some moment."""

    number: int = 0
    """Its number; 0 of an empty register."""
    sha256: str = ""
    """Its hash, in hexadecimal."""


class Registry(Protocol):
    """The warehouse, as far as the register needs it; `warehouse.interface` says more."""

    def register(self) -> bytes: ...
    def hold_register(self) -> contextlib.AbstractContextManager[None]: ...
    def append_entry(self, number: int, offset: int, line: bytes) -> None: ...
    def location(self, name: str) -> str: ...


class OpenRegister:
    """The register while its lock is held, so that a decision can rest on what it read."""

    def __init__(self, warehouse: Registry, entries: tuple[Entry, ...], size: int) -> None:
        self._warehouse = warehouse
        self._size = size
        self.entries = entries

    def append(
        self,
        *,
        action: RegisterAction,
        subject: str,
        by: str,
        reason: str,
        details: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Appends an entry; it is on the disk when this returns.

        Raises:
            ConfigError: an empty or overlong name, subject or reason, or details that are no JSON or lack what their
                action needs.
            StorageError: the file cannot be written.
        """
        details = _as_json(details or {})
        try:
            _check(RegisterAction(action), {"subject": subject, "by": by, "reason": reason}, details)
        except ValueError as error:
            raise ConfigError(f"an entry of the register: {error}") from None
        entry = Entry(
            number=len(self.entries) + 1,
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            action=RegisterAction(action),
            subject=subject,
            by=by,
            reason=reason,
            details=details,
            previous=register_end(self.entries).sha256,
        )
        entry = Entry(**{**vars(entry), "sha256": _entry_hash(entry.values())})
        line = (json.dumps(entry.values(), ensure_ascii=False, sort_keys=True) + "\n").encode()
        self._warehouse.append_entry(entry.number, self._size, line)
        self._size += len(line)
        self.entries = (*self.entries, entry)
        return entry


@contextlib.contextmanager
def open_register(warehouse: Registry) -> Iterator[OpenRegister]:
    """Holds the register: nobody else appends meanwhile, or the append of one of both fails.

    Raises:
        LockedError: another process has held it for over half a minute.
        VerificationError: the register is not what was written.
        StorageError: this user may not read or write there.
    """
    with warehouse.hold_register():
        entries, size = _read(warehouse)
        yield OpenRegister(warehouse, entries, size)


def append(
    warehouse: Registry,
    *,
    action: RegisterAction,
    subject: str,
    by: str,
    reason: str,
    details: Mapping[str, Any] | None = None,
) -> Entry:
    """Appends one entry; raises as `open_register` and `OpenRegister.append` do."""
    with open_register(warehouse) as register:
        return register.append(action=action, subject=subject, by=by, reason=reason, details=details)


def read_register(warehouse: Registry) -> tuple[Entry, ...]:
    """All entries, oldest first; none where there is no register. Writes nothing and waits for nobody.

    Raises:
        VerificationError: the register is not what was written; the message names the first wrong line.
        StorageError: this user may not read it.
    """
    return _read(warehouse)[0]


def verify_register(warehouse: Registry, known: Sequence[tuple[str, RegisterEnd]] = ()) -> tuple[Entry, ...]:
    """Reads the register and compares it with ends that were kept elsewhere.

    Args:
        warehouse: whose register it is.
        known: where each end was kept, and the end.

    Raises:
        VerificationError: the chain is broken, or does not hold one of the known ends.
    """
    entries = read_register(warehouse)
    for where, end in known:
        if end.number and (len(entries) < end.number or entries[end.number - 1].sha256 != end.sha256):
            raise VerificationError(
                f"{warehouse.location(REGISTER_FILE)}: {where} was made under entry {end.number} with the hash "
                f"{end.sha256[:12]}, which is no longer there: entries were removed or rewritten; restore the file"
            )
    return entries


def register_end(entries: Sequence[Entry]) -> RegisterEnd:
    """The end of these entries."""
    return RegisterEnd(entries[-1].number, entries[-1].sha256) if entries else RegisterEnd()


def demoted_labels(entries: Sequence[Entry], bundle_name: str) -> dict[str, Entry]:
    """The labels of a bundle whose answers no run accepts, each with the demotion that is in force.

    A demotion holds at once and stays until people revoke it; a confirmation changes nothing here. It holds for every
    bundle of that name, also for one that is trained again.
    """
    demoted: dict[str, Entry] = {}
    for entry in entries:
        label = entry.details.get("label")
        if entry.subject != bundle_name or not isinstance(label, str):
            continue
        if entry.action is RegisterAction.DEMOTE:
            demoted.setdefault(label, entry)
        elif entry.action is RegisterAction.REVOKE:
            demoted.pop(label, None)
    return demoted


@dataclass(frozen=True)
class Promotions:
    """The promotions of one document type.

    Attributes:
        standing: those that took effect and were not rolled back, oldest first; runs use the bundle of the last one.
        pending: one that still waits for approval.
        approved_by: keys of the people who stand behind `pending`, its proposer among them.
        rollback: the rollback after which the last one of `standing` stands; None where a promotion put it there.
    """

    standing: tuple[Entry, ...] = ()
    pending: Entry | None = None
    approved_by: tuple[str, ...] = ()
    rollback: Entry | None = None


def promotions(entries: Sequence[Entry], document_type: str) -> Promotions:
    """The promotions of a document type, as the entries leave them.

    A promotion that asks for more than one person takes effect with the last approval. A later promotion or rollback of
    the type ends one that is pending: it was proposed when another bundle stood.
    """
    state = Promotions()
    for entry in entries:
        if entry.subject != document_type:
            continue
        if entry.action is RegisterAction.PROMOTE:
            state = _approved(Promotions(state.standing, entry, (person_key(entry.by),), state.rollback))
        elif entry.action is RegisterAction.APPROVE:
            if state.pending is not None and entry.details.get("entry") == state.pending.number:
                people = tuple(dict.fromkeys((*state.approved_by, person_key(entry.by))))
                state = _approved(Promotions(state.standing, state.pending, people, state.rollback))
        elif entry.action is RegisterAction.ROLLBACK:
            kept = [promotion for promotion in state.standing if promotion.number <= entry.details.get("entry", 0)]
            state = Promotions(tuple(kept), rollback=entry)
    return state


def standing_bundle(entries: Sequence[Entry], document_type: str) -> Entry | None:
    """The promotion whose bundle the runs of a document type use now; None where there is none."""
    standing = promotions(entries, document_type).standing
    return standing[-1] if standing else None


def person_key(name: str) -> str:
    """The one form of a name that is compared: letter case, forms of a letter and white space make no other person."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _approved(state: Promotions) -> Promotions:
    assert state.pending is not None
    if len(state.approved_by) < state.pending.details.get("approvals", 1):
        return state
    return Promotions((*state.standing, state.pending))


def _read(warehouse: Registry) -> tuple[tuple[Entry, ...], int]:
    """The entries, and the bytes they take up: what follows them is the unfinished line of a killed writer."""
    content = warehouse.register()
    size = content.rfind(b"\n") + 1
    entries: list[Entry] = []
    for number, line in enumerate(content[:size].splitlines(), start=1):
        try:
            entries.append(_entry(line, number, register_end(entries).sha256))
        except ValueError as error:
            raise VerificationError(
                f"{warehouse.location(REGISTER_FILE)}: line {number}: {error}; the register was changed after it was "
                "written: restore the file, no run starts before"
            ) from None
    return tuple(entries), size


def _entry(line: bytes, number: int, previous: str) -> Entry:
    """Reads one line.

    Raises:
        ValueError: it is not entry `number`, or does not follow the entry with the hash `previous`.
    """
    try:
        values = json.loads(line)
    except ValueError:
        raise ValueError("not JSON") from None
    if not isinstance(values, dict) or set(values) != {*_KEYS, "sha256"} or not isinstance(values["details"], dict):
        raise ValueError(f"expected an entry with the keys {', '.join(_KEYS)} and sha256")
    if values["sha256"] != _entry_hash(values):
        raise ValueError("it does not have the hash it names")
    if values["number"] != number or values["previous"] != previous:
        raise ValueError("it does not follow the line before")
    _check(
        RegisterAction(values["action"]),
        {key: values[key] for key in ("subject", "by", "reason", "at")},
        values["details"],
    )
    return Entry(**{**values, "action": RegisterAction(values["action"])})


def _entry_hash(values: Mapping[str, Any]) -> str:
    content = json.dumps([values[key] for key in _KEYS], separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def _check(action: RegisterAction, texts: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Refuses what no reader could rely on, or show.

    Raises:
        ValueError: a text is empty, too long or not printable, or a detail is missing or of another kind.
    """
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip() or len(text) > MAX_WORDS or not text.isprintable():
            raise ValueError(f"{name}: expected 1 to {MAX_WORDS:,} printable characters on one line")
    for name, kind in _DETAILS.get(action, {}).items():
        if type(details.get(name)) is not kind:
            raise ValueError(f"details of {action.value}: expected {name}, of type {kind.__name__}")


def _as_json(details: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the details that is what will be read back."""
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(details), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"details: expected JSON values: {error}") from None
    return copied
