"""OCR that answers from a list, for tests of what is made of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from extraction.documents import Document
from extraction.extract import FileExtraction
from schemas.run_config import ExtractionConfig


@dataclass(frozen=True)
class Answer:
    """The text of a page, and how sure the reader is of it."""

    text: str
    confidence: float = 0.95


class ScriptedReader:
    """Gives its answers in turn, the last one for all further pages; keeps the shapes of the pages it saw."""

    def __init__(self, *answers: Answer) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.pages: list[Any] = []
        self._answers = answers

    def read(self, page: Any) -> Answer:
        self.shapes.append(page.shape)
        self.pages.append(page)
        return self._answers[min(len(self.shapes), len(self._answers)) - 1]


def read_here(
    content: bytes, name: str, reader: ScriptedReader | None = None, **limits: Any
) -> tuple[list[Document], dict[str, int]]:
    """The documents of a file, read in this process, and the count of what is none."""
    extraction = FileExtraction(ExtractionConfig(**limits), reader)
    return list(extraction.documents(content, name)), dict(extraction.skipped)


def read_one(content: bytes, name: str, reader: ScriptedReader | None = None, **limits: Any) -> Document:
    """The only document of a file."""
    [document], _ = read_here(content, name, reader, **limits)
    return document
