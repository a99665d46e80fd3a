"""Files of arrays: the same arrays give the same bytes, and what is not such a file is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import BundleError


def arrays_to_bytes(arrays: Mapping[str, npt.NDArray[Any]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The content of an npz file without any date in it, compressed by one of zipfile's methods."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), compression)
    return buffer.getvalue()


def read_arrays(content: bytes, expected: Mapping[str, tuple[int, type]], where: str) -> dict[str, npt.NDArray[Any]]:
    """Reads the content of an npz file.

    Args:
        content: any bytes at all.
        expected: name -> number of axes and type of every array that it holds.
        where: names the file in errors.

    Raises:
        BundleError: it is no such file, or holds other arrays, or values that are not finite.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise BundleError(f"{where}: not readable: {type(error).__name__}; build the bundle again") from None
    if set(arrays) != set(expected):
        raise BundleError(
            f"{where}: expected the arrays {', '.join(sorted(expected))}, found {', '.join(sorted(arrays)) or 'none'}; "
            "build the bundle again"
        )
    for name, (n_axes, kind) in expected.items():
        array = arrays[name]
        if array.ndim != n_axes or array.dtype != kind:
            raise BundleError(
                f"{where}: expected {name!r} as {np.dtype(kind).name} of {n_axes} axes, found {array.dtype.name} of "
                f"{array.ndim}; build the bundle again"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BundleError(f"{where}: {name!r} holds values that are not finite; build the bundle again")
    return arrays
