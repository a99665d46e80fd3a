from __future__ import annotations

import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable

import pytest

pytest.importorskip("obstore", reason="the extra `lake` is not installed")

from schemas.errors import ConfigError, DocyardError, RunFailedError, StorageError
from tests.support.careless_store import careless_store
from tests.support.lake_runs import LakeRun, check_settled, whole
from tests.support.lossy_proxy import lossy_proxy
from tests.support.object_store import READER, ObjectServer
from warehouse.delta import open_table
from warehouse.objects import ObjectStore, object_store


@pytest.fixture(autouse=True)
def _soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warehouse.objects._RETRIES", 1)


@pytest.fixture
def store(lake_uri: str) -> ObjectStore:
    return object_store(lake_uri)


def test_what_is_put_is_found_listed_copied_and_deleted(store: ObjectStore) -> None:
    tag, _ = store.put_versioned("a/one", b"content")
    store.write("a/b/two", b"")
    store.write("ab/three", b"")
    assert store.read("a/one") == b"content"
    assert store.read_range("a/one", 3, 100) == b"tent"
    assert [item.key for item in store.list("a/")] == ["a/b/two", "a/one"]
    assert (store.list("a/")[1].e_tag, store.list("a/")[1].size) == (tag, 7)
    assert [item.key for item in store.list("a/", after="a/b/two")] == ["a/one"]
    store.copy_all([("a/one", "c/one"), ("a/one", "c/two")])
    assert store.read("c/two") == b"content"
    store.delete(["a/one", "a/nothing"])
    with pytest.raises(FileNotFoundError, match=r"^a/one$"):
        store.read("a/one")
    with pytest.raises(FileNotFoundError):
        store.copy_all([("a/one", "c/three")])


def test_of_many_who_create_an_object_at_once_one_wins(store: ObjectStore) -> None:
    wins: list[int] = []
    gate = threading.Barrier(4)

    def create(number: int) -> None:
        gate.wait()
        try:
            store.put_new("token", str(number).encode())
        except FileExistsError:
            return
        wins.append(number)

    for _ in range(3):
        threads = [threading.Thread(target=create, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1
        assert store.read("token") == str(wins.pop()).encode()
        store.delete(["token"])


def test_the_same_bytes_count_as_created_by_this_call(store: ObjectStore) -> None:
    content = b"x" * 20_000_000  # more than one part of a multipart upload
    assert store.put_new("large", content) == store.put_new("large", content)
    with pytest.raises(FileExistsError):
        store.put_new("large", content[1:])


def test_a_conflict_with_nothing_there_is_tried_again(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    put, failures = obstore.put, [1, 1]

    def busy(*arguments: object, **options: object) -> object:
        if failures:
            failures.pop()
            raise obstore.exceptions.AlreadyExistsError("409")
        return put(*arguments, **options)

    monkeypatch.setattr(obstore, "put", busy)
    assert store.put_new("token", b"1")
    assert failures == []


def test_objects_are_deleted_where_one_that_is_gone_is_an_error(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Azure has it."""
    import obstore

    delete = obstore.delete

    def strict(place: object, keys: str | list[str]) -> None:
        for key in [keys] if isinstance(keys, str) else keys:
            obstore.head(place, key)
            delete(place, key)

    monkeypatch.setattr(obstore, "delete", strict)
    store.write("a", b"")
    store.write("c", b"")
    store.delete(["a", "b", "c"])
    assert store.list() == ()


def test_a_store_goes_to_another_process(store: ObjectStore) -> None:
    store.write("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"


# Some libraries percent-encode or resolve these, and others do not.
_NAMES_OF_TWO_FORMS = ("Team A", "Büro", "a%20b", "..", ".", "", "a<b", "a`b", "a{b", "a\\b", "a\nb")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/x", "begins with s3://, gs://, abfss:// or az://"),
        ("s3://", "expected s3://BUCKET/FOLDER"),
        ("s3://bucket/x?versionId=1", "expected s3://BUCKET/FOLDER"),
        *((f"s3://bucket/{name}/x", "expected names of ASCII letters") for name in _NAMES_OF_TWO_FORMS),
    ],
)
def test_a_uri_that_names_no_place_is_refused(uri: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        object_store(uri)


@pytest.mark.parametrize("place", ["a.b_c-d+e=f:g@h~i", "..a", "a/"])
def test_keys_of_the_log_are_those_of_the_store_in_any_place_that_is_allowed(lake_uri: str, place: str) -> None:
    run = LakeRun("run", {"ticket": 1})
    store = object_store(f"{lake_uri}/{place}")
    run.publish(store)
    check_settled(store, whole(run))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[lake\]"):
        object_store("s3://bucket/x")


# Errors: each is one line that names what to change


def _told(act: Callable[[], object]) -> DocyardError:
    with pytest.raises(DocyardError) as raised:
        act()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
    return raised.value


def _put_and_open(store: ObjectStore) -> list[DocyardError]:
    """The error that each of the two libraries comes to."""
    from schemas.tables import DRIFT

    return [_told(lambda: store.write("x", b"")), _told(lambda: open_table(store, DRIFT))]


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, StorageError, "SignatureDoesNotMatch.*correct AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, StorageError, "InvalidAccessKeyId.*correct AWS_ACCESS_KEY_ID"),
        ({"AWS_ALLOW_HTTP": "false"}, StorageError, "no TLS; use an https:// address, or set AWS_ALLOW_HTTP"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, RunFailedError, "cannot be reached at http://127.0.0.1:9"),
    ],
)
def test_wrong_settings_are_named(
    lake_uri: str, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], kind: type[DocyardError], words: str
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    for error in _put_and_open(ObjectStore(lake_uri)):
        assert type(error) is kind
        assert error.args[0].startswith(lake_uri)
        with pytest.raises(kind, match=words):
            raise error


def test_a_bucket_that_is_not_there_is_named(running_object_server: ObjectServer, lake_uri: str) -> None:
    error = _told(lambda: ObjectStore("s3://nowhere/x").write("a", b""))
    assert isinstance(error, StorageError)
    assert "no such bucket" in str(error) or "access denied" in str(error)  # to those who may not make it, either


def test_a_place_that_may_only_be_read_is_named(lake_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    error = _told(lambda: ObjectStore(lake_uri).write("a", b""))
    assert isinstance(error, StorageError)
    assert "access denied (PUT " in str(error)
    assert "the right to list, read, write and delete" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "more", "kind", "words"),
    [
        (301, "PermanentRedirect", "", StorageError, "in another region than us-east-1; set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", StorageError, "AWS_REGION to eu-west-1"),
        (403, "RequestTimeTooSkewed", "", StorageError, "set the clock"),
        (403, "QuotaExceeded", "", RunFailedError, "no room left .QuotaExceeded.; free some, or raise its quota"),
        (507, "Full", "", RunFailedError, "no room left"),
        (404, "NoSuchBucket", "", StorageError, "no such bucket"),
        (400, "InvalidRequest", "Content-MD5 is required with Object Lock", StorageError, "object lock"),
        (400, "ExpiredToken", "", StorageError, "does not accept the credentials .ExpiredToken."),
        (418, "Teapot", "", StorageError, "Teapot"),
    ],
)
def test_answers_of_a_store_are_explained(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, more: str, kind: type[DocyardError], words: str
) -> None:
    with careless_store((status, code, more)) as server:
        _lead_to(monkeypatch, server.url)
        error = _told(lambda: ObjectStore(f"s3://test/{code}").write("a", b""))
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


def test_without_credentials_their_names_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with careless_store((404, "x", "")) as server:  # in place of the machine's own source of credentials
        _lead_to(monkeypatch, server.url)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.url)
        error = _told(lambda: ObjectStore("s3://test/none").write("a", b""))
    assert isinstance(error, StorageError)
    assert "found no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in str(error)


def test_a_connection_that_breaks_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(4):  # twice for each library: a first attempt and its repetition
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        _lead_to(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        for error in _put_and_open(ObjectStore("s3://test/broken")):
            assert isinstance(error, RunFailedError)
            assert "or broke the connection" in str(error)
        thread.join()


def test_a_creation_and_a_deletion_whose_answers_are_lost_are_sent_again(
    running_object_server: ObjectServer, lake_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lossy_proxy(running_object_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = ObjectStore(f"{lake_uri}/lossy")
        proxy.to_lose = 2
        store.put_new("token", b"mine")
        assert proxy.to_lose == 0
        proxy.to_lose = 2
        with pytest.raises(FileExistsError):
            store.put_new("token", b"another's")
        proxy.to_lose = 2
        store.delete(["token"])
        assert (proxy.to_lose, store.list()) == (0, ())
        proxy.to_lose = 100
        with pytest.raises(RunFailedError, match="broke the connection"):
            store.put_new("token", b"mine")


def test_a_store_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warehouse.objects._REQUEST_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        _lead_to(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        error = _told(lambda: ObjectStore("s3://test/silent").write("a", b""))
    assert isinstance(error, RunFailedError)
    assert time.monotonic() - started < 20


def _lead_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    values = {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    values |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
