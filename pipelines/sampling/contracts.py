"""Contracts between invented companies: text files of three to forty pages, and one that is far longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipelines.sampling.contract_boilerplate import BOILERPLATE, DEFINITIONS, MISFILED_TITLES, SCHEDULE_ITEMS
from pipelines.sampling.contract_clauses import CONTRACT_CLAUSES
from pipelines.sampling.contract_layout import Layout, draw_layout
from pipelines.sampling.contract_terms import SUBJECTS, Party, Subject, contract_slots, date, parties
from pipelines.sampling.export import SampleSummary
from pipelines.sampling.slots import Slot
from pipelines.sampling.text_files import TextDocument, write_text_sample
from pipelines.sampling.ticket_noise import NOISE_PHRASES
from pipelines.sampling.writing import fill

MIN_CONTRACTS = 10
LONG_CONTRACT_FROM = 50  # contracts; a smaller sample stays small
LONG_CONTRACT_WORDS = 30_000

_PAGE_WORDS = 450
_MEDIAN_PAGES = 7
_BODY_WORDS = 4000  # what a body of articles can hold; exhibits and schedules hold the rest
_SCHEDULE_ROWS = 30
_KIND_SHARE = 0.6
_SECOND_CLAUSE_SHARE = 0.25

_ARTICLES: tuple[tuple[str, str, tuple[str, ...]], ...] = (  # heading, boilerplate, clause kinds
    ("Grant of Rights", "Supply and Performance", (
        "License Grant", "Non-Transferable License", "Affiliate License-Licensee", "Affiliate License-Licensor",
        "Irrevocable Or Perpetual License", "Unlimited/All-You-Can-Eat-License", "Exclusivity")),
    ("Supply and Performance", "Supply and Performance", ("Minimum Commitment", "Volume Restriction")),
    ("Prices, Payment and Records", "Prices and Payment", (
        "Revenue/Profit Sharing", "Price Restrictions", "Most Favored Nation", "Audit Rights")),
    ("Intellectual Property", "Data and Security", (
        "Ip Ownership Assignment", "Joint Ip Ownership", "Covenant Not To Sue", "Source Code Escrow")),
    ("Confidentiality", "Confidentiality", ("Non-Disparagement",)),
    ("Warranties", "Representations", ("Warranty Duration",)),
    ("Liability and Insurance", "Indemnification", (
        "Cap On Liability", "Uncapped Liability", "Liquidated Damages", "Insurance")),
    ("Competition", "Supply and Performance", (
        "Non-Compete", "Competitive Restriction Exception", "No-Solicit Of Customers", "No-Solicit Of Employees",
        "Rofr/Rofo/Rofn")),
    ("Term and Termination", "Default", (
        "Expiration Date", "Renewal Term", "Notice Period To Terminate Renewal", "Termination For Convenience",
        "Post-Termination Services")),
    ("Assignment and Change of Control", "Default", ("Anti-Assignment", "Change Of Control")),
    ("Disputes and Governing Law", "Disputes", ("Governing Law",)),
    ("General Provisions", "General", ("Third Party Beneficiary",)),
)  # fmt: skip


def write_contract_sample(folder: Path, n_documents: int = 100, seed: int = 7) -> SampleSummary:
    """Writes one text file a contract and `_truth.csv` into `folder`, replacing an earlier sample.

    The truth names the clause kinds of each contract, joined by "; ". Of the files, 8 % hold something else. From
    LONG_CONTRACT_FROM documents on, one contract has LONG_CONTRACT_WORDS words or more.

    Raises:
        ConfigError: `n_documents` is below MIN_CONTRACTS, or the folder cannot be used or holds other files.
    """
    if n_documents >= LONG_CONTRACT_FROM:
        return write_text_sample(folder, "contract", n_documents, seed, _contract, _misfiled, MIN_CONTRACTS, _long)
    return write_text_sample(folder, "contract", n_documents, seed, _contract, _misfiled, MIN_CONTRACTS)


@dataclass
class _Draft:
    """A contract in the making: its paragraphs in order, and the clause kinds among them."""

    layout: Layout
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


def _contract(random: Random) -> TextDocument:
    pages = min(42.0, max(3.0, random.lognormvariate(0, 0.75) * _MEDIAN_PAGES))
    return _write_contract(round(pages * _PAGE_WORDS), random)


def _long(random: Random) -> TextDocument:
    return _write_contract(LONG_CONTRACT_WORDS, random)


def _write_contract(n_words: int, random: Random) -> TextDocument:
    subject = random.choice(SUBJECTS)
    first, second = parties(subject, random)
    draft = _Draft(draw_layout(random), contract_slots(subject, first, second, random), random)
    draft.add(subject.title.upper(), *_preamble(subject, first, second, random))
    _add_body(draft, min(n_words, _BODY_WORDS))
    draft.add(*_signatures(first, second, random))
    number = 1
    while draft.n_words < n_words:
        if number % 2 or n_words - draft.n_words < _BODY_WORDS / 4:
            _add_schedule(draft, number, n_words)
        else:
            _add_exhibit(draft, number, n_words, first, second)
        number += 1
    text = draft.layout.pages(subject.title, draft.paragraphs)
    return TextDocument(text, "; ".join(sorted(draft.kinds)))


def _preamble(subject: Subject, first: Party, second: Party, random: Random) -> Iterator[str]:
    names = [party.term.removeprefix("the ") for party in (first, second)]
    yield (
        f'This {subject.title} (this "Agreement") is made as of {date(random)} (the "Effective Date") by and between '
        f'{first.name}, a company with its principal office at {first.address} ("{names[0]}"), and {second.name}, '
        f'a company with its principal office at {second.address} ("{names[1]}").'
    )
    heading = random.choice(("RECITALS", "WITNESSETH:", "BACKGROUND", ""))
    if heading:
        yield heading
    recitals = [f"{party.term} {activity}" for party, activity in zip((first, second), subject.activities, strict=True)]
    if random.random() < 0.4:
        yield f"WHEREAS, {recitals[0]};"
        yield f"WHEREAS, {recitals[1]}; and"
    else:
        for letter, recital in zip(random.choice((("(A) ", "(B) "), ("", ""))), recitals, strict=True):
            yield f"{letter}{recital[0].upper()}{recital[1:]}."
    yield random.choice(
        (
            "NOW, THEREFORE, in consideration of the mutual promises set out below, the parties agree as follows:",
            "The parties therefore agree as follows:",
            "IT IS AGREED as follows:",
        )
    )


def _add_body(draft: _Draft, n_words: int) -> None:
    """Definitions and articles of about `n_words` words; the kinds of clause that fit are drawn anew each time."""
    random, layout = draft.random, draft.layout
    per_article = max(2, round(n_words / (len(_ARTICLES) + 1) / 40))
    definitions = sorted(random.sample(DEFINITIONS, min(len(DEFINITIONS), per_article + 3)))
    draft.add(layout.heading(1, "Definitions"), *(draft.fill(item) for item in definitions))
    for number, (heading, boilerplate, kinds) in enumerate(_ARTICLES, start=2):
        clauses = [phrase for kind in kinds for phrase in _draw_clauses(kind, draft)]
        room = max(1, per_article - len(clauses))
        rest = random.sample(BOILERPLATE[boilerplate], min(room, len(BOILERPLATE[boilerplate])))
        phrases = [*clauses, *rest]
        random.shuffle(phrases)
        draft.add(layout.heading(number, heading))
        draft.add(*(layout.clause(number, at, draft.fill(phrase)) for at, phrase in enumerate(phrases, start=1)))


def _draw_clauses(kind: str, draft: _Draft) -> list[str]:
    if draft.random.random() > _KIND_SHARE:
        return []
    draft.kinds.add(kind)
    n_clauses = 2 if draft.random.random() < _SECOND_CLAUSE_SHARE else 1
    return draft.random.sample(CONTRACT_CLAUSES[kind], n_clauses)


def _add_schedule(draft: _Draft, number: int, n_words: int) -> None:
    draft.add(f"SCHEDULE {number}")
    for row in range(1, _SCHEDULE_ROWS + 1):
        draft.add(f"{row}. {draft.fill(draft.random.choice(SCHEDULE_ITEMS))}")
        if draft.n_words >= n_words:
            return


def _add_exhibit(draft: _Draft, number: int, n_words: int, first: Party, second: Party) -> None:
    """The form of a further agreement between the same parties, as long contracts carry them."""
    subject = draft.random.choice(SUBJECTS)
    draft.add(f"EXHIBIT {number}", f"FORM OF {subject.title.upper()}")
    draft.add(*_preamble(subject, first, second, draft.random))
    _add_body(draft, min(_BODY_WORDS, n_words - draft.n_words))


def _signatures(first: Party, second: Party, random: Random) -> Iterator[str]:
    yield random.choice(
        (
            "IN WITNESS WHEREOF, the parties have caused this Agreement to be executed by their authorised "
            "representatives as of the Effective Date.",
            "Signed by the duly authorised representatives of the parties on the date first written above.",
        )
    )
    for party in (first, second):
        role = random.choice(("Director", "President", "Head of Legal", "Managing Director", "Vice President"))
        yield f"{party.name}\nBy: ______________________\nName: {party.signatory}\nTitle: {role}"


def _misfiled(random: Random) -> TextDocument:
    """Something that was filed with the contracts and is none."""
    layout = draw_layout(random)
    title = random.choice(MISFILED_TITLES)
    paragraphs = [fill(phrase, random) for phrase in random.sample(NOISE_PHRASES, random.randint(6, 30))]
    return TextDocument(layout.pages(title, [title, *paragraphs]), "")
