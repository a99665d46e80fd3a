"""Demotions of labels: written into the warehouse's register when audits break a bound, judged there by two people.

A demotion holds at once. The votes of people are in the queue, with their events of the audit trail; once two of them
agree, the register gets an entry. Register and queue are two stores: a kill between them is made good by the next call
of `record_verdicts`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from escalation.database import reading
from escalation.events import Event, append_event
from escalation.people.rules import Person, Refusal, RefusalCode
from escalation.tables import demotion_votes
from schemas.codes import DemotionVerdict, RegisterAction, ReviewAction
from warehouse.interface import Warehouse
from warehouse.register import Entry, open_register

AUDITOR = "docyard audits"
VOTES = 2
MAX_REASON_CHARS = 1000
_ACTIONS = {DemotionVerdict.CONFIRM: RegisterAction.CONFIRM, DemotionVerdict.REVOKE: RegisterAction.REVOKE}


@dataclass(frozen=True)
class Demotion:
    """A demoted label of a bundle, and what followed.

    Attributes:
        entry: of the register, which demoted it.
        confirmed: the entry that confirmed it; None where there is none.
        revoked: the entry that lifted it; None while it is in force.
    """

    entry: Entry
    confirmed: Entry | None = None
    revoked: Entry | None = None

    @property
    def label(self) -> str:
        return str(self.entry.details["label"])

    @property
    def bundle(self) -> str:
        """Name and digest of the bundle whose answers were audited."""
        return str(self.entry.details["bundle"])

    @property
    def document_type(self) -> str:
        return str(self.entry.details["document_type"])

    @property
    def voted_on(self) -> int:
        """Number of the entry that people can vote on now: a confirmed demotion can still be revoked."""
        return (self.confirmed or self.entry).number


def find_demotions(entries: Sequence[Entry], bundle: str = "") -> list[Demotion]:
    """The demotions that audits led to, oldest first; of all bundles, or of one, whatever its digest."""
    found: list[Demotion] = []
    last: dict[tuple[str, str], int] = {}
    for entry in entries:
        place = entry.subject, str(entry.details.get("label", ""))
        if entry.action is RegisterAction.DEMOTE and {"bundle", "document_type"} <= set(entry.details):
            if place not in last or found[last[place]].revoked is not None:
                last[place] = len(found)
                found.append(Demotion(entry))
        elif place in last and entry.action is RegisterAction.CONFIRM:
            found[last[place]] = replace(found[last[place]], confirmed=entry)
        elif place in last and entry.action is RegisterAction.REVOKE:
            found[last[place]] = replace(found[last[place]], revoked=entry)
    name = bundle_name(bundle)
    return [each for each in found if not name or each.entry.subject == name]


def last_revocations(entries: Sequence[Entry], bundle: str) -> dict[str | None, Entry]:
    """The last entry that lifted a demotion of each label of a bundle."""
    return {each.label: each.revoked for each in find_demotions(entries, bundle) if each.revoked is not None}


def bundle_name(reference: str) -> str:
    """The name in a bundle's reference, name@digest."""
    return reference.rpartition("@")[0] or reference


def votes_on(connection: sa.Connection) -> Mapping[int, list[sa.RowMapping]]:
    """All votes by the number of the entry they are about, in order."""
    found: dict[int, list[sa.RowMapping]] = defaultdict(list)
    every = sa.select(demotion_votes).order_by(demotion_votes.c.at, demotion_votes.c.person)
    for row in connection.execute(every).mappings():
        found[row["number"]].append(row)
    return found


def vote(
    connection: sa.Connection,
    person: Person,
    demotion: Demotion,
    verdict: DemotionVerdict,
    reason: str,
    now: int,
) -> None:
    """Takes a person's verdict on a demotion; `record_verdicts` then writes what two of them agree on.

    Raises:
        Refusal: the role does not judge, the person has voted, the demotion is decided, or there is no reason.
    """
    if not person.judges:
        raise Refusal(RefusalCode.ROLE, f"The role {person.role.value} does not judge demotions.")
    if demotion.revoked is not None:
        raise Refusal(RefusalCode.NOT_OPEN, "This demotion was revoked.")
    if demotion.confirmed is not None and verdict is DemotionVerdict.CONFIRM:
        raise Refusal(RefusalCode.NOT_OPEN, "This demotion is confirmed already.")
    if not reason or len(reason) > MAX_REASON_CHARS:
        raise Refusal(RefusalCode.COMMENT_MISSING, f"Give a reason of at most {MAX_REASON_CHARS:,} characters.")
    number = demotion.voted_on
    votes = votes_on(connection).get(number, [])
    if person.name in {row["person"] for row in votes}:
        raise Refusal(RefusalCode.SAME_PERSON, "You have voted on this demotion; another person must vote now.")
    if any(count >= VOTES for count in Counter(row["verdict"] for row in votes).values()):
        raise Refusal(RefusalCode.NOT_OPEN, "Two people have decided this demotion.")
    row = {"number": number, "person": person.name, "verdict": verdict.value, "reason": reason, "at": now}
    connection.execute(sa.insert(demotion_votes), row)
    details = {"entry": number, "verdict": verdict.value, "label": demotion.label, "bundle": demotion.bundle}
    append_event(connection, Event(person.actor, ReviewAction.DEMOTION_JUDGED, None, details), now)


def record_verdicts(engine: sa.Engine, warehouse: Warehouse) -> int:
    """Writes into the register what two people agreed on and is not there yet; returns how many entries."""
    with reading(engine) as connection:
        votes = votes_on(connection)
    agreed = {number: verdict for number, rows in votes.items() if (verdict := _agreed(rows)) is not None}
    if not agreed:
        return 0
    written = 0
    with open_register(warehouse) as register:
        for demotion in find_demotions(register.entries):
            verdict = agreed.get(demotion.voted_on)
            if verdict is None or demotion.revoked is not None:
                continue
            by = sorted(row["person"] for row in votes[demotion.voted_on] if row["verdict"] == verdict.value)
            named = ("label", "bundle", "document_type")
            register.append(
                action=_ACTIONS[verdict],
                subject=demotion.entry.subject,
                by=" and ".join(by[:VOTES]),
                reason=f"two people agreed to {verdict.value} it",
                details={name: demotion.entry.details[name] for name in named} | {"entry": demotion.voted_on},
            )
            written += 1
    return written


def _agreed(rows: Sequence[sa.RowMapping]) -> DemotionVerdict | None:
    counts = Counter(row["verdict"] for row in rows)
    return next((verdict for verdict in DemotionVerdict if counts[verdict.value] >= VOTES), None)
