"""The quoted history below a mail's own words: earlier messages that a reply carries along."""

from __future__ import annotations

import re

_SEARCHED_CHARACTERS = 100_000
_LINE_CHARACTERS = 300  # of a line that introduces a quotation
_BLOCK_LINES = 12  # of a quoted header
# English, German, French, Spanish, Portuguese, Italian, Dutch, Danish, Norwegian, Swedish, Polish, Czech, Finnish,
# Japanese, Chinese, Korean.
_LABELS = {
    "from": "from|von|de|da|van|fra|från|od|lähettäjä|差出人|发件人|보낸 사람",
    "date": "sent|date|gesendet|datum|envoyé|date|enviado|fecha|data|enviada|inviato|verzonden|dato|sendt|skickat"
    "|wysłano|odesláno|lähetetty|päivämäärä|送信日時|日付|发送时间|日期|보낸 날짜|날짜",
    "to": "to|cc|an|à|para|a|aan|til|till|do|komu|vastaanottaja|宛先|收件人|抄送|받는 사람|참조",
    "subject": "subject|betreff|objet|asunto|assunto|oggetto|onderwerp|emne|ämne|temat|předmět|aihe|件名|主题|제목",
}
_KINDS = {label: kind for kind, labels in _LABELS.items() for label in labels.split("|")}
_LABEL = re.compile(r"[>\s*]*([^\W\d][^:：*]{0,20}?)[\s*]*[:：]")
_SEPARATOR = re.compile(
    r"[>\s]*-{3,}\s*(?:original message|ursprüngliche nachricht|original-nachricht|message d'origine"
    r"|message original|mensaje original|mensagem original|messaggio originale|oorspronkelijk bericht"
    r"|oprindelig meddelelse|opprinnelig melding|ursprungligt meddelande|wiadomość oryginalna|původní zpráva"
    r"|alkuperäinen viesti|元のメッセージ|原始邮件|원본 메시지)\s*-{3,}\s*$",
    re.IGNORECASE,
)
_WROTE = re.compile(
    r"\b(?:wrote|writes|schrieb|schreibt|a écrit|escribió|escreveu|ha scritto|schreef|skrev|pisze|napisał|napsal"
    r"|kirjoitti)\b|写道|님이 작성|<[^<>\s]+@[^<>\s]+>\s*[:：]$",
    re.IGNORECASE,
)
_INTRODUCTION = re.compile(
    r"[>\s]*(?:On|Am|Le|El|Em|Il|Op|Den|W dniu|Dnia|Dne|Ma|\d{4}年|\d{4}년|于|在)\b", re.IGNORECASE
)
_TIME = re.compile(r"\d\s?[:.h]\s?\d\d|@")
_SIGNATURE = re.compile(r"--\s*$|_{10,}\s*$")
_RULE = re.compile(r"[\s_*=-]*$")
_FORWARDED = re.compile(r"\s*(?:fwd?|fw|wg|tr|rv|enc|i|vb|vs|doorst|pd|转发)\s*[:：]", re.IGNORECASE)


def history_start(text: str, subject: str = "") -> int | None:
    """The place in `text` where its quoted history begins; None where all of it is to be read.

    All is read of a forwarded mail, of one that begins with a quotation, and of one that answers below or between
    quotations. Looks at the first 100,000 characters, and takes time linear in them.
    """
    if _FORWARDED.match(subject):
        return None
    lines = text[:_SEARCHED_CHARACTERS].split("\n")
    first = next((at for at in range(len(lines)) if _begins_history(lines, at)), None)
    if first is None:
        return None
    start = first
    while start and _RULE.match(lines[start - 1][:_LINE_CHARACTERS]):
        start -= 1
    if not start or _answers_below(lines[first:]):
        return None
    return sum(len(line) + 1 for line in lines[:start])


def _begins_history(lines: list[str], at: int) -> bool:
    line = lines[at][:_LINE_CHARACTERS]
    return bool(_SEPARATOR.match(line)) or _begins_header(lines, at) or _begins_quotation(lines, at)


def _begins_header(lines: list[str], at: int) -> bool:
    """A sender's line, with a subject and a date or a recipient close below."""
    if _kind(lines[at]) != "from":
        return False
    kinds = {_kind(line) for line in lines[at + 1 : at + _BLOCK_LINES]}
    return "subject" in kinds and bool(kinds & {"date", "to"})


def _kind(line: str) -> str:
    match = _LABEL.match(line[:_LINE_CHARACTERS])
    return _KINDS.get(match[1].lower(), "") if match else ""


def _begins_quotation(lines: list[str], at: int) -> bool:
    """A line such as "On 3 Nov 2026 at 10:12, Ann Lee <ann@example.org> wrote:", which may be broken twice."""
    if not _INTRODUCTION.match(lines[at]) and "@" not in lines[at][:_LINE_CHARACTERS]:
        return False
    joined = ""
    for line in lines[at : at + 3]:
        joined += " " + line[:_LINE_CHARACTERS].strip("> \t\r")
        if joined.endswith((":", "：")):
            return bool(_WROTE.search(joined) and _TIME.search(joined))
    return False


def _answers_below(lines: list[str]) -> bool:
    """True where a paragraph without any quoted line follows a quoted one, and is no signature or footer."""
    quoted_before = False
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if _SIGNATURE.match(line):
            break
        if line.strip():
            paragraph.append(line)
            continue
        quoted = any(line.lstrip().startswith(">") for line in paragraph)
        if paragraph and quoted_before and not quoted:
            return True
        quoted_before = quoted_before or quoted
        paragraph = []
    return False
