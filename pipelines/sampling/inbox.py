"""An inbox: tickets, receipts and contracts as they arrive, as mails, pictures, PDFs, Word files, pages and an archive.

Among them are mails that are none of these, PDFs of several documents, and files that are broken or hostile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from pipelines.sampling.contracts import write_contract
from pipelines.sampling.drawing import (
    count_pages,
    encrypted_pdf,
    scanned_pdf,
    sent_mail,
    slip_picture,
    text_pdf,
    web_page,
    word_document,
    zipped,
)
from pipelines.sampling.export import OUT_OF_SCOPE_LABEL, Outcome, Record, SampleSummary, write_sample
from pipelines.sampling.receipts import receipt_blocks
from pipelines.sampling.records import check_size
from pipelines.sampling.tickets import draw_concern
from pipelines.sampling.writing import MONTHS, Manner, fill, load_phrases, person, write_ticket
from schemas.codes import Reason

INBOX, INBOX_TRUTH = "inbox", "inbox_truth.csv"
MIN_INBOX = 40

_PHRASES = load_phrases("inbox")
_FIRST_MORNING = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
_SECONDS = 3 * 24 * 60 * 60
_BOMB_BYTES = 20_000_000


@dataclass(frozen=True)
class _Arrival:
    """A file of the inbox.

    Attributes:
        name: without the number that all names begin with.
        truth: member or pages, "" for the file itself → its kind, `oos`, or the reason code of its rejection.
    """

    name: str
    content: bytes
    truth: dict[str, str]


def write_inbox(folder: Path, n_documents: int = 200, seed: int = 7) -> SampleSummary:
    """Writes `n_documents` files into `folder/inbox`, and what they are into `folder/inbox_truth.csv`.

    The label of a document is its kind. The id of a member is that of its file, "!" and the member's name.

    Raises:
        ConfigError: `n_documents` is below MIN_INBOX, the folder holds other files, or Pillow is not installed.
    """
    check_size("inbox", n_documents, MIN_INBOX)
    random = Random(seed)
    chosen = [*_FORMS, *_BROKEN]  # each at least once
    chosen += random.choices(list(_FORMS), list(_FORMS.values()), k=n_documents - len(chosen))
    random.shuffle(chosen)
    contents: dict[str, bytes] = {}
    records: dict[str, list[Record]] = {}
    for number, write in enumerate(chosen, start=1):
        arrival = write(random)
        name = f"{number:05d} {arrival.name}"
        contents[name] = arrival.content
        records[name] = [
            Record({}, label, _outcome(label), known_id=f"{name}!{member}" if member else name)
            for member, label in arrival.truth.items()
        ]
    return write_sample(folder / INBOX, contents, records, folder / INBOX_TRUTH)


def _outcome(label: str) -> Outcome:
    if label == OUT_OF_SCOPE_LABEL:
        return Outcome.OUT_OF_SCOPE
    return Outcome.BROKEN if label in set(Reason) else Outcome.IN_SCOPE


def _name(kind: str, random: Random, suffix: str) -> str:
    return f"{random.choice(_PHRASES[f'{kind}_names'])}{suffix}"


def _receipt_text(random: Random) -> str:
    blocks, _ = receipt_blocks(random)
    return "\n\n".join("\n".join(filter(None, block)) for block in blocks if any(block))


def _contract_text(random: Random) -> str:
    text, _ = write_contract(random.randint(900, 2500), random)
    return text


def _ticket_text(random: Random) -> str:
    return write_ticket(draw_concern(random), Manner.LETTER, random)


def _receipt_picture(random: Random) -> _Arrival:
    kind, suffix = random.choice((("JPEG", ".jpg"), ("JPEG", ".jpeg"), ("PNG", ".png")))
    picture = slip_picture(_receipt_text(random), random, kind)
    return _Arrival(_name("receipt", random, suffix), picture, {"": "receipt"})


def _renamed_picture(random: Random) -> _Arrival:
    return _Arrival(_name("receipt", random, ".pdf"), slip_picture(_receipt_text(random), random), {"": "receipt"})


def _contract_pdf(random: Random) -> _Arrival:
    return _Arrival(_name("contract", random, ".pdf"), text_pdf(_contract_text(random)), {"": "contract"})


def _scanned_contract(random: Random) -> _Arrival:
    content = scanned_pdf(_contract_text(random), random)
    return _Arrival(_name("contract", random, " scan.pdf"), content, {"": "contract"})


def _contract_in_word(random: Random) -> _Arrival:
    return _Arrival(_name("contract", random, ".docx"), word_document(_contract_text(random)), {"": "contract"})


def _ticket_in_word(random: Random) -> _Arrival:
    return _Arrival(_name("ticket", random, ".docx"), word_document(_ticket_text(random)), {"": "ticket"})


def _ticket_page(random: Random) -> _Arrival:
    return _Arrival(_name("ticket", random, ".html"), web_page(_ticket_text(random)).encode(), {"": "ticket"})


def _mail(
    random: Random, text: str, subject: str = "", form: str = "", attached: tuple[str, str, bytes] | None = None
) -> bytes:
    sender = person(random)
    address = f"{sender.lower().replace(' ', '.')}@example.{random.choice(('com', 'org'))}"
    subject = subject or random.choice(_PHRASES["subjects"])
    form = form or random.choice(("plain", "html", "both"))
    moment = _FIRST_MORNING + timedelta(seconds=random.randrange(_SECONDS))
    return sent_mail(subject, f"{sender} <{address}>", moment, text, form, [attached] if attached else [])


def _ticket_mail(random: Random) -> _Arrival:
    return _Arrival("mail.eml", _mail(random, _ticket_text(random)), {"": "ticket"})


def _answered_mail(random: Random) -> _Arrival:
    day = f"{random.randint(1, 19)} {random.choice(MONTHS)} 2026"
    time = f"{random.randint(7, 18)}:{random.randint(10, 59)}"
    introduction = random.choice(_PHRASES["introductions"]).format(day=day, time=time)
    text = f"{_ticket_text(random)}\n\n{introduction}\n\n> {random.choice(_PHRASES['answers'])}\n"
    return _Arrival("mail.eml", _mail(random, text, form="plain"), {"": "ticket"})


def _mail_with_receipt(random: Random) -> _Arrival:
    picture = slip_picture(_receipt_text(random), random)
    text = f"{_ticket_text(random)}\n\n{random.choice(_PHRASES['with_receipt'])}"
    name = _name("receipt", random, ".jpg")
    content = _mail(random, text, attached=(name, "image/jpeg", picture))
    return _Arrival("mail.eml", content, {"": "ticket", f"0001/{name}": "receipt"})


def _mail_with_contract(random: Random) -> _Arrival:
    text = f"{_ticket_text(random)}\n\n{random.choice(_PHRASES['with_contract'])}"
    name = _name("contract", random, ".pdf")
    content = _mail(random, text, attached=(name, "application/pdf", text_pdf(_contract_text(random))))
    return _Arrival("mail.eml", content, {"": "ticket", f"0001/{name}": "contract"})


def _newsletter(random: Random) -> _Arrival:
    text = "\n\n".join(random.sample(_PHRASES["newsletters"], 2))
    content = _mail(random, text, random.choice(_PHRASES["newsletter_subjects"]))
    return _Arrival("mail.eml", content, {"": OUT_OF_SCOPE_LABEL})


def _archive(random: Random) -> _Arrival:
    members = [_receipt_picture(random), _receipt_picture(random), _contract_in_word(random), _ticket_mail(random)]
    names = [f"{number} {member.name}" for number, member in enumerate(members, start=1)]
    content = zipped({f"documents/{name}": member.content for name, member in zip(names, members, strict=True)})
    truth = {
        f"{number:04d}/{name}": member.truth[""]
        for number, (name, member) in enumerate(zip(names, members, strict=True), start=1)
    }
    return _Arrival("documents.zip", content, truth)


def _packet(random: Random) -> _Arrival:
    """Documents that were put into one PDF, where each begins plainly."""
    return _packet_of([("ticket", _ticket_letter(random)), ("receipt", _receipt_text(random)), _contract(random)])


def _doubtful_packet(random: Random) -> _Arrival:
    """Two that are hard to tell from one: letters that begin and end alike."""
    return _packet_of([("ticket", _ticket_letter(random)) for _ in range(2)])


def _contract(random: Random) -> tuple[str, str]:
    return "contract", _contract_text(random).replace("\f", "")


def _ticket_letter(random: Random) -> str:
    name, concern = person(random), fill(draw_concern(random), random)
    return f"Dear Sir or Madam,\n\n{concern}\n\nYours faithfully,\n{name}"


def _packet_of(documents: list[tuple[str, str]]) -> _Arrival:
    truth, first = {}, 1
    for kind, text in documents:
        last = first + count_pages(text) - 1
        truth[f"pages-{first:04d}-{last:04d}"] = kind
        first = last + 1
    return _Arrival("scan.pdf", text_pdf("\f".join(text for _, text in documents)), truth)


def _cut_pdf(random: Random) -> _Arrival:
    content = text_pdf(_contract_text(random))
    return _Arrival(_name("contract", random, ".pdf"), content[: len(content) // 3], {"": Reason.EXTRACTION_FAILED})


def _cut_picture(random: Random) -> _Arrival:
    content = slip_picture(_receipt_text(random), random)
    return _Arrival(_name("receipt", random, ".jpg"), content[: len(content) // 3], {"": Reason.EXTRACTION_FAILED})


def _cut_word_document(random: Random) -> _Arrival:
    content = word_document(_contract_text(random))
    return _Arrival(_name("contract", random, ".docx"), content[: len(content) // 2], {"": Reason.EXTRACTION_FAILED})


def _locked_pdf(random: Random) -> _Arrival:
    content = encrypted_pdf(_contract_text(random), random)
    return _Arrival(_name("contract", random, ".pdf"), content, {"": Reason.ENCRYPTED_DOCUMENT})


def _locked_mail(random: Random) -> _Arrival:
    head = b"Subject: confidential\r\nFrom: a@example.org\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\n"
    return _Arrival("mail.eml", head + b"\r\n" + random.randbytes(64).hex().encode(), {"": Reason.ENCRYPTED_DOCUMENT})


def _mail_with_empty_file(random: Random) -> _Arrival:
    return _mail_with_failure(random, _name("receipt", random, ".pdf"), b"", Reason.NO_TEXT_FOUND)


def _mail_with_film(random: Random) -> _Arrival:
    content = b"\x00\x00\x00\x18ftypmp42" + random.randbytes(500)
    return _mail_with_failure(random, _name("receipt", random, ".mp4"), content, Reason.UNSUPPORTED_FORMAT)


def _mail_with_failure(random: Random, name: str, content: bytes, reason: Reason) -> _Arrival:
    text = f"{_ticket_text(random)}\n\n{random.choice(_PHRASES['with_receipt'])}"
    mail = _mail(random, text, attached=(name, "application/octet-stream", content))
    return _Arrival("mail.eml", mail, {"": "ticket", f"0001/{name}": reason})


def _blank_pdf(random: Random) -> _Arrival:
    return _Arrival(_name("contract", random, ".pdf"), text_pdf("\f"), {"": Reason.NO_TEXT_FOUND})


def _bomb(_random: Random) -> _Arrival:
    content = zipped({"zeros.txt": bytes(_BOMB_BYTES)})
    return _Arrival("documents.zip", content, {"0001/zeros.txt": Reason.ARCHIVE_LIMITS})


def _empty_archive(_random: Random) -> _Arrival:
    return _Arrival("documents.zip", zipped({}), {"": Reason.EMPTY_ARCHIVE})


_FORMS: dict[Callable[[Random], _Arrival], int] = {  # with their weights
    _receipt_picture: 30,
    _ticket_mail: 18,
    _answered_mail: 8,
    _mail_with_receipt: 5,
    _mail_with_contract: 4,
    _newsletter: 5,
    _contract_pdf: 12,
    _scanned_contract: 3,
    _contract_in_word: 4,
    _ticket_in_word: 4,
    _ticket_page: 4,
    _renamed_picture: 1,
    _archive: 0,
    _packet: 2,
    _doubtful_packet: 1,
}
_BROKEN = (
    *(_cut_pdf, _cut_picture, _cut_word_document, _locked_pdf, _locked_mail),
    *(_mail_with_empty_file, _mail_with_film, _blank_pdf, _bomb, _empty_archive),
)
