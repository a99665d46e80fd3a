"""Objects of a store (S3, Google Cloud Storage, Azure) by key.

Credentials and endpoint come from environment variables, as the libraries read them: `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`; `GOOGLE_APPLICATION_CREDENTIALS`;
`AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`; or from the identity of the machine. The libraries are
imported only when a store is opened.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from schemas.errors import ConfigError, RunFailedError
from schemas.system import pip_install
from warehouse.store_errors import explained, region

SCHEMES = ("s3", "gs", "abfss", "abfs", "az")
_S3 = "s3://"
# Other characters are written in two ways, as themselves and percent-encoded, and ".." is resolved or not.
_SAFE_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._+=:@~-]+")
_REQUESTS_AT_ONCE = 32  # copies within the store and deletions wait for it, and move no byte through this machine
_DOWNLOADS_AT_ONCE = 16
_DELETIONS_AT_ONCE = 1000  # the library sends all it is given at the same time, and a slow store cuts the last off
_CREATE_ATTEMPTS = 6
# The library itself sends a deletion or a creation no second time once it may have been carried out.
_REPEATS = 3
_CLOCK = "_clock"
_T = TypeVar("_T")

# A dead store is given up on after some 20 seconds, a request that hangs after a minute: the libraries' own limit is
# three minutes. A gateway that starts anew is waited for.
_CONNECT_SECONDS, _REQUEST_SECONDS = 5, 60
_RETRIES, _RETRY_SECONDS = 8, 20
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 4


@dataclass(frozen=True)
class StoredObject:
    """An object as the store lists it.

    Attributes:
        key: below the store's URI.
        size: in bytes.
        e_tag: the store's own mark of the content, without quotes.
        modified: when it was written, by the store's clock.
    """

    key: str
    size: int
    e_tag: str
    modified: datetime.datetime


@dataclass(frozen=True)
class ObjectStore:
    """The objects below one URI. It can be pickled; each process opens the store once.

    Every method raises:
        ConfigError: the libraries are missing, or the URI has another scheme.
        StorageError: somebody has to change something first: credentials, rights, the region, the bucket.
        RunFailedError: the store is unreachable or busy, or its quota is full.
    """

    uri: str

    def read(self, key: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        with explained(self.uri, key):
            return bytes(_library().get(self._store, key).bytes())

    def read_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The contents of objects, in the order of the keys, some of them at a time.

        Raises:
            FileNotFoundError: one is missing.
        """
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            yield from pool.map(self.read, keys)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes `start` to `start + length` of an object; fewer where it ends.

        Raises:
            FileNotFoundError: there is none.
        """
        with explained(self.uri, key):
            return bytes(_library().get_range(self._store, key, start=start, length=length))

    def head(self, key: str) -> StoredObject:
        """Size, tag and time of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        with explained(self.uri, key):
            return _stored(_library().head(self._store, key))

    def write(self, key: str, content: bytes) -> None:
        """Writes an object, in place of any that is there."""
        self.put_versioned(key, content)

    def put_versioned(self, key: str, content: bytes) -> tuple[str, str | None]:
        """Writes an object; gives its tag and, where the store keeps earlier versions, the number of its version."""
        with explained(self.uri, key):
            result = _library().put(self._store, key, content)
        return _bare(result["e_tag"]), result["version"]

    def put_new(self, key: str, content: bytes) -> str:
        """Writes an object where none is; gives its tag. Of several writers exactly one succeeds.

        The same bytes count as written by this call, because an answer may be lost and the call repeated.

        Raises:
            FileExistsError: an object of other content is there.
        """
        library = _library()
        for attempt in range(_CREATE_ATTEMPTS):
            try:
                with explained(self.uri, key):
                    return _bare(library.put(self._store, key, content, mode="create", use_multipart=False)["e_tag"])
            except RunFailedError:
                if attempt + 1 == _REPEATS:
                    raise
            except library.exceptions.AlreadyExistsError:
                # S3 also says so while another writer is at it, who may yet fail: then nothing is there.
                with contextlib.suppress(FileNotFoundError), explained(self.uri, key):
                    there = library.get(self._store, key)
                    if there.meta["size"] != len(content) or bytes(there.bytes()) != content:
                        raise FileExistsError(key) from None
                    return _bare(there.meta["e_tag"])
            time.sleep(0.05 * 2**attempt)
        raise RunFailedError(f"{self.uri}/{key}: the store says that it exists, and that it does not; run again")

    def list(self, prefix: str = "", after: str | None = None) -> tuple[StoredObject, ...]:
        """The objects in a folder and those below it, in the order of their keys.

        Args:
            prefix: key of the folder, as in "runs/"; "" for all.
            after: a key of the folder; objects up to and including it are left out.
        """
        with explained(self.uri, prefix):
            found = _library().list(self._store, prefix or None, offset=after).collect()
        return tuple(sorted(map(_stored, found), key=attrgetter("key")))

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The names of the folders in a folder, sorted. Some stores go on naming one that was emptied."""
        with explained(self.uri, prefix):
            found = _library().list_with_delimiter(self._store, prefix)["common_prefixes"]
        return tuple(sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found))

    def copy(self, source: str, target: str) -> None:
        """Copies an object within the store, in place of any that is there.

        Raises:
            FileNotFoundError: there is no source.
        """
        with explained(self.uri, source):
            _library().copy(self._store, source, target)

    def copy_all(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Copies (source, target) pairs, many at a time; the first error ends it.

        Raises:
            FileNotFoundError: a source is missing.
        """
        _many_at_once(lambda pair: self.copy(*pair), pairs)

    def clock(self) -> datetime.datetime:
        """The time by the store's clock, to which the times of its objects are compared; writes one small object."""
        self.write(_CLOCK, b"")
        return self.head(_CLOCK).modified

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; those that are gone already are no error."""
        for start in range(0, len(keys), _DELETIONS_AT_ONCE):
            some = keys[start : start + _DELETIONS_AT_ONCE]
            try:
                self._delete(some)
            except FileNotFoundError:  # of some stores it is one, and ends the deletion of the others
                _many_at_once(self._delete_if_there, some)

    def _delete_if_there(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._delete([key])

    def _delete(self, keys: Sequence[str]) -> None:
        for attempt in range(_REPEATS):
            try:
                with explained(self.uri, keys[0]):
                    _library().delete(self._store, [*keys])
                return
            except RunFailedError:
                if attempt + 1 == _REPEATS:
                    raise

    def location(self, key: str) -> str:
        """The URI of an object, or of the store for ""."""
        return f"{self.uri}/{key}"

    @property
    def delta_options(self) -> dict[str, str]:
        """Options with which deltalake opens the same store: the limits of a request, and the region.

        The rest it reads from the environment itself.
        """
        limits = {
            "connect_timeout": f"{_CONNECT_SECONDS}s",
            "timeout": f"{_REQUEST_SECONDS}s",
            "max_retries": str(_RETRIES),
            "retry_timeout": f"{_RETRY_SECONDS}s",
            "backoff_config.init_backoff": f"{_FIRST_PAUSE_SECONDS * 1000:.0f}ms",
            "backoff_config.max_backoff": f"{_LONGEST_PAUSE_SECONDS}s",
        }
        return limits | ({"AWS_REGION": region()} if self.uri.startswith(_S3) else {})

    @property
    def _store(self) -> Any:
        return _opened(self.uri)


def _many_at_once(act: Callable[[_T], None], items: Iterable[_T]) -> None:
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        futures = [pool.submit(act, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def is_uri(place: str) -> bool:
    """True where a place is the URI of an object store, not a path."""
    return "://" in place


def object_store(uri: str) -> ObjectStore:
    """The store of a URI; opens nothing yet.

    Raises:
        ConfigError: the scheme is another one, the bucket is not named, a name in it may be written in two ways, or the
            libraries are missing.
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in SCHEMES:
        raise ConfigError(
            f"warehouse: found {uri!r}, expected a folder or a URI that begins with s3://, gs://, abfss:// or az://"
        )
    if not rest.strip("/") or "?" in rest or "#" in rest:
        raise ConfigError(f"warehouse: found {uri!r}, expected {scheme}://BUCKET/FOLDER without options")
    if not all(_SAFE_NAME.fullmatch(name) for name in rest.rstrip("/").split("/")):
        raise ConfigError(
            f"warehouse: found {uri!r}, expected names of ASCII letters, digits and . _ - + = : @ ~ between slashes, "
            "and none that is empty, . or ..; name another place"
        )
    _library()
    return ObjectStore(uri.rstrip("/"))


def _library() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError:
        raise missing_extra() from None
    return obstore


def missing_extra() -> ConfigError:
    """The error of a warehouse on an object store where the libraries for it are not installed."""
    return ConfigError(f"a warehouse on an object store needs the extra `lake`: {pip_install('lake')}")


@functools.cache
def _opened(uri: str) -> Any:
    settings: dict[str, Any] = {
        "client_options": {
            "connect_timeout": f"{_CONNECT_SECONDS}s",
            "timeout": f"{_REQUEST_SECONDS}s",
            "allow_http": any(os.environ.get(f"{cloud}_ALLOW_HTTP") == "true" for cloud in ("AWS", "AZURE", "GOOGLE")),
        },
        "retry_config": {
            "max_retries": _RETRIES,
            "retry_timeout": datetime.timedelta(seconds=_RETRY_SECONDS),
            "backoff": {
                "init_backoff": datetime.timedelta(seconds=_FIRST_PAUSE_SECONDS),
                "max_backoff": datetime.timedelta(seconds=_LONGEST_PAUSE_SECONDS),
                "base": 2,
            },
        },
    }
    if uri.startswith(_S3):
        settings["region"] = region()
    with explained(uri):
        return _library().store.from_url(uri, **settings)


def _stored(meta: Any) -> StoredObject:
    return StoredObject(meta["path"], meta["size"], _bare(meta["e_tag"]), meta["last_modified"])


def _bare(tag: str | None) -> str:
    return (tag or "").strip('"')  # some stores quote the tag in one answer and not in another
