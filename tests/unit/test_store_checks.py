from __future__ import annotations

import json

import pytest

pytest.importorskip("obstore", reason="the extra `lake` is not installed")

from schemas.errors import StorageError
from tests.support.careless_store import careless_store
from tests.support.object_store import READER
from tests.support.small_runs import docyard
from warehouse.objects import ObjectStore, object_store
from warehouse.places import open_warehouse
from warehouse.store_checks import StoreCheck, check_store


def _by_name(store: ObjectStore) -> dict[str, StoreCheck]:
    return {check.name: check for check in check_store(store)}


def test_a_store_that_keeps_its_promises_passes_and_is_left_as_it_was(lake_uri: str) -> None:
    store = object_store(lake_uri)
    checks = _by_name(store)
    assert {check.passed for check in checks.values()} == {True}
    assert len(checks) == 8
    assert [item.key for item in store.list()] == ["_clock"]


def test_a_store_where_every_writer_wins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with careless_store() as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        result = docyard("doctor", "s3://test/careless")
        checks = _by_name(ObjectStore("s3://test/careless"))
        with pytest.raises(StorageError, match="ignores conditional writes"):
            open_warehouse("s3://test/careless")
        assert not any("warehouse.json" in path for path in server.objects)
    assert result.exit_code == 12
    assert result.stderr == (
        "error: no warehouse can be kept safely at s3://test/careless; what is wrong stands in the report\n"
    )
    assert "FAILED one creator" in result.stdout
    assert "8 of 8 writers that created one object at once were told that they did" in result.stdout
    assert {name for name, check in checks.items() if check.passed is False} == {"one creator"}
    assert "ahead of the store's; set it" in checks["clock"].found
    assert "the bucket keeps earlier versions" in checks["versions"].found


def test_a_place_that_may_only_be_read_is_refused_for_that(lake_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER)
    (check,) = check_store(object_store(lake_uri))
    assert (check.name, check.passed) == ("rights", False)
    assert "access denied" in check.found


def test_a_store_that_cannot_be_reached_is_told_in_json(lake_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = docyard("doctor", lake_uri, "--json")
    assert result.exit_code == 12
    (store,) = json.loads(result.stdout)["stores"]
    assert (store["uri"], store["sound"], len(store["checks"])) == (lake_uri, False, 1)


def test_something_of_somebody_else_at_the_place_is_told(lake_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warehouse.store_checks._RACES", 1)  # the server takes seconds for each
    from deltalake import DeltaTable, Schema

    schema = Schema.from_json('{"type":"struct","fields":[{"name":"x","type":"long","nullable":true,"metadata":{}}]}')
    DeltaTable.create(f"{lake_uri}/drift", schema)
    checks = _by_name(object_store(lake_uri))
    assert "a Delta table that Docyard did not make" in checks["tables"].found
    assert checks["tables"].passed is False
