from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("deltalake", reason="the extra lake is not installed")

from schemas.errors import LockedError
from schemas.tables import PUBLISHED_TABLES
from tests.support.lake_runs import LakeRun, check_whole, dying_at, holders, strays
from warehouse.lake_publication import finish_interrupted, give_up, is_decided, is_published, publish
from warehouse.manifest import RunStatus
from warehouse.objects import ObjectStore, object_store

pytestmark = pytest.mark.kills

# The two runs that take turns: the new one has fewer files of one type and more of the other.
OLD = LakeRun("old", {"ticket": 2, "receipt": 1})
NEW = LakeRun("new", {"ticket": 1, "receipt": 2})


@pytest.fixture
def store(lake_uri: str) -> ObjectStore:
    return object_store(lake_uri)


@pytest.fixture(scope="module")
def template(running_object_server: object) -> dict[str, str]:
    """Filled once by the first test that asks for a warehouse with a published run."""
    return {}


@pytest.fixture
def published(store: ObjectStore, template: dict[str, str]) -> ObjectStore:
    """A warehouse in which OLD was published; copied, which is faster than publishing."""
    if not template:
        first = ObjectStore(store.uri + "-template")
        OLD.publish(first)
        template["uri"] = first.uri
    bucket, _, place = store.uri.removeprefix("s3://").partition("/")
    source = template["uri"].removeprefix(f"s3://{bucket}/")
    whole = ObjectStore(f"s3://{bucket}")
    keys = [item.key for item in whole.list(source)]
    whole.copy_all((key, place + key.removeprefix(source)) for key in keys)
    return store


def test_a_replacement_leaves_exactly_the_new_files(published: ObjectStore) -> None:
    manifest = NEW.publish(published)
    check_whole(published, NEW, manifest.epoch)
    assert strays(published) == []
    assert set(manifest.tables) == {table.name for table in PUBLISHED_TABLES}


def test_a_run_that_dies_at_any_step_leaves_every_table_old_or_new_and_the_next_command_finishes(
    published: ObjectStore,
) -> None:
    step, decided, died, holder = 0, 0, True, "old"
    while died:
        step += 1
        run = LakeRun(f"run{step}", NEW.n_files if step % 2 else OLD.n_files)
        epoch = run.take_token(published)
        manifest, staged = run.stage(published)
        with dying_at(step) as death:
            publish(published, replace(manifest, epoch=epoch), staged)
        died = death.died
        for found in holders(published, run.partitions).values():
            assert found in ({holder}, {run.run_id})  # all partitions of a table at once
        if is_decided(published, run.run_id):
            decided += 1
            assert finish_interrupted(published) == [run.run_id]
        else:
            finish_interrupted(published)
        if is_published(published, run.run_id):
            holder = run.run_id
            check_whole(published, run, epoch)
        else:
            assert set().union(*holders(published, run.partitions).values()) == {holder}
        assert strays(published) == []
    assert decided >= 6


def test_a_run_that_was_overtaken_publishes_nothing(published: ObjectStore) -> None:
    epoch = OLD.take_token(published)
    late = replace(OLD, run_id="late")
    manifest, staged = late.stage(published)
    NEW.take_token(published)
    with pytest.raises(LockedError, match="was taken over by run new"):
        publish(published, replace(manifest, epoch=epoch), staged)


def test_a_run_that_was_given_up_publishes_nothing(published: ObjectStore) -> None:
    epoch = NEW.take_token(published)
    manifest, staged = NEW.stage(published)
    assert give_up(published, replace(manifest, status=RunStatus.FAILED, files=())) is False
    with pytest.raises(LockedError, match="given up"):
        publish(published, replace(manifest, epoch=epoch), staged)
