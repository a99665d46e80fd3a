"""Contracts between invented companies: text files of three to forty pages, and one that is far longer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pipelines.sampling.export import SampleSummary
from pipelines.sampling.records import check_size, write_text_sample
from pipelines.sampling.tickets import NOISE
from pipelines.sampling.writing import MONTHS, Slot, among, fill, integer, load_phrases, person

MIN_CONTRACTS = 10
LONG_CONTRACT_FROM = 50  # contracts; a smaller sample stays small
LONG_CONTRACT_WORDS = 30_000

_PHRASES = load_phrases("contracts")
_PAGE_WORDS = 450
_MEDIAN_PAGES = 7
_BODY_WORDS = 4000  # what a body of articles can hold; exhibits and schedules hold the rest
_SCHEDULE_ROWS = 30
_KIND_SHARE = 0.6
_SECOND_CLAUSE_SHARE = 0.25
_PAGE_LINES = 46
_LINE_CHARACTERS = 90  # of an unwrapped paragraph, to know where a page would end
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV")
_NUMBER_WORDS = {
    2: "two",
    3: "three",
    4: "four",
    5: "five",
    6: "six",
    7: "seven",
    8: "eight",
    9: "nine",
    10: "ten",
    11: "eleven",
    12: "twelve",
    15: "fifteen",
    20: "twenty",
    24: "twenty-four",
    30: "thirty",
    45: "forty-five",
    60: "sixty",
    90: "ninety",
}


def write_contract_sample(folder: Path, n_documents: int = 100, seed: int = 7) -> SampleSummary:
    """Writes one text file per contract and `_truth.csv` into `folder`, replacing an earlier sample.

    The truth names the clause kinds of each contract, joined by "; ". Of the files, 8% hold something else. From
    LONG_CONTRACT_FROM documents on, one contract has LONG_CONTRACT_WORDS words or more.

    Raises:
        ConfigError: `n_documents` is below MIN_CONTRACTS, or the folder cannot be used or holds other files.
    """
    check_size("contract", n_documents, MIN_CONTRACTS)
    first = _long if n_documents >= LONG_CONTRACT_FROM else None
    return write_text_sample(folder, "contract", n_documents, seed, _contract, _misfiled, first)


@dataclass(frozen=True)
class Layout:
    """The habits of the office that typed a contract.

    Attributes:
        numbering: "decimal" (4.2), "section" (Section 4.2.) or "article" (ARTICLE IV, (b)).
        width: characters of a line; 0 where a paragraph is one line.
        footer: at the foot of a page, with {page} and {pages}; "" for none.
        has_header: True where the title stands at the head of every page but the first.
        page_break: what comes before a new page.
    """

    numbering: str
    width: int
    footer: str
    has_header: bool
    page_break: str

    @classmethod
    def draw(cls, random: Random) -> Layout:
        """The habits of some office."""
        return cls(
            numbering=random.choice(("decimal", "section", "article")),
            width=random.choice((0, 0, 72, 80, 96)),
            footer=random.choice(("", "", "{page}", "- {page} -", "Page {page} of {pages}")),
            has_header=random.random() < 0.25,
            page_break=random.choice(("", "", "\f")),
        )

    def heading(self, number: int, text: str) -> str:
        """The heading of an article; numbers from 1."""
        if self.numbering == "article":
            return f"ARTICLE {_ROMAN[number - 1]}\n{text.upper()}"
        return f"{number}. {text.upper()}" if self.numbering == "decimal" else f"Section {number}. {text}"

    def clause(self, number: int, at: int, text: str) -> str:
        """Clause `at` of article `number`, both from 1."""
        if self.numbering == "article":
            return f"({chr(ord('a') + (at - 1) % 26)}) {text}"
        return f"{number}.{at} {text}" if self.numbering == "decimal" else f"Section {number}.{at}. {text}"

    def pages(self, title: str, paragraphs: list[str]) -> str:
        """The whole file: paragraphs between blank lines, and what stands at the head and foot of its pages."""
        pages: list[list[str]] = [[]]
        n_lines = 0
        for paragraph in paragraphs:
            wrapped = _wrap(paragraph, self.width) if self.width else paragraph
            lines = wrapped.count("\n") + 2 if self.width else len(paragraph) // _LINE_CHARACTERS + 2
            if n_lines + lines > _PAGE_LINES and n_lines:
                pages.append([])
                n_lines = 0
            pages[-1].append(wrapped)
            n_lines += lines
        parts: list[str] = []
        for number, page in enumerate(pages, start=1):
            if self.has_header and number > 1:
                page = [title, *page]
            if number > 1:
                page[0] = self.page_break + page[0]
            footer = [self.footer.format(page=number, pages=len(pages))] if self.footer else []
            parts += [*page, *footer]
        return "\n\n".join(parts) + "\n"


def _wrap(paragraph: str, width: int) -> str:
    """Breaks lines at spaces; `textwrap` does the same ten times slower."""
    lines = []
    for line in paragraph.split("\n"):
        start = 0
        while len(line) - start > width:
            stop = line.rfind(" ", start, start + width + 1)
            stop = stop if stop > start else line.find(" ", start)
            if stop < 0:
                break
            lines.append(line[start:stop])
            start = stop + 1
        lines.append(line[start:])
    return "\n".join(lines)


@dataclass(frozen=True)
class Party:
    """One party of a contract; `term` is the contract's name for it, such as "the Supplier"."""

    name: str
    address: str
    term: str
    signatory: str


def draw_parties(subject: dict[str, Any], random: Random) -> list[Party]:
    """The two invented companies; most contracts call them by their role, the others by a short name."""
    by_role = random.random() < 0.6
    found = []
    for name, role in zip(random.sample(_PHRASES["names"], 2), subject["roles"], strict=True):
        address = f"{random.randint(2, 400)} {random.choice(_PHRASES['streets'])}, {random.choice(_PHRASES['towns'])}"
        full = f"{name} {random.choice(_PHRASES['trades'])} {random.choice(_PHRASES['forms'])}"
        found.append(Party(full, address, f"the {role}" if by_role else name, person(random)))
    return found


def contract_slots(subject: dict[str, Any], parties: list[Party], random: Random) -> dict[str, Slot]:
    """Slot → how its value is drawn; what a contract says in one way throughout is drawn once, here."""
    a, b = (party.term for party in parties)
    fixed = {"a": a, "A": a[0].upper() + a[1:], "b": b, "B": b[0].upper() + b[1:], "goods": subject["goods"][0]}
    fixed |= {"law": random.choice(_PHRASES["laws"]), "territory": random.choice(_PHRASES["territories"])}
    currency = random.choice(("US$", "$", "EUR ", "£"))
    clause = random.choice(("Section", "Clause", "Section", "paragraph"))

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
        "number": integer(2, 9),
        "pct": _percent,
        "units": lambda random: f"{random.choice((50, 100, 250, 500, 1000, 2500, 10000)):,}",
        "date": _date,
        "town": among(_PHRASES["towns"]),
        "person": person,
    }


def _date(random: Random) -> str:
    day, month, year = random.randint(1, 28), random.choice(MONTHS), random.randint(2012, 2029)
    return random.choice((f"{month} {day}, {year}", f"{day} {month} {year}"))


def _days(random: Random) -> str:
    number = random.choice((10, 15, 20, 30, 30, 45, 60, 90))
    word = _NUMBER_WORDS[number]
    return random.choice((f"{word} ({number})", f"{number}", word))


def _months(random: Random) -> str:
    number = random.choice((3, 6, 12, 12, 24))
    return random.choice((f"{_NUMBER_WORDS[number]} ({number})", _NUMBER_WORDS[number]))


def _years(random: Random) -> str:
    number = random.randint(2, 7)
    return random.choice((f"{_NUMBER_WORDS[number]} ({number})", _NUMBER_WORDS[number]))


def _percent(random: Random) -> str:
    number = random.randint(2, 12)
    return random.choice((f"{_NUMBER_WORDS[number]} percent ({number}%)", f"{number}%", f"{number} per cent"))


@dataclass
class _Draft:
    """A contract in the making: its paragraphs in order, and the clause kinds among them."""

    layout: Layout
    parties: list[Party]
    slots: dict[str, Slot]
    random: Random
    paragraphs: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    n_words: int = 0

    def add(self, *paragraphs: str) -> None:
        for paragraph in paragraphs:
            self.paragraphs.append(paragraph)
            self.n_words += paragraph.count(" ") + 1

    def fill(self, phrase: str) -> str:
        return fill(phrase, self.random, self.slots)

    def add_preamble(self, subject: dict[str, Any]) -> None:
        random, (first, second) = self.random, self.parties
        names = [party.term.removeprefix("the ") for party in self.parties]
        self.add(
            f'This {subject["title"]} (this "Agreement") is made as of {_date(random)} (the "Effective Date") by and '
            f'between {first.name}, a company with its principal office at {first.address} ("{names[0]}"), and '
            f'{second.name}, a company with its principal office at {second.address} ("{names[1]}").'
        )
        heading = random.choice(("RECITALS", "WITNESSETH:", "BACKGROUND", ""))
        if heading:
            self.add(heading)
        recitals = [f"{party.term} {does}" for party, does in zip(self.parties, subject["activities"], strict=True)]
        if random.random() < 0.4:
            self.add(f"WHEREAS, {recitals[0]};", f"WHEREAS, {recitals[1]}; and")
        else:
            letters = random.choice((("(A) ", "(B) "), ("", "")))
            self.add(
                *(f"{at}{recital[0].upper()}{recital[1:]}." for at, recital in zip(letters, recitals, strict=True))
            )
        self.add(
            random.choice(
                (
                    "NOW, THEREFORE, in consideration of the mutual promises set out below, the parties agree as "
                    "follows:",
                    "The parties therefore agree as follows:",
                    "IT IS AGREED as follows:",
                )
            )
        )

    def add_body(self, n_words: int) -> None:
        """Definitions and articles of about `n_words` words; the kinds of clause that fit are drawn anew each time."""
        random, articles, definitions = self.random, _PHRASES["articles"], _PHRASES["definitions"]
        per_article = max(2, round(n_words / (len(articles) + 1) / 40))
        chosen = sorted(random.sample(definitions, min(len(definitions), per_article + 3)))
        self.add(self.layout.heading(1, "Definitions"), *map(self.fill, chosen))
        for number, article in enumerate(articles, start=2):
            clauses = [phrase for kind in article["kinds"] for phrase in self._draw_clauses(kind)]
            boilerplate = _PHRASES["boilerplate"][article["boilerplate"]]
            room = max(1, per_article - len(clauses))
            phrases = [*clauses, *random.sample(boilerplate, min(room, len(boilerplate)))]
            random.shuffle(phrases)
            self.add(self.layout.heading(number, article["heading"]))
            self.add(*(self.layout.clause(number, at, self.fill(phrase)) for at, phrase in enumerate(phrases, start=1)))

    def _draw_clauses(self, kind: str) -> list[str]:
        if self.random.random() > _KIND_SHARE:
            return []
        self.kinds.add(kind)
        n_clauses = 2 if self.random.random() < _SECOND_CLAUSE_SHARE else 1
        return self.random.sample(_PHRASES["clauses"][kind], n_clauses)

    def add_signatures(self) -> None:
        self.add(
            self.random.choice(
                (
                    "IN WITNESS WHEREOF, the parties have caused this Agreement to be executed by their authorised "
                    "representatives as of the Effective Date.",
                    "Signed by the duly authorised representatives of the parties on the date first written above.",
                )
            )
        )
        roles = ("Director", "President", "Head of Legal", "Managing Director", "Vice President")
        for party in self.parties:
            role = self.random.choice(roles)
            self.add(f"{party.name}\nBy: ______________________\nName: {party.signatory}\nTitle: {role}")

    def add_schedule(self, number: int, n_words: int) -> None:
        self.add(f"SCHEDULE {number}")
        for row in range(1, _SCHEDULE_ROWS + 1):
            self.add(f"{row}. {self.fill(self.random.choice(_PHRASES['schedule_items']))}")
            if self.n_words >= n_words:
                return

    def add_exhibit(self, number: int, n_words: int) -> None:
        """The form of a further agreement between the same parties, as long contracts carry them."""
        subject = self.random.choice(_PHRASES["subjects"])
        self.add(f"EXHIBIT {number}", f"FORM OF {subject['title'].upper()}")
        self.add_preamble(subject)
        self.add_body(min(_BODY_WORDS, n_words - self.n_words))


def _contract(random: Random) -> tuple[str, str]:
    pages = min(42.0, max(3.0, random.lognormvariate(0, 0.75) * _MEDIAN_PAGES))
    return write_contract(round(pages * _PAGE_WORDS), random)


def _long(random: Random) -> tuple[str, str]:
    return write_contract(LONG_CONTRACT_WORDS, random)


def write_contract(n_words: int, random: Random) -> tuple[str, str]:
    """The text of a contract of about `n_words` words, and its clause kinds joined by "; "."""
    subject = random.choice(_PHRASES["subjects"])
    parties = draw_parties(subject, random)
    draft = _Draft(Layout.draw(random), parties, contract_slots(subject, parties, random), random)
    draft.add(subject["title"].upper())
    draft.add_preamble(subject)
    draft.add_body(min(n_words, _BODY_WORDS))
    draft.add_signatures()
    number = 1
    while draft.n_words < n_words:
        if number % 2 or n_words - draft.n_words < _BODY_WORDS / 4:
            draft.add_schedule(number, n_words)
        else:
            draft.add_exhibit(number, n_words)
        number += 1
    return draft.layout.pages(subject["title"], draft.paragraphs), "; ".join(sorted(draft.kinds))


def _misfiled(random: Random) -> tuple[str, str]:
    """A document that was filed with the contracts by mistake."""
    layout = Layout.draw(random)
    title = random.choice(_PHRASES["misfiled_titles"])
    paragraphs = [fill(phrase, random) for phrase in random.sample(NOISE, random.randint(6, 30))]
    return layout.pages(title, [title, *paragraphs]), ""
