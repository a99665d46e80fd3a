"""The asset, materialized in an ephemeral instance of Dagster with the real `docyard`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

dagster = pytest.importorskip("dagster", reason="needs Dagster, which is installed in an environment of its own")
DOCYARD = os.environ.get("DOCYARD_BIN", "")
if not DOCYARD:
    pytest.skip("needs DOCYARD_BIN, the docyard program of another environment", allow_module_level=True)

from docyard_dagster import classifications_asset  # noqa: E402

TINY_BUNDLE = Path(__file__).parents[3] / "tests/tiny_bundle"
DATES = ("2026-01-01", "2026-01-02")
AT_ONCE = dagster.RetryPolicy(max_retries=1, delay=0)


def write_run(folder: Path, bundle: Path = TINY_BUNDLE) -> str:
    for date in DATES:
        (folder / "inbox" / date).mkdir(parents=True)
        rows = "".join(f'{{"id": "d{i}", "text": "please refund my card payment twice"}}\n' for i in range(4))
        (folder / "inbox" / date / "in.jsonl").write_text(rows + '{"id": "empty", "text": ""}\n')
    (folder / "run.toml").write_text(
        f'run_date = 2026-01-31\nwarehouse = "{folder}/warehouse"\n[[inputs]]\n'
        f'paths = ["{folder}/inbox/{{run_date}}/"]\ndocument_type = "ticket"\nbundle = "{bundle}"\n'
    )
    return str(folder / "run.toml")


def tries_again(result: dagster.ExecuteInProcessResult) -> int:
    return sum(event.event_type is dagster.DagsterEventType.STEP_UP_FOR_RETRY for event in result.all_events)


def test_every_date_is_a_partition_with_its_counts(tmp_path: Path) -> None:
    documents = classifications_asset(name="tickets", config=write_run(tmp_path), start_date=DATES[0])
    with dagster.DagsterInstance.ephemeral() as instance:
        for date in DATES:
            assert dagster.materialize([documents], partition_key=date, instance=instance).success
        assert instance.get_materialized_partitions(dagster.AssetKey("tickets")) == set(DATES)
        event = instance.get_latest_materialization_event(dagster.AssetKey("tickets"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = {name: found.value for name, found in event.asset_materialization.metadata.items()}
        assert (metadata["accepted"], metadata["rejections"]) == (4, {"empty_text": 1})
        assert (metadata["stale"], metadata["warnings"]) == ([], [])
    assert (tmp_path / f"warehouse/classifications/run_date={DATES[1]}/document_type=ticket/_SUCCESS").exists()


def test_a_stale_certificate_is_in_the_metadata(tmp_path: Path) -> None:
    manifest = {
        "run_id": "a",
        "counts": {"accepted": 1, "reasons": {}},
        "drift": {"ticket": {"stale": True, "reasons": ["label_psi 1.526 exceeds its limit 0.648"]}},
        "warnings": ["the cache is full"],
    }
    program = tmp_path / "docyard"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(manifest)}'\n")
    program.chmod(0o755)
    documents = classifications_asset(name="a", config="x", start_date=DATES[0], docyard_path=str(program))
    result = dagster.materialize([documents], partition_key=DATES[0])
    [event] = result.asset_materializations_for_node("a")
    assert event.metadata["stale"].value == ["ticket"]
    assert event.metadata["warnings"].value == ["the cache is full"]


def test_what_somebody_has_to_correct_is_not_tried_again(tmp_path: Path) -> None:
    config = write_run(tmp_path, tmp_path / "no_bundle")
    documents = classifications_asset(name="tickets", config=config, start_date=DATES[0], retry_policy=AT_ONCE)
    result = dagster.materialize([documents], partition_key=DATES[0], raise_on_error=False)
    assert not result.success
    assert tries_again(result) == 0


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "docyard"
    program.write_text(f'#!/bin/sh\nexec "{DOCYARD}" "$@" -- --runner=PortableRunner --job_endpoint=localhost:1 '
                       "--environment_type=LOOPBACK --job_server_timeout=1\n")  # fmt: skip
    program.chmod(0o755)
    documents = classifications_asset(
        name="tickets", config=write_run(tmp_path), start_date=DATES[0], docyard_path=str(program), retry_policy=AT_ONCE
    )
    result = dagster.materialize([documents], partition_key=DATES[0], raise_on_error=False)
    assert not result.success
    assert tries_again(result) == 1
