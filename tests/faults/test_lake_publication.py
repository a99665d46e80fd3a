from __future__ import annotations

import json
import os
import pickle
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("deltalake", reason="the extra `lake` is not installed")

from deltalake import DeltaTable, Field

from schemas.errors import LockedError, RunFailedError, StorageError
from schemas.tables import CLASSIFICATIONS, DRIFT, ESCALATIONS, PUBLISHED_TABLES, RESOLUTIONS
from tests.support.lake_runs import (
    LakeRun,
    Sight,
    at_step,
    check_each_table_is_whole,
    check_settled,
    copy_warehouse,
    dying_at,
    parquet,
    seen_as_files,
    seen_through_delta,
    whole,
)
from warehouse.delta import live_files, make_table, open_table, published_path, publisher
from warehouse.lake import LakeWarehouse
from warehouse.lake_publication import (
    finish_interrupted,
    give_up,
    is_decided,
    prepare,
    publish,
)
from warehouse.layout import Partition
from warehouse.manifest import RunStatus, TableFile, is_published, read_manifest
from warehouse.objects import ObjectStore, object_store
from warehouse.tokens import hold_partitions, live_runs, take_token

pytestmark = pytest.mark.kills

# The two runs that take turns: the new one has fewer files of one type and more of the other.
OLD = LakeRun("old", {"ticket": 2, "receipt": 1})
NEW = LakeRun("new", {"ticket": 1, "receipt": 2})


@pytest.fixture
def store(lake_uri: str) -> ObjectStore:
    return object_store(lake_uri)


@pytest.fixture(scope="module")
def template() -> list[ObjectStore]:
    """The warehouse that `published` copies, once it was made."""
    return []


@pytest.fixture
def published(store: ObjectStore, template: list[ObjectStore]) -> ObjectStore:
    """A warehouse in which OLD was published."""
    if not template:
        first = ObjectStore(f"{store.uri}-template")
        OLD.publish(first)
        template.append(first)
    copy_warehouse(template[0], store)
    return store


def _decided(store: ObjectStore, run: LakeRun) -> None:
    """Leaves a run that was killed just after its decision."""
    manifest, staged = run.stage(store, run.take_token(store))
    with dying_at(2):
        publish(store, manifest, staged)
    assert is_decided(store, run.run_id)


def test_a_replacement_leaves_exactly_the_new_files_and_the_versions_of_the_tables_on_record(
    published: ObjectStore,
) -> None:
    manifest = NEW.publish(published)
    check_settled(published, whole(NEW))
    assert read_manifest(published, "new") == manifest
    for table in PUBLISHED_TABLES:
        delta = DeltaTable(f"{published.uri}/{table.name}", manifest.tables[table.name])
        assert len(delta.file_uris()) == 3
        assert delta.version() == DeltaTable(f"{published.uri}/{table.name}").version()


def test_other_partitions_stay(published: ObjectStore) -> None:
    tickets, later = LakeRun("tickets", {"ticket": 3}), LakeRun("later", {"ticket": 1}, "2026-02-01")
    tickets.publish(published)
    later.publish(published)
    check_settled(published, whole(OLD, tickets, later))


def test_a_run_that_dies_at_any_step_leaves_each_table_whole_and_the_next_command_finishes(
    published: ObjectStore,
) -> None:
    last, decided = OLD, []
    for step in (1, 2, 3, 4, 6, 7, 8, 12, 13):  # `python -m tests.scale.lake` takes them all
        run = LakeRun(f"run{step}", NEW.n_files if step % 2 else OLD.n_files)
        manifest, staged = run.stage(published, run.take_token(published))
        with dying_at(step) as steps:
            publish(published, manifest, staged)
        assert steps.reached
        check_each_table_is_whole(published, whole(last), whole(run))
        unfinished = is_decided(published, run.run_id)
        assert finish_interrupted(published) == ([run.run_id] if unfinished else [])
        decided += [step] * unfinished
        last = run if is_published(published, run.run_id) else last
        check_settled(published, whole(last))
    assert decided == [2, 3, 4, 6, 7]  # then only the old files are left to be deleted


def test_a_roll_forward_that_dies_at_each_step_in_turn_gets_there(published: ObjectStore) -> None:
    _decided(published, NEW)
    step, reached = 0, True
    while reached:
        step += 1
        with dying_at(step) as steps:
            finish_interrupted(published)
        reached = steps.reached
        check_each_table_is_whole(published, whole(OLD), whole(NEW))
    check_settled(published, whole(NEW))
    assert step > 5


@pytest.mark.parametrize("step", [2, 4])  # `python -m tests.scale.lake` takes them all
def test_a_run_that_wakes_after_a_later_one_was_published_changes_nothing(published: ObjectStore, step: int) -> None:
    manifest, staged = NEW.stage(published, NEW.take_token(published))
    later = LakeRun("later", {"receipt": 3, "invoice": 1})
    with at_step(step, lambda: later.publish(published) and None) as steps:
        publish(published, manifest, staged)
    assert steps.reached
    check_settled(published, whole(NEW, later))  # as if it had been published before


def test_two_runs_that_finish_the_same_run_at_once_end_as_one(published: ObjectStore) -> None:
    _decided(published, NEW)
    for step in (1, 3, 5):
        with at_step(step, lambda: finish_interrupted(published) and None):
            finish_interrupted(published)
        check_settled(published, whole(NEW))


def test_runs_that_share_a_partition_and_publish_at_once_end_in_the_order_of_their_tokens(
    published: ObjectStore,
) -> None:
    runs = [LakeRun(f"run{i}", {"ticket": i + 1, f"type{i}": 1}) for i in range(3)]
    prepared = [run.stage(published, run.take_token(published)) for run in runs]
    for manifest, staged in prepared[::-1]:
        with dying_at(2):  # all are decided, which takes a race in real life
            _decide_in_spite_of_later_tokens(published, manifest, staged)
    threads = [threading.Thread(target=finish_interrupted, args=(published,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_settled(published, whole(OLD, *runs))


def _decide_in_spite_of_later_tokens(store: ObjectStore, manifest: object, staged: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warehouse.lake_publication._check_not_overtaken", lambda *arguments: None)
        publish(store, manifest, staged)  # type: ignore[arg-type]


def test_the_first_runs_of_a_warehouse_make_its_tables_at_once(store: ObjectStore) -> None:
    runs = [LakeRun(f"run{i}", {f"type{i}": 1}) for i in range(3)]
    threads = [threading.Thread(target=run.publish, args=(store,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_settled(store, whole(*runs))


def test_readers_of_delta_see_every_table_whole_while_it_is_replaced(published: ObjectStore) -> None:
    runs = [LakeRun(f"run{i}", NEW.n_files if i % 2 else OLD.n_files) for i in range(2)]
    ended = threading.Event()
    seen: list[Sight] = []

    def read() -> None:
        while not ended.is_set():
            seen.append(seen_through_delta(published))

    reader = threading.Thread(target=read)
    reader.start()
    for run in runs:
        run.publish(published)
    ended.set()
    reader.join()
    states = [whole(run) for run in (OLD, *runs)]
    assert len(seen) > 3
    for sight in seen:
        for place, files in sight.items():
            assert files in [state[place] for state in states]


def test_a_run_that_was_overtaken_publishes_nothing(published: ObjectStore) -> None:
    late = replace(OLD, run_id="late")
    manifest, staged = late.stage(published, late.take_token(published))
    NEW.take_token(published)
    with pytest.raises(LockedError, match="was taken over by run new"):
        publish(published, manifest, staged)
    assert not is_decided(published, "late")
    assert give_up(published, late.failed()) is False
    check_settled(published, whole(OLD))


def test_a_later_run_that_was_given_up_does_not_keep_an_earlier_one_from_publishing(published: ObjectStore) -> None:
    manifest, staged = NEW.stage(published, NEW.take_token(published))
    later = replace(OLD, run_id="later")
    later.take_token(published)
    give_up(published, later.failed())
    publish(published, manifest, staged)
    check_settled(published, whole(NEW))


def test_a_run_that_was_given_up_publishes_nothing(published: ObjectStore) -> None:
    manifest, staged = NEW.stage(published, NEW.take_token(published))
    assert give_up(published, NEW.failed()) is False
    with pytest.raises(LockedError, match="given up"):
        publish(published, manifest, staged)
    assert read_manifest(published, "new").status is RunStatus.FAILED
    check_settled(published, whole(OLD))


def test_a_run_that_failed_after_its_decision_is_published(published: ObjectStore) -> None:
    _decided(published, NEW)
    assert give_up(published, NEW.failed()) is True
    assert is_published(published, "new")
    check_settled(published, whole(NEW))


def test_a_decided_run_whose_staged_file_is_gone_is_told_and_can_be_given_up(published: ObjectStore) -> None:
    _decided(published, NEW)
    published.delete([next(item.key for item in published.list("_staging/new/"))])
    with pytest.raises(StorageError, match=r"was staged, but is gone; .* or delete runs/new/commit.json and run again"):
        finish_interrupted(published, NEW.partitions)
    assert finish_interrupted(published) == []  # other partitions are not kept from it
    published.delete(["runs/new/commit.json"])
    assert finish_interrupted(published) == []
    last = replace(OLD, run_id="last")
    last.publish(published)
    check_settled(published, whole(last))


def test_a_decision_that_cannot_be_read_ends_the_next_run_of_its_partitions_only(
    published: ObjectStore,
) -> None:
    _decided(published, NEW)
    published.write("runs/new/commit.json", b'{"manifest": {}}')
    with pytest.raises(StorageError, match=r"runs/new/commit.json: not as .* or delete it and run again"):
        finish_interrupted(published, NEW.partitions[:1])
    assert finish_interrupted(published, [Partition(NEW.run_date, "invoice")]) == []
    assert published.list("_staging/new/")
    published.delete(["runs/new/commit.json"])
    assert finish_interrupted(published, NEW.partitions) == []
    last = replace(OLD, run_id="last")
    last.publish(published)
    check_settled(published, whole(last))


def test_a_commit_that_the_last_attempt_makes_is_no_failure(
    published: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.delta._ATTEMPTS", 1)
    assert set(NEW.publish(published).tables) == {table.name for table in PUBLISHED_TABLES}


def test_a_run_finds_its_version_of_a_table_behind_many_later_ones(
    published: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.delta._LOOK_BACK", 1)
    first = NEW.publish(published)
    LakeRun("other", {"ticket": 1}, "2026-02-01").publish(published)
    table = open_table(published, DRIFT)
    assert table is not None
    assert table.replace({partition: [] for partition in NEW.partitions}, "new", first.epoch) == first.tables["drift"]


def test_a_run_that_is_over_stays_so_when_its_commit_is_repeated(published: ObjectStore) -> None:
    manifest, staged = NEW.stage(published, NEW.take_token(published))
    first = publish(published, manifest, staged)
    last = replace(OLD, run_id="last")
    last.publish(published)
    assert publish(published, manifest, staged) == first
    check_settled(published, whole(last))


def test_what_a_dead_run_staged_is_cleared_and_what_a_living_one_staged_is_not(published: ObjectStore) -> None:
    with hold_partitions(published, NEW.partitions, "new") as epoch:
        NEW.stage(published, epoch)
        assert finish_interrupted(published) == []
        assert published.list("_staging/new/")
        with (
            pytest.raises(LockedError, match="is being written by run new"),
            hold_partitions(published, OLD.partitions, "other"),
        ):
            pass
    assert finish_interrupted(published) == []
    check_settled(published, whole(OLD))
    with pytest.raises(LockedError, match="given up"):
        publish(published, *NEW.stage(published, epoch))


def test_the_sign_of_life_of_a_run_that_was_killed_before_it_staged_anything_is_cleared(
    published: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold_partitions(published, NEW.partitions, "new"):
        finish_interrupted(published)
        assert [item.key for item in published.list("_alive/")] == ["_alive/new.json"]
        monkeypatch.setattr("warehouse.tokens.DEAD_AFTER_SECONDS", -60)
        with monkeypatch.context() as patch:
            patch.setattr(ObjectStore, "delete", _denied)
            finish_interrupted(published)  # by a user who may only read
        assert published.list("_alive/")
        finish_interrupted(published)
        assert published.list("_alive/") == ()


def _denied(*_: object) -> None:
    raise StorageError("access denied")


def test_a_file_that_a_run_replaced_since_it_was_listed_is_told_with_its_place(published: ObjectStore) -> None:
    warehouse = LakeWarehouse(published.uri)
    (name, *_) = warehouse.files(CLASSIFICATIONS)
    NEW.publish(published)
    with pytest.raises(RunFailedError, match=r"^s3://.*\.old\.parquet: is gone, .*; run again") as raised:
        warehouse.open(name)
    assert isinstance(raised.value, FileNotFoundError)  # for those who begin anew
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_copies_that_no_reader_of_delta_sees_count_as_unpublished(published: ObjectStore) -> None:
    manifest, staged = NEW.stage(published, NEW.take_token(published))
    with dying_at(4):
        publish(published, manifest, staged)
    published.delete([item.key for item in published.list("_staging/")])
    found = LakeWarehouse(published.uri).unpublished(ESCALATIONS)
    kinds = [f"document_type={kind}" for kind in ("receipt", "receipt", "ticket")]
    assert [name.split("/")[2] for name in found] == kinds
    assert {publisher(name) for name in found} == {"new"}


def test_a_run_of_another_user_whose_processes_are_hidden_counts_as_alive(
    published: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `/proc` mounted with hidepid=2 hides them."""
    there = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path != Path(f"/proc/{os.getpid()}") and there(path))
    with hold_partitions(published, NEW.partitions, "new"):
        assert set(live_runs(published)) == {"new"}


def test_epochs_grow_even_where_the_tokens_were_deleted(published: ObjectStore) -> None:
    published.delete([item.key for item in published.list("_tokens/")])
    NEW.publish(published)
    check_settled(published, whole(NEW))


def test_a_table_of_another_kind_is_replaced_by_its_own_dates(store: ObjectStore) -> None:
    day = Partition("2026-01-31", "ticket", RESOLUTIONS.partition_date)
    table = make_table(store, RESOLUTIONS)
    for text in ("first", "second"):
        epoch = take_token(store, [day], text, RESOLUTIONS)
        content = parquet(RESOLUTIONS, text, 2)
        file = TableFile(
            "resolutions", published_path(f"resolutions/{day.path}/r.parquet", epoch, text), 2, len(content), ""
        )
        store.put_new(file.path, content)
        table.replace({day: [file]}, text, epoch)
        table.delete_replaced([day], epoch)
    assert live_files(store, RESOLUTIONS) == [f"resolutions/{day.path}/r.{epoch:08d}.second.parquet"]
    assert [item.key for item in store.list(f"resolutions/{day.path}/")] == live_files(store, RESOLUTIONS)


# Of somebody else


def _refused(store: ObjectStore, words: str) -> None:
    """By a dry run, which writes nothing at all, and by a run, which touches nothing of the table."""
    everything = store.list()
    with pytest.raises(StorageError, match=words):
        LakeWarehouse(store.uri).check_places(NEW.partitions)
    assert store.list() == everything
    before = store.list("drift/")
    with pytest.raises(StorageError, match=words) as raised:
        prepare(store, NEW.partitions)
    assert "\n" not in str(raised.value)
    assert store.list("drift/") == before


def test_a_delta_table_of_somebody_else_is_refused(store: ObjectStore) -> None:
    table = make_table(store, DRIFT)
    schema = table._handle.schema()
    store.delete([item.key for item in store.list("drift/")])
    DeltaTable.create(f"{store.uri}/drift", schema=schema, partition_by=["run_date", "document_type"], name="drift")
    _refused(store, "a Delta table that Docyard did not make")


def test_a_table_with_other_partitions_is_refused(store: ObjectStore) -> None:
    schema = make_table(store, DRIFT)._handle.schema()
    store.delete([item.key for item in store.list("drift/")])
    DeltaTable.create(
        f"{store.uri}/drift",
        schema=schema,
        partition_by=["run_date"],
        configuration={"docyard.table": "drift"},
        raise_if_key_not_exists=False,
    )
    _refused(store, "partitioned by run_date, expected run_date, document_type")


def test_a_newer_protocol_is_refused(store: ObjectStore) -> None:
    handle = make_table(store, DRIFT)._handle
    handle.alter.set_table_properties({"delta.minReaderVersion": "2", "delta.minWriterVersion": "5"})
    _refused(store, "found protocol 2/5, expected 1/2")


def test_a_table_with_a_feature_that_nobody_here_knows_is_refused(store: ObjectStore) -> None:
    make_table(store, DRIFT)
    features = {"readerFeatures": ["unheardOf"], "writerFeatures": ["unheardOf"]}
    protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}
    store.put_new(f"drift/_delta_log/{1:020d}.json", json.dumps(protocol).encode())
    _refused(store, "drift: the table needs a newer reader of Delta .Feature 'unheardOf'")


def test_a_damaged_log_is_told_in_one_line(store: ObjectStore) -> None:
    make_table(store, DRIFT)
    store.write(f"drift/_delta_log/{0:020d}.json", b"rubbish")
    _refused(store, "/drift: ")


def test_a_damaged_token_is_told(published: ObjectStore) -> None:
    manifest, staged = NEW.stage(published, NEW.take_token(published))
    published.write("_tokens/00000009.json", b"{}")
    published.write("_tokens/notes.txt", b"")
    with pytest.raises(StorageError, match=r"_tokens/00000009.json: not as Docyard wrote it; delete it"):
        publish(published, manifest, staged)


def test_files_without_a_delta_table_are_refused(store: ObjectStore) -> None:
    store.write("drift/run_date=2026-01-31/document_type=ticket/part-00000-0000.parquet", b"")
    _refused(store, "holds files, but no Delta table")


def test_a_foreign_file_in_a_partition_is_refused(published: ObjectStore) -> None:
    published.write(f"drift/{NEW.partitions[0].path}/mine.parquet", b"")
    _refused(published, "mine.parquet: Docyard did not write this file")
    with pytest.raises(StorageError, match="move it away"):
        NEW.publish(published)
    assert seen_through_delta(published) == whole(OLD)


def test_a_file_that_the_log_names_elsewhere_ends_the_run_and_costs_no_file(lake_uri: str) -> None:
    unsafe = ObjectStore(f"{lake_uri}/Team A")  # past `object_store`, which refuses it
    with pytest.raises(StorageError, match=r"its log names s3://\S*/Team%20A/\S+, expected a file below .*/Team A/"):
        OLD.publish(unsafe)
    assert seen_as_files(unsafe) == whole(OLD)


@pytest.mark.parametrize("mending", ["restore", "delete"])
def test_the_advice_about_a_compacted_partition_helps(published: ObjectStore, mending: str) -> None:
    table = DeltaTable(f"{published.uri}/classifications")
    before = table.version()
    table.optimize.compact()
    with pytest.raises(StorageError, match=r"the table's log names it .*DeltaTable.restore.*DeltaTable.delete"):
        prepare(published, NEW.partitions)
    if mending == "restore":
        table.restore(before)
    else:
        table.delete("run_date = '2026-01-31' and document_type = 'ticket'")
    with pytest.raises(StorageError, match=r"Docyard did not write this file, .* move it away"):
        prepare(published, NEW.partitions)
    published.delete([key for key in _stored(published) if publisher(key) is None])
    NEW.publish(published)
    check_settled(published, whole(NEW))


def _stored(store: ObjectStore) -> list[str]:
    return [item.key for item in store.list("classifications/") if item.key.endswith(".parquet")]


def test_a_column_of_another_type_is_refused_and_a_new_one_is_added(store: ObjectStore) -> None:
    fields = make_table(store, CLASSIFICATIONS)._handle.schema().fields
    assert [field.name for field in fields[-2:]] == ["run_date", "document_type"]
    older = replace(CLASSIFICATIONS, columns=tuple(c for c in CLASSIFICATIONS.columns if c.name != "label"))
    other = ObjectStore(f"{store.uri}/other")
    make_table(other, older)
    table = make_table(other, CLASSIFICATIONS)
    assert {field.name for field in table._handle.schema().fields} == {field.name for field in fields}
    table._handle.alter.add_columns([Field("later", "string")])  # by a later version of Docyard
    assert open_table(other, CLASSIFICATIONS) is not None
    changed = tuple(
        replace(c, type=DRIFT.columns[-1].type) if c.name == "label" else c for c in CLASSIFICATIONS.columns
    )
    with pytest.raises(StorageError, match="found column label as"):
        make_table(other, replace(CLASSIFICATIONS, columns=changed))
    assert Counter(live_files(other, CLASSIFICATIONS)) == Counter()
