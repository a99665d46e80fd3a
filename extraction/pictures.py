"""Pictures as grey pages: JPEG, PNG, TIFF, WebP, GIF, BMP, and HEIC where its library is installed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from extraction.documents import UnreadableError
from extraction.media_types import HEIC, TIFF
from schemas.codes import Reason

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, UnidentifiedImageError)  # what Pillow raises
_FORMATS = ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "MPO"]


def read_pages(
    content: bytes, media_type: str, *, max_pixels: int, max_pages: int
) -> Iterator[npt.NDArray[np.uint8] | None]:
    """Decodes the pages of a picture as grey values of shape (height, width), 0 for black; see `read_frames`."""
    import numpy as np

    for frame in read_frames(content, media_type, max_pixels=max_pixels, max_pages=max_pages):
        yield None if frame is None else np.asarray(frame.convert("L"))


def read_frames(content: bytes, media_type: str, *, max_pixels: int, max_pages: int) -> Iterator[Image.Image | None]:
    """Decodes the pages of a picture, one at a time, as a reader would hold them: turned as EXIF says, on white.

    Args:
        content: of the file.
        media_type: as detected.
        max_pixels: most pixels of a page.
        max_pages: most pages of a TIFF; of other formats only the first picture is read.

    Returns:
        Pages, in colour or grey; None for a page that is damaged.

    Raises:
        UnreadableError: the picture is too large, cannot be opened, or its library is missing.
    """
    formats = _FORMATS
    if media_type == HEIC:
        _register_heic()
        formats = ["HEIF"]
    Image.MAX_IMAGE_PIXELS = None  # one limit, ours
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata, which is not read
        try:
            picture = Image.open(io.BytesIO(content), formats=formats)
            n_pages = getattr(picture, "n_frames", 1) if media_type == TIFF else 1
        except _DAMAGE as error:
            raise UnreadableError(
                Reason.EXTRACTION_FAILED, f"the picture is damaged or cut off ({type(error).__name__})"
            ) from None
        if n_pages > max_pages:
            raise UnreadableError(
                Reason.TOO_MANY_PAGES,
                f"{n_pages} pages; expected at most {max_pages}, by extraction.max_ocr_pages and max_pages",
            )
        with picture:
            for number in range(n_pages):
                try:
                    picture.seek(number)
                    width, height = picture.size
                    if width * height > max_pixels:
                        raise UnreadableError(
                            Reason.TOO_MANY_PIXELS,
                            f"{width} x {height} pixels; expected at most extraction.max_pixels = {max_pixels}",
                        )
                    page = _upright(picture)
                except _DAMAGE:
                    yield None
                else:
                    yield page


def _upright(frame: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(frame)
    if upright.mode.startswith("I;16"):  # 16 bits, which "L" would clip
        upright = upright.convert("I").point(lambda value: value / 256)
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright)
    return upright


def _register_heic() -> None:
    try:
        import pi_heif
    except ImportError:
        raise UnreadableError(Reason.UNSUPPORTED_FORMAT, "a HEIC picture; install docyard[heic] to read it") from None
    pi_heif.register_heif_opener()
