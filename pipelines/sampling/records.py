"""Records of an export in order of arrival, the broken ones scattered among them, every way of breaking in its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from pipelines.sampling.breaking import Break, Fields
from pipelines.sampling.export import Outcome, Record
from schemas.codes import Reason

SAME_FILE = "the same file"
Broken = Break | str  # how a record is broken, or the file of which it repeats an id

Make = Callable[[int, Random], Record]
"""The good record at a place, counted from 0."""


def plan_broken(ways: list[tuple[str, Broken]], n_broken: int, names: Iterable[str]) -> dict[str, list[Broken]]:
    """File name → how its broken records are broken; every one of `ways` occurs before any occurs again."""
    planned: dict[str, list[Broken]] = {name: [] for name in names}
    for number in range(max(len(ways), n_broken)):
        name, way = ways[number % len(ways)]
        planned[name].append(way)
    return planned


def sizes(n_documents: int, shares: Iterable[float]) -> list[int]:
    """`n_documents` cut by `shares`; what rounding leaves goes to the first."""
    cut = [round(n_documents * share) for share in shares]
    cut[0] += n_documents - sum(cut)
    return cut


def write_records(
    n_records: int, broken: list[Broken], make: Make, repeated: tuple[str, ...], before: list[Record], random: Random
) -> list[Record]:
    """The records of one file, the broken ones after its first quarter.

    Args:
        repeated: the fields that a record has from the earlier one when it came in again.
        before: the records of the file that a way other than SAME_FILE names.
    """
    places = dict(zip(random.sample(range(n_records // 4, n_records), len(broken)), broken, strict=True))
    records: list[Record] = []
    for place in range(n_records):
        record = make(place, random)
        way = places.get(place)
        if isinstance(way, Break):
            record = way.apply(record.fields, random)
        elif way is not None:
            record = _repeat(record.fields, repeated, records if way == SAME_FILE else before, random)
        records.append(record)
    return records


def _repeat(fields: Fields, repeated: tuple[str, ...], originals: list[Record], random: Random) -> Record:
    original = random.choice([record for record in originals if record.outcome is not Outcome.BROKEN])
    again = fields | {name: original.fields[name] for name in repeated}
    return Record(again, Reason.DUPLICATE_ID.value, Outcome.BROKEN, known_id=again["id"])
