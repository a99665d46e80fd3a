"""Objects of a store (S3, Google Cloud Storage, Azure) by key, and its errors in words that name what to change.

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

from schemas.errors import ConfigError, DocyardError, RunFailedError, StorageError
from schemas.system import pip_install

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

    def get(self, key: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        with explained(self.uri, key):
            return bytes(_library().get(self._store, key).bytes())

    def get_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The contents of objects, in the order of the keys, some of them at a time.

        Raises:
            FileNotFoundError: one is missing.
        """
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            yield from pool.map(self.get, keys)

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

    def put(self, key: str, content: bytes) -> str:
        """Writes an object, in place of any that is there; gives its tag."""
        return self.put_versioned(key, content)[0]

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
        self.put(_CLOCK, b"")
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
        return limits | ({"AWS_REGION": _region()} if self.uri.startswith(_S3) else {})

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
        settings["region"] = _region()
    with explained(uri):
        return _library().store.from_url(uri, **settings)


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _stored(meta: Any) -> StoredObject:
    return StoredObject(meta["path"], meta["size"], _bare(meta["e_tag"]), meta["last_modified"])


def _bare(tag: str | None) -> str:
    return (tag or "").strip('"')  # some stores quote the tag in one answer and not in another


# Errors of a store


@contextlib.contextmanager
def explained(uri: str, key: str = "") -> Iterator[None]:
    """Turns an error of the libraries into one of ours; lets through that an object is, or is not, there."""
    try:
        yield
    except (DocyardError, FileExistsError):
        raise
    except FileNotFoundError as error:
        if _code(str(error)) in _NO_BUCKET:
            raise store_error(error, uri) from None
        raise FileNotFoundError(key) from None
    except Exception as error:
        if type(error).__name__ in _ANSWERS or not _of_a_library(error):
            raise
        raise store_error(error, uri) from None


def _of_a_library(error: Exception) -> bool:
    """deltalake raises OSError for what the store says, and both raise ValueError for a bad setting."""
    module = type(error).__module__
    return module.startswith(("obstore", "deltalake", "_internal")) or isinstance(error, OSError | ValueError)


_ANSWERS = {"AlreadyExistsError", "TableNotFoundError"}  # to a question, not failures
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"}
# Where the libraries look for the identity of the machine, having found no other.
_NO_IDENTITY = (
    "169.254.169.254",
    "169.254.170.2",
    "/latest/api/token",
    "/latest/meta-data/",
    "metadata.google.internal",
)
_WRONG_IDENTITY = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken", "InvalidToken"),
    *("TokenRefreshRequired", "AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"),
}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AuthorizationPermissionMismatch", "AuthorizationFailure", "Forbidden"}
_OTHER_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_FULL = {
    *("QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioStorageFull", "AccountLimitExceeded"),
    *("XMinioAdminBucketQuotaExceeded", "BucketQuotaExceeded", "ServiceQuotaExceededException"),
}


def store_error(error: Exception, uri: str) -> DocyardError:
    """The error of ours that an error of the store's libraries comes to, in one line that names what to change."""
    said = _plain(str(error))
    code, status = _code(said), _status(said)
    if code in _NO_BUCKET:
        return StorageError(f"{uri}: the store has no such bucket or container; correct the URI, or make it")
    if any(sign in said for sign in _NO_IDENTITY):
        return StorageError(f"{uri}: found no credentials; set {_variables(uri)}")
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{uri}: this machine's clock is off, and the store refuses it; set the clock")
    if code in _OTHER_REGION or "without LOCATION" in said:
        region = re.search(r"<Region>([\w-]+)</Region>|expecting '([\w-]+)'", said)
        where = f"to {region[1] or region[2]}" if region else "to the bucket's"
        return StorageError(f"{uri}: the bucket lies in another region than {_region()}; set AWS_REGION {where}")
    if "object lock" in said.lower() or "ObjectLock" in code or "Content-MD5" in said:
        return StorageError(
            f"{uri}: the bucket has object lock, which forbids replacing and deleting; name a bucket without it"
        )
    if code in _WRONG_IDENTITY or status == 401:
        return StorageError(
            f"{uri}: the store does not accept the credentials ({code or 'status 401'}); correct {_variables(uri)}"
        )
    if code in _FULL or status == 507:
        return RunFailedError(
            f"{uri}: the store has no room left ({code or 'status 507'}); free some, or raise its quota"
        )
    if code in _DENIED or status == 403:
        return StorageError(
            f"{uri}: access denied ({_request(said)}); give these credentials the right to list, read, write and "
            "delete objects there"
        )
    if "URL scheme is not allowed" in said or "builder error" in said:
        return StorageError(f"{uri}: the endpoint has no TLS; use an https:// address, or set AWS_ALLOW_HTTP=true")
    if not status and ("Error performing" in said or "HTTP error" in said):
        return RunFailedError(
            f"{uri}: the store cannot be reached{_endpoint(uri)}, or broke the connection; correct the address, or try "
            "again later"
        )
    if status >= 500 or code in ("SlowDown", "ServerBusy", "OperationTimedOut"):
        return RunFailedError(f"{uri}: the store failed ({code or f'status {status}'}); try again later")
    if "Unsupported: Feature" in said:
        return StorageError(
            f"{uri}: the table needs a newer reader of Delta ({said.rpartition('Unsupported: ')[2]}): another program "
            "raised its protocol; move it away and publish its partitions again"
        )
    return StorageError(f"{uri}: {code or said[:200]}")


def _plain(said: str) -> str:
    """The message without colours and without the libraries' account of their own structures."""
    shown = re.split(r"\n\nDebug source|\s+0: <unknown>", said)[0]
    return " ".join(re.sub(r"\x1b\[\d+m|↳", "", shown).split())


def _code(said: str) -> str:
    found = re.search(r"<Code>(\w+)</Code>", said)
    return found[1] if found else ""


def _status(said: str) -> int:
    found = re.search(r"status code\W+(\d{3})", said)
    return int(found[1]) if found else 0


def _request(said: str) -> str:
    """Method and object of the request that failed."""
    found = re.search(r"performing (\w+) \S+?//[^/]+(/\S*)", said)
    return f"{found[1]} {found[2]}" if found else "403"


def _endpoint(uri: str) -> str:
    address = os.environ.get("AWS_ENDPOINT_URL") if uri.startswith(_S3) else None
    return f" at {address}" if address else ""


def _variables(uri: str) -> str:
    if uri.startswith(_S3):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if uri.startswith("gs://"):
        return "GOOGLE_APPLICATION_CREDENTIALS"
    return "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
