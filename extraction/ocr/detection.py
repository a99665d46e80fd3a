"""Lines of text on a page: where they are and how they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from extraction.ocr.model_files import open_session

# The network answers for each pixel with the probability that it belongs to the core of a line, which is narrower
# than the line (differentiable binarization, Liao et al. 2020). `python -m benchmarks ocr` measures what these change.
_PIXEL_THRESHOLD = 0.3
_LINE_THRESHOLD = 0.5
_UNCLIP_RATIO = 1.8
_MAX_LINES = 3000
_MIN_SIDE = 3  # pixels of a core as the network sees it; less is noise
_STRIDE = 32  # the network halves its input five times
_MAX_ASPECT = 4  # longest side of the network's input over its width: bounds memory
_MAX_ENLARGEMENT = 2.0


@dataclass(frozen=True)
class Line:
    """A rectangle around a line of text, in pixels of the page.

    Attributes:
        x: of the middle.
        y: of the middle.
        width: along the side that is nearer to horizontal.
        height: of the other side.
        angle: of the width, in radians, positive where it falls to the right; within a quarter of pi on either side.
    """

    x: float
    y: float
    width: float
    height: float
    angle: float


class LineDetector:
    """Finds lines.

    Args:
        graph: content of the detector's ONNX file.
        width: of the picture that the network sees, in pixels; a multiple of 32.
    """

    def __init__(self, graph: bytes, width: int) -> None:
        self._session: ort.InferenceSession = open_session(graph)
        self._width = width

    def detect(self, page: npt.NDArray[np.uint8]) -> list[Line]:
        """The lines of a grey page (height, width), in no particular order."""
        height, width = page.shape
        seen_width, seen_height = _network_size(width, height, self._width)
        shrinks = seen_width < width
        seen = cv2.resize(
            page, (seen_width, seen_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        (probabilities,) = self._session.run(None, {"x": as_input(seen)})
        scale_x, scale_y = width / seen_width, height / seen_height
        return [_scaled(core, scale_x, scale_y) for core in _cores(probabilities[0, 0])]


def as_input(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A grey picture (height, width) as both networks take it: (1, 3, height, width) in [-1, 1]."""
    return np.broadcast_to(picture / np.float32(127.5) - 1, (1, 3, *picture.shape))


def _network_size(width: int, height: int, wanted: int) -> tuple[int, int]:
    """Size of the network's input: its shorter side as wanted, less where the page is small or very long."""
    scale = min(wanted / min(width, height), wanted * _MAX_ASPECT / max(width, height), _MAX_ENLARGEMENT)
    return (
        max(round(width * scale / _STRIDE), 1) * _STRIDE,
        max(round(height * scale / _STRIDE), 1) * _STRIDE,
    )


def _cores(probabilities: npt.NDArray[np.float32]) -> list[Line]:
    """The lines' rectangles, enlarged from their cores, in pixels of the network's input."""
    mask = (probabilities > _PIXEL_THRESHOLD).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    lines = []
    for contour in contours[:_MAX_LINES]:
        (x, y), (width, height), degrees = cv2.minAreaRect(contour)
        if min(width, height) < _MIN_SIDE or _mean_inside(probabilities, contour) < _LINE_THRESHOLD:
            continue
        while degrees > 45:
            width, height, degrees = height, width, degrees - 90
        while degrees <= -45:
            width, height, degrees = height, width, degrees + 90
        margin = width * height * _UNCLIP_RATIO / (2 * (width + height))  # on each side
        lines.append(Line(x, y, width + 2 * margin, height + 2 * margin, math.radians(degrees)))
    return lines


def _mean_inside(probabilities: npt.NDArray[np.float32], contour: npt.NDArray[np.int32]) -> float:
    x, y, width, height = cv2.boundingRect(contour)
    inside = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(inside, [contour - (x, y)], 1)
    return float(cv2.mean(probabilities[y : y + height, x : x + width], inside)[0])


def _scaled(line: Line, scale_x: float, scale_y: float) -> Line:
    """A line in pixels of the page; both scales are equal but for the rounding to the network's stride."""
    across_x, across_y = scale_x * math.cos(line.angle), scale_y * math.sin(line.angle)
    return Line(
        line.x * scale_x,
        line.y * scale_y,
        line.width * math.hypot(across_x, across_y),
        line.height * math.hypot(scale_x * math.sin(line.angle), scale_y * math.cos(line.angle)),
        math.atan2(across_y, across_x),
    )
