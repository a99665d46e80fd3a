"""ZIP archives: members in their order, read into memory one at a time and only as far as the limits allow."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from extraction.documents import UnreadableError
from extraction.members import clean_name
from schemas.codes import Reason

_SYSTEM_FOLDER = "__MACOSX"
_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_ENCRYPTED = 0x1
_ENTRY_START = b"PK\x01\x02"


@dataclass(frozen=True)
class ZipMember:
    """A member that has not been read yet.

    Attributes:
        ordinal: place in the archive's directory, from 1.
        name: cleaned.
        is_system_file: True for what an operating system puts beside documents.
    """

    ordinal: int
    name: str
    is_system_file: bool
    size: int
    _archive: zipfile.ZipFile
    _entry: zipfile.ZipInfo

    def read(self, *, max_bytes: int, max_ratio: int) -> bytes:
        """Unpacks the member.

        Raises:
            UnreadableError: it is encrypted, damaged, too large or compressed beyond belief.
        """
        entry = self._entry
        if entry.flag_bits & _ENCRYPTED:
            raise UnreadableError(Reason.ENCRYPTED_DOCUMENT, "a member of an archive that needs a password")
        if entry.file_size > max_bytes:
            raise UnreadableError(
                Reason.RECORD_TOO_LARGE,
                f"{entry.file_size} bytes; expected at most extraction.max_file_bytes = {max_bytes}",
            )
        if entry.file_size > max_ratio * max(entry.compress_size, 1):
            raise UnreadableError(
                Reason.ARCHIVE_LIMITS,
                f"{entry.compress_size} bytes that unpack to {entry.file_size}; expected at most "
                f"extraction.max_ratio = {max_ratio} times as many",
            )
        try:
            with self._archive.open(entry) as stream:
                content = stream.read(entry.file_size + 1)
        except NotImplementedError:
            raise UnreadableError(
                Reason.UNSUPPORTED_FORMAT, "a member compressed by a method other than deflate, bzip2 and LZMA"
            ) from None
        except MemoryError:
            raise
        except Exception as error:
            raise UnreadableError(
                Reason.EXTRACTION_FAILED, f"a damaged member of an archive ({type(error).__name__})"
            ) from None
        if len(content) != entry.file_size:
            raise UnreadableError(
                Reason.EXTRACTION_FAILED, f"{len(content)} bytes; the archive's directory says {entry.file_size}"
            )
        return content


def open_zip(content: bytes, *, max_members: int, max_bytes: int) -> Iterator[ZipMember]:
    """The members of an archive without its folders, in the order of its directory.

    Args:
        content: of the archive.
        max_members: most entries.
        max_bytes: most bytes of all members, by the directory; reading a member checks its own.

    Raises:
        UnreadableError: the archive is damaged or exceeds a limit.
    """
    if content.count(_ENTRY_START) > max_members:  # before a directory of millions takes the memory
        raise _too_many(max_members)
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableError(
            Reason.EXTRACTION_FAILED, f"the archive is damaged or cut off ({type(error).__name__})"
        ) from None
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise UnreadableError(
            Reason.ARCHIVE_LIMITS,
            f"members of {total} bytes; {max_bytes} are left of extraction.max_unpacked_bytes",
        )
    return (
        ZipMember(ordinal, clean_name(entry.filename), _is_system_file(entry.filename), entry.file_size, archive, entry)
        for ordinal, entry in enumerate(entries, start=1)
        if not entry.is_dir()
    )


def _too_many(max_members: int) -> UnreadableError:
    return UnreadableError(Reason.ARCHIVE_LIMITS, f"more members than the {max_members} left of extraction.max_members")


def _is_system_file(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return _SYSTEM_FOLDER in parts or parts[-1].lower() in _SYSTEM_FILES
