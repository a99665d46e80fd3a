"""Grey pages with text, drawn with the font that Pillow carries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

RECEIPT = (
    "GARDEN CAFE AND BAKERY",
    "12 Harbour Street, Lisbon",
    "Tax number 501 442 600",
    "Date 03/11/2026 Time 14:05",
    "Flat white coffee 2 7.40",
    "Cheese and ham toast 1 6.85",
    "Orange juice, fresh 1 4.20",
    "Carrot cake with walnuts 1 5.10",
    "Subtotal 23.55",
    "Service charge 10% 2.36",
    "TOTAL 25.91",
    "Paid by card ending 4417",
    "Thank you and see you soon",
)


def draw_page(
    lines: Sequence[str], size: int = 28, width: int = 700, margin: int = 40, spacing: float = 1.5
) -> npt.NDArray[np.uint8]:
    """Draws black lines on white.

    Args:
        lines: from top to bottom; a tab in one leaves a wide gap.
        size: of the font, in pixels.
        width: of the page, in pixels.
        margin: on each side, in pixels.
        spacing: from line to line, in sizes of the font.

    Returns:
        (height, width) grey.
    """
    font = ImageFont.load_default(size=size)
    page = Image.new("L", (width, round(2 * margin + len(lines) * size * spacing)), 255)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        x: float = margin
        for part in line.split("\t"):
            draw.text((x, margin + number * size * spacing), part, fill=0, font=font)
            x += width / 2
    return np.asarray(page).copy()
