"""The values that fill the slots of one contract: who its parties are, what it is about, its terms and numbers."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pipelines.sampling.slots import Slot, among, person

_NAMES = (
    "Alderwick", "Brackenfield", "Calderon Bay", "Dunmere", "Eastvale", "Fernhollow", "Glasswater", "Hartlebury Moor",
    "Ivorstone", "Juniper Hill", "Kestrelway", "Larkmoor", "Marrowdale", "Northquay", "Oakenshore", "Pellworth",
    "Quillmark", "Ravensmead", "Saltmarsh", "Thistledown", "Umberline", "Vantry", "Wexcombe", "Yarrowgate", "Zephyrine",
)  # fmt: skip
_TRADES = (
    "Robotics", "Foods", "Biosciences", "Logistics", "Media", "Software", "Instruments", "Energy", "Networks",
    "Hospitality", "Pharma", "Textiles", "Outdoor", "Analytics", "Packaging", "Sports", "Aviation", "Water",
)  # fmt: skip
_FORMS = ("Inc.", "Ltd", "LLC", "GmbH", "Corporation", "plc", "B.V.", "Pty Ltd", "S.A.")
_LAWS = (
    "the State of New York", "the State of Delaware", "the State of California", "England and Wales", "Ireland",
    "the Province of Ontario", "the State of Texas", "the Netherlands", "Singapore", "the Federal Republic of Germany",
)  # fmt: skip
_TERRITORIES = (
    "the Nordic countries", "North America", "the member states of the European Union", "the United Kingdom",
    "the countries listed in Schedule 1", "Australia and New Zealand", "Japan", "the States of Ohio and Indiana",
)  # fmt: skip
_STREETS = ("Lantern Road", "Old Foundry Lane", "Marsh Street", "Pier Walk", "Quarry Avenue", "Windmill Close")
_TOWNS = ("Eldermouth", "Fairhollow", "Brackwater", "Norwick Falls", "Saint Orrin", "Upper Tansley", "Port Lunden")
_WORDS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
_PERIODS = {15: "fifteen", 20: "twenty", 24: "twenty-four", 30: "thirty", 45: "forty-five", 60: "sixty", 90: "ninety"}
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """The subject of a contract.

    Attributes:
        roles: of the party that provides and of the party that receives.
        goods: the thing provided, as a defined term, and its definition.
        activities: the recitals' words on each party; they follow its role.
    """

    title: str
    roles: tuple[str, str]
    goods: tuple[str, str]
    activities: tuple[str, str]


SUBJECTS: tuple[Subject, ...] = (
    Subject("Software Licence Agreement", ("Licensor", "Licensee"),
            ("the Software", "the computer programs listed in Schedule 1, in object code form"),
            ("has developed and owns certain software", "wishes to use that software in its business")),
    Subject("Master Services Agreement", ("Supplier", "Customer"),
            ("the Services", "the services described in Schedule 1 and in each Order"),
            ("provides consulting and operating services", "wishes to obtain such services")),
    Subject("Distribution Agreement", ("Company", "Distributor"),
            ("the Products", "the products listed in Schedule 1, as amended from time to time"),
            ("manufactures and sells certain products", "has a sales organisation in the Territory")),
    Subject("Manufacturing and Supply Agreement", ("Manufacturer", "Buyer"),
            ("the Products", "the finished goods that conform to the Specifications"),
            ("operates facilities for the manufacture of goods", "wishes to purchase its requirements of such goods")),
    Subject("Co-Branding and Marketing Agreement", ("Publisher", "Sponsor"),
            ("the Promotions", "the advertising and promotions described in Schedule 1"),
            ("operates a popular service for consumers", "wishes to reach the users of that service")),
    Subject("Franchise Agreement", ("Franchisor", "Franchisee"),
            ("the System", "the business format, recipes, manuals and know-how of the Franchisor"),
            ("has developed a system for the operation of restaurants", "wishes to operate a restaurant under it")),
    Subject("Joint Development Agreement", ("Developer", "Partner"),
            ("the Results", "all results of the work under the Project Plan"),
            ("has expertise in the design of instruments", "is active in the research of new materials")),
    Subject("Hosting and Maintenance Agreement", ("Provider", "Client"),
            ("the Hosted Service", "the hosting, support and maintenance described in Schedule 1"),
            ("operates data centres and hosts applications", "wishes to have its application hosted")),
    Subject("Reseller Agreement", ("Vendor", "Reseller"),
            ("the Products", "the equipment and licences in the price list of the Vendor"),
            ("supplies equipment and licences to resellers", "resells such equipment to its own customers")),
    Subject("Consulting Agreement", ("Consultant", "Company"),
            ("the Services", "the advice and the reports described in each Statement of Work"),
            ("has experience in the matters described below", "wishes to retain the Consultant")),
)  # fmt: skip


@dataclass(frozen=True)
class Party:
    """One party of a contract: who it is and how the contract calls it, such as "the Supplier"."""

    name: str
    address: str
    term: str
    signatory: str


def parties(subject: Subject, random: Random) -> tuple[Party, Party]:
    """The two invented companies; half of the contracts call them by their role, half by a short name."""
    by_role = random.random() < 0.6
    found = []
    for name, role in zip(random.sample(_NAMES, 2), subject.roles, strict=True):
        address = f"{random.randint(2, 400)} {random.choice(_STREETS)}, {random.choice(_TOWNS)}"
        full = f"{name} {random.choice(_TRADES)} {random.choice(_FORMS)}"
        found.append(Party(full, address, f"the {role}" if by_role else name, person(random)))
    return found[0], found[1]


def contract_slots(subject: Subject, first: Party, second: Party, random: Random) -> dict[str, Slot]:
    """Slot → how its value is drawn; what a contract says in one way throughout is drawn once, here."""
    fixed = {
        "a": first.term,
        "A": first.term[0].upper() + first.term[1:],
        "b": second.term,
        "B": second.term[0].upper() + second.term[1:],
        "goods": subject.goods[0],
        "law": random.choice(_LAWS),
        "territory": random.choice(_TERRITORIES),
        "currency": random.choice(("US$", "$", "EUR ", "£")),
        "clause": random.choice(("Section", "Clause", "Section", "paragraph")),
    }
    currency, clause = fixed["currency"], fixed["clause"]

    def money(random: Random) -> str:
        return f"{currency}{random.choice((5, 10, 25, 50, 75, 100, 150, 250, 500, 1000, 2000, 5000)) * 1000:,}"

    def section(random: Random) -> str:
        return f"{clause} {random.randint(2, 14)}.{random.randint(1, 9)}"

    return {
        **{name: among((value,)) for name, value in fixed.items()},
        "money": money,
        "section": section,
        "days": _days,
        "months": _months,
        "years": _years,
        "number": _small_number,
        "pct": _percent,
        "units": _units,
        "date": date,
        "town": among(_TOWNS),
        "person": person,
    }


def date(random: Random) -> str:
    """A day as contracts write it."""
    day, month, year = random.randint(1, 28), random.choice(_MONTHS), random.randint(2012, 2029)
    return random.choice((f"{month} {day}, {year}", f"{day} {month} {year}"))


def _days(random: Random) -> str:
    number = random.choice((10, 15, 20, 30, 30, 45, 60, 90))
    word = _WORDS[number - 1] if number <= len(_WORDS) else _PERIODS[number]
    return random.choice((f"{word} ({number})", f"{number}", f"{word}"))


def _months(random: Random) -> str:
    number = random.choice((3, 6, 12, 12, 24))
    word = _WORDS[number - 1] if number <= len(_WORDS) else _PERIODS[number]
    return random.choice((f"{word} ({number})", word))


def _years(random: Random) -> str:
    number = random.randint(2, 7)
    return random.choice((f"{_WORDS[number - 1]} ({number})", _WORDS[number - 1]))


def _small_number(random: Random) -> str:
    return str(random.randint(2, 9))


def _percent(random: Random) -> str:
    number = random.randint(2, 12)
    return random.choice((f"{_WORDS[number - 1]} percent ({number}%)", f"{number}%", f"{number} per cent"))


def _units(random: Random) -> str:
    return f"{random.choice((50, 100, 250, 500, 1000, 2500, 10000)):,}"
