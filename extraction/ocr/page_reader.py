"""A page's text: its lines found, put in order, read one by one, and the page turned where it lies on its side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from extraction.ocr.detection import Line, LineDetector
from extraction.ocr.model_files import Kind, find_models
from extraction.ocr.recognition import LineRecognizer, LineText

_DETECTION_WIDTH: dict[Kind, int] = {"small": 736, "tiny": 640}
# Measured on turned receipts: upside-down lines read with 0.53 to 0.68, upright ones with 0.91 to 0.98.
_TURNED_BELOW = 0.75
_FAINTEST = 24  # difference of grey within a row or column that has anything on it
_MARGIN = 16  # pixels that stay around what is on the page
_SAMPLE = 12  # lines that decide on the way a page lies


@dataclass(frozen=True)
class PageText:
    """Text of a page.

    Attributes:
        text: lines from top to bottom, those of one row joined by a space, rows by a newline.
        confidence: mean of the lines, weighted by characters, in [0, 1]; 0 without text.
        n_lines: number of lines that were read.
    """

    text: str
    confidence: float
    n_lines: int


class PageReader:
    """Reads pages; the answer depends on nothing but the page, to the last bit.

    Args:
        kind: of the models.

    Raises:
        ConfigError: the models are not installed or not the known ones.
    """

    def __init__(self, kind: Kind) -> None:
        models = find_models(kind)
        cv2.setNumThreads(1)
        self._detector = LineDetector(models.detector, _DETECTION_WIDTH[kind])
        self._recognizer = LineRecognizer(models.recognizer, models.characters)

    def read(self, page: npt.NDArray[np.uint8]) -> PageText:
        """Reads a grey page (height, width), whichever way it lies."""
        page = _without_margins(page)
        if page.size == 0:
            return PageText("", 0.0, 0)
        lines = self._detector.detect(page)
        if 2 * sum(line.height > line.width for line in lines) > len(lines):
            page = cv2.rotate(page, cv2.ROTATE_90_COUNTERCLOCKWISE)
            lines = self._detector.detect(page)
        longest = sorted(lines, key=lambda line: -line.width)[:_SAMPLE]
        texts = self._recognize(page, longest)
        if _confidence(texts.values()) < _TURNED_BELOW:
            turned_page = cv2.rotate(page, cv2.ROTATE_180)
            turned_texts = self._recognize(turned_page, [_turned(line, page) for line in longest])
            if _confidence(turned_texts.values()) > _confidence(texts.values()):
                lines = [_turned(line, page) for line in lines]
                page, texts = turned_page, turned_texts
        texts |= self._recognize(page, [line for line in lines if line not in texts])
        rows = [[texts[line].text.strip() for line in row] for row in _rows(lines)]
        text = "\n".join(" ".join(filter(None, row)) for row in rows if any(row))
        return PageText(text, _confidence(texts.values()), sum(bool(line) for row in rows for line in row))

    def _recognize(self, page: npt.NDArray[np.uint8], lines: list[Line]) -> dict[Line, LineText]:
        return {line: self._recognizer.recognize(page, line) for line in lines}


def _without_margins(page: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The part of a page that has anything on it, empty where nothing has: networks overlook a word on a vast page."""
    if page.size == 0:
        return page
    rows = np.flatnonzero(np.ptp(page, axis=1) >= _FAINTEST)
    columns = np.flatnonzero(np.ptp(page, axis=0) >= _FAINTEST)
    if not rows.size or not columns.size:
        return page[:0]
    return np.ascontiguousarray(
        page[
            max(rows[0] - _MARGIN, 0) : rows[-1] + 1 + _MARGIN, max(columns[0] - _MARGIN, 0) : columns[-1] + 1 + _MARGIN
        ]
    )


def _turned(line: Line, page: npt.NDArray[np.uint8]) -> Line:
    """The line's place once the page is turned by 180 degrees."""
    height, width = page.shape
    return Line(width - line.x, height - line.y, line.width, line.height, line.angle)


def _confidence(texts: Iterable[LineText]) -> float:
    """Mean of the lines, weighted by characters; 0 without any."""
    lines = list(texts)
    n_characters = sum(len(line.text) for line in lines)
    if not n_characters:
        return 0.0
    return sum(line.confidence * len(line.text) for line in lines) / n_characters


def _rows(lines: list[Line]) -> list[list[Line]]:
    """Rows from top to bottom, each from left to right.

    A line joins the row whose last line it overlaps vertically by more than half of the lower of both, once the slope
    that the page's lines have in common is taken away.
    """
    if not lines:
        return []
    slope = math.tan(float(np.median([line.angle for line in lines for _ in range(max(round(line.width), 1))])))
    rows: list[list[Line]] = []
    middles: list[float] = []
    for line in sorted(lines, key=lambda line: (line.y - slope * line.x, line.x)):
        middle = line.y - slope * line.x
        if rows and abs(middle - middles[-1]) < 0.5 * min(line.height, rows[-1][-1].height):
            rows[-1].append(line)
        else:
            rows.append([line])
            middles.append(middle)
    return [sorted(row, key=lambda line: line.x) for row in rows]
