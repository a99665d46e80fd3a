"""Characters of a line, read from its picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from extraction.ocr.detection import Line, as_input
from extraction.ocr.model_files import open_session

_HEIGHT = 48  # of the network's input
_NARROWED = 0.9  # width of the input over that of the line at this height: narrower is quicker, and reads as well
_WIDTH_STEP = 16  # widths are multiples of it, so that the network sees few shapes
_MAX_WIDTH = 3200
_UPRIGHT_ASPECT = 1.5  # a line higher than this many widths is read from bottom to top


@dataclass(frozen=True)
class LineText:
    """Characters of a line.

    Attributes:
        text: "" where the network sees none.
        confidence: mean probability of the characters, in [0, 1]; 0 without any.
    """

    text: str
    confidence: float


class LineRecognizer:
    """Reads lines, each on its own and at its own width, so that no answer depends on a neighbour.

    Args:
        graph: content of the recognizer's ONNX file.
        characters: of its outputs, without the blank that comes first and the space that comes last; None to take them
            from the graph's metadata.
    """

    def __init__(self, graph: bytes, characters: tuple[str, ...] | None) -> None:
        self._session: ort.InferenceSession = open_session(graph)
        if characters is None:
            characters = tuple(self._session.get_modelmeta().custom_metadata_map["character"].split("\n"))
        self._characters = np.array(["", *characters, " "])

    def recognize(self, page: npt.NDArray[np.uint8], line: Line) -> LineText:
        """Reads one line of a grey page (height, width)."""
        (probabilities,) = self._session.run(None, {"x": as_input(_cut_out(page, line))})
        return self._decode(probabilities[0])

    def _decode(self, probabilities: npt.NDArray[np.float32]) -> LineText:
        """The best path (steps, characters), repeats and blanks left out (connectionist temporal classification)."""
        best = probabilities.argmax(axis=1)
        kept = (best != 0) & (np.diff(best, prepend=0) != 0)
        if not kept.any():
            return LineText("", 0.0)
        confidence = probabilities[kept, best[kept]].mean(dtype=np.float64)
        return LineText("".join(self._characters[best[kept]]), float(confidence))


def _cut_out(page: npt.NDArray[np.uint8], line: Line) -> npt.NDArray[np.uint8]:
    """The line's picture (48, width), straightened; a tall one is turned by 90 degrees."""
    width, height = max(round(line.width), 1), max(round(line.height), 1)
    across = np.array([np.cos(line.angle), np.sin(line.angle)])
    down = np.array([-across[1], across[0]])
    corner = np.array([line.x, line.y]) - across * line.width / 2 - down * line.height / 2
    # From pixels of the picture to pixels of the page.
    transform = np.column_stack([across * line.width / width, down * line.height / height, corner])
    picture = cv2.warpAffine(
        page, transform, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    if height > _UPRIGHT_ASPECT * width:
        picture = cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE)
        width, height = height, width
    steps = max(round(_NARROWED * width * _HEIGHT / height / _WIDTH_STEP), 1)
    size = (min(steps * _WIDTH_STEP, _MAX_WIDTH), _HEIGHT)
    resized: npt.NDArray[np.uint8] = cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA if height > _HEIGHT else cv2.INTER_LINEAR
    )
    return resized
