"""Errors of an object store's libraries, turned into ours: one line that says what was found and what to change.

The libraries give texts and few types. A text holds the store's own code (`<Code>NoSuchBucket</Code>`), the status of
the answer, or words of the library; `_RULES` says what each of them means, and the first rule that fits counts.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from schemas.errors import DocyardError, RunFailedError, StorageError

_S3 = "s3://"
_ANSWERS = {"AlreadyExistsError", "TableNotFoundError"}  # to a question, not failures
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"}


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


class _Rule(NamedTuple):
    """An error of ours, and the signs of it: one is enough.

    Attributes:
        words: after the URI; may name `cause`, `region`, `set_region`, `variables`, `endpoint`, `request`, `feature`.
        codes: of the store.
        statuses: of its answer.
        said: pattern of the libraries' words.
    """

    error: type[DocyardError]
    words: str
    codes: Collection[str] = ()
    statuses: Collection[int] = ()
    said: str = r"(?!)"  # fits nothing

    def fits(self, code: str, status: int, said: str) -> bool:
        return code in self.codes or status in self.statuses or re.search(self.said, said) is not None


_RULES = (
    _Rule(StorageError, "the store has no such bucket or container; correct the URI, or make it", _NO_BUCKET),
    _Rule(
        StorageError,
        "found no credentials; set {variables}",
        # Where the libraries look for the identity of the machine, having found no other.
        said=r"169\.254\.169\.254|169\.254\.170\.2|/latest/api/token|/latest/meta-data/|metadata\.google\.internal",
    ),
    _Rule(
        StorageError,
        "this machine's clock is off, and the store refuses it; set the clock",
        {"RequestTimeTooSkewed"},
    ),
    _Rule(
        StorageError,
        "the bucket lies in another region than {region}; set AWS_REGION {set_region}",
        {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"},
        said="without LOCATION",
    ),
    _Rule(
        StorageError,
        "the bucket has object lock, which forbids replacing and deleting; name a bucket without it",
        said="(?i:object lock)|<Code>[^<]*ObjectLock|Content-MD5",
    ),
    _Rule(
        StorageError,
        "the store does not accept the credentials ({cause}); correct {variables}",
        {
            *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken", "InvalidToken"),
            *("TokenRefreshRequired", "AuthenticationFailed", "InvalidAuthenticationInfo"),
            "NoAuthenticationInformation",
        },
        {401},
    ),
    _Rule(
        RunFailedError,
        "the store has no room left ({cause}); free some, or raise its quota",
        {
            *("QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioStorageFull"),
            *("AccountLimitExceeded", "XMinioAdminBucketQuotaExceeded", "BucketQuotaExceeded"),
            "ServiceQuotaExceededException",
        },
        {507},
    ),
    _Rule(
        StorageError,
        "access denied ({request}); give these credentials the right to list, read, write and delete objects there",
        {
            *("AccessDenied", "AllAccessDisabled", "AuthorizationPermissionMismatch", "AuthorizationFailure"),
            "Forbidden",
        },
        {403},
    ),
    _Rule(
        StorageError,
        "the endpoint has no TLS; use an https:// address, or set AWS_ALLOW_HTTP=true",
        said="URL scheme is not allowed|builder error",
    ),
    _Rule(
        RunFailedError,
        "the store cannot be reached{endpoint}, or broke the connection; correct the address, or try again later",
        said=r"^(?!.*status code\W+\d{3}).*(Error performing|HTTP error)",
    ),
    _Rule(
        RunFailedError,
        "the store failed ({cause}); try again later",
        {"SlowDown", "ServerBusy", "OperationTimedOut"},
        range(500, 600),
    ),
    _Rule(
        StorageError,
        "the table needs a newer reader of Delta ({feature}): another program raised its protocol; move it away and "
        "publish its partitions again",
        said="Unsupported: Feature",
    ),
)


def store_error(error: Exception, uri: str) -> DocyardError:
    """The error of ours that an error of the store's libraries comes to."""
    said = _plain(str(error))
    code, status = _code(said), _status(said)
    for rule in _RULES:
        if rule.fits(code, status, said):
            words = rule.words.format(
                cause=code or f"status {status}",
                region=region(),
                set_region=_set_region(said),
                variables=_variables(uri),
                endpoint=_endpoint(uri),
                request=_request(said),
                feature=said.rpartition("Unsupported: ")[2],
            )
            return rule.error(f"{uri}: {words}")
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


def _set_region(said: str) -> str:
    found = re.search(r"<Region>([\w-]+)</Region>|expecting '([\w-]+)'", said)
    return f"to {found[1] or found[2]}" if found else "to the bucket's"


# The environment, as the libraries read it


def region() -> str:
    """The region in which buckets of S3 are looked for."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _endpoint(uri: str) -> str:
    address = os.environ.get("AWS_ENDPOINT_URL") if uri.startswith(_S3) else None
    return f" at {address}" if address else ""


def _variables(uri: str) -> str:
    if uri.startswith(_S3):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if uri.startswith("gs://"):
        return "GOOGLE_APPLICATION_CREDENTIALS"
    return "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
