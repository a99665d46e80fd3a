"""Layout of contracts as text files: numbering, line width, page numbers."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_PAGE_LINES = 46
_LINE_CHARACTERS = 90  # of an unwrapped paragraph, to know where a page would end
_ROMAN = (
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV",
)  # fmt: skip


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


def draw_layout(random: Random) -> Layout:
    """The habits of some office."""
    return Layout(
        numbering=random.choice(("decimal", "section", "article")),
        width=random.choice((0, 0, 72, 80, 96)),
        footer=random.choice(("", "", "{page}", "- {page} -", "Page {page} of {pages}")),
        has_header=random.random() < 0.25,
        page_break=random.choice(("", "", "\f")),
    )


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
