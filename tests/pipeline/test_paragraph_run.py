from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from models.bundle_manifest import ReadingRules
from pipelines.classify import classify, prepare
from pipelines.run_descriptions import describe_run
from pipelines.runs import list_runs
from pipelines.verification import verify_run
from schemas.errors import BalanceError, ConfigError, VerificationError
from schemas.run_config import InputConfig, ReadingConfig, RunConfig
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.small_runs import config_of, docyard, opened, published_hashes, read_published, write_jsonl
from transforms.classify_documents import classifier_for, classify_documents, route_documents
from transforms.detect_kinds import with_given_kinds
from transforms.extract_documents import with_given_texts
from transforms.read_shard import read_shard
from transforms.split_documents import split_documents
from transforms.stage_shard import stage_shard
from transforms.validate_documents import validate_documents
from warehouse.manifest import Manifest

CLAUSES = (
    "please refund my card payment twice",
    "where is my parcel courier late address",
    "i cannot login password reset to the account",
    "the app crash error screen does not load on my phone and the update is slow to install " * 3,
)
N_CONTRACTS = 9


def contract(index: int) -> dict[str, object]:
    """Clauses in another order and number for each, with a title and page numbers between; one has no text."""
    clauses = [CLAUSES[(index + step) % 4] for step in range(1 + index)]
    text = f"  🙂 CONTRACT {index}\r\n\r\n" + "\r\n\r\n12\r\n\r\n".join(clauses) + "\r\n"
    return {"id": f"c{index}", "text": "" if index == 4 else text, "title": f"Contract {index}", "at": "2026-01-02"}


def contract_bundle(tiny: Path, folder: Path, reading: ReadingRules, max_windows: int = 1) -> Path:
    """The tiny bundle, made for contracts."""
    shutil.copytree(tiny, folder)
    policy = (folder / "policy.toml").read_text()
    (folder / "policy.toml").write_text(
        policy.replace("[acceptance]\n", f"[acceptance]\nmax_windows = {max_windows}\n")
    )
    facts = {"name": "tiny-contracts", "created": "2026-11-22", "document_type": "contract", "max_tokens": 32}
    write_certified_manifest(folder, **facts, reading=reading)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contracts")


@pytest.fixture(scope="module")
def config(root: Path, tiny_bundle_unchanged: Path) -> RunConfig:
    source = write_jsonl(root / "contracts.jsonl", [contract(index) for index in range(N_CONTRACTS)])
    bundle = contract_bundle(tiny_bundle_unchanged, root / "bundle", ReadingRules("", "paragraphs", 8), max_windows=2)
    inputs = InputConfig((str(source),), "contract", str(bundle), received_at_field="at", metadata_fields=("title",))
    return config_of((inputs,), bundle, root / "warehouse")


@pytest.fixture(scope="module")
def manifest(config: RunConfig) -> Manifest:
    return classify(config, [])


@pytest.fixture(scope="module")
def classified(manifest: Manifest, root: Path) -> pd.DataFrame:
    return read_published(root / "warehouse", "classifications")


def test_what_was_read_and_split_off_is_what_was_classified_and_rejected(
    manifest: Manifest, classified: pd.DataFrame, root: Path
) -> None:
    counts = manifest.counts
    assert (counts["read"], counts["rejected"], counts["reasons"]) == (N_CONTRACTS, 1, {"empty_text": 1})
    assert counts["classified"] == len(classified) == sum(1 + i for i in range(N_CONTRACTS) if i != 4)
    assert counts["read"] + counts["split_off"] == counts["classified"] + counts["rejected"]
    assert verify_run(opened(root / "warehouse"), manifest.run_id) == manifest
    assert manifest.seconds["split"] >= 0


def test_every_clause_is_found_again_in_its_contract_by_the_offsets(classified: pd.DataFrame) -> None:
    texts = {f"c{index}": str(contract(index)["text"]) for index in range(N_CONTRACTS)}
    for parent, rows in classified.groupby("parent_id"):
        text = texts[str(parent)]
        found = [text[row.parent_start : row.parent_end] for row in rows.sort_values("parent_start").itertuples()]
        assert "".join("".join(found).split()) == "".join(text.split())
        assert sorted(rows["document_id"]) == [f"{parent}#{number:05d}" for number in range(len(rows))]
    assert set(classified["metadata"]) == {
        f'{{"title":"Contract {index}"}}' for index in range(N_CONTRACTS) if index != 4
    }


def test_which_clauses_a_contract_holds_and_where_is_a_query(root: Path, classified: pd.DataFrame) -> None:
    connection = duckdb.connect()
    connection.register("contracts", pd.DataFrame([contract(index) for index in range(N_CONTRACTS)]))
    rows = connection.execute(
        "SELECT label, substring(text, parent_start + 1, parent_end - parent_start) AS clause "
        f"FROM '{root}/warehouse/classifications/*/*/*.parquet' JOIN contracts ON parent_id = id "
        "WHERE parent_id = 'c6' ORDER BY parent_start"
    ).fetchall()
    assert len(rows) == 7
    assert [label for label, _ in rows[1:4]] == ["technical", "billing", "delivery"]
    assert rows[2][1] == "12\r\n\r\n" + CLAUSES[0]


def test_a_clause_of_several_windows_is_accepted_up_to_what_the_policy_says(classified: pd.DataFrame) -> None:
    long = classified[classified["n_windows"] > 1]
    assert set(long["n_windows"]) == {3}
    assert set(long["route_reason"]) == {"too_long"}
    assert not classified["truncated"].any()
    assert (classified["route_reason"] == "certain").any()


def test_the_terminal_says_into_how_many_rows_the_documents_were_cut(manifest: Manifest, root: Path) -> None:
    counts = manifest.counts
    rows = counts["read"] + counts["split_off"]
    line = f"  read                 9  cut into {rows} rows = {counts['classified']} classified + 1 rejected"
    assert line in describe_run(manifest, root).splitlines()
    (run,) = list_runs(root / "warehouse")
    assert (run["read"], run["split_off"]) == (9, counts["split_off"])


def test_the_manifest_holds_what_the_bundle_chose(manifest: Manifest, config: RunConfig) -> None:
    assert config.inputs[0].split == ""
    assert manifest.config["inputs"][0]["split"] == "paragraphs"
    chosen = replace(config, inputs=(replace(config.inputs[0], split="paragraphs"),))
    assert prepare(chosen)[0].config.sha256() == manifest.config_sha256


def test_the_input_overrules_the_bundle(config: RunConfig, tmp_path: Path) -> None:
    whole = replace(config, inputs=(replace(config.inputs[0], split="none"),), warehouse=str(tmp_path / "whole"))
    counts = classify(whole, []).counts
    assert (counts["read"], counts["split_off"], counts["classified"]) == (N_CONTRACTS, 0, N_CONTRACTS - 1)
    rows = read_published(tmp_path / "whole", "classifications")
    assert rows[["parent_id", "parent_start", "parent_end"]].isna().all(axis=None)
    assert sorted(rows["document_id"]) == [f"c{index}" for index in range(N_CONTRACTS) if index != 4]


def test_a_way_to_split_that_is_none_is_refused(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="split: expected '', 'none' or 'paragraphs', found 'clauses'"):
        replace(config, inputs=(replace(config.inputs[0], split="clauses"),))


def test_answers_do_not_depend_on_how_the_documents_were_cut_into_shards(
    config: RunConfig, classified: pd.DataFrame, tmp_path: Path
) -> None:
    fine = replace(config, warehouse=str(tmp_path / "fine"), reading=ReadingConfig(shard_bytes=400, shard_rows=2))
    classify(fine, [])
    again = read_published(tmp_path / "fine", "classifications").sort_values("document_id")
    expected = classified.sort_values("document_id")
    for column in expected.columns.drop(["top_labels"]):
        pd.testing.assert_series_equal(again[column].reset_index(drop=True), expected[column].reset_index(drop=True))


def test_the_same_run_again_writes_the_same_bytes(config: RunConfig, manifest: Manifest, tmp_path: Path) -> None:
    classify(replace(config, warehouse=str(tmp_path / "again")), [])
    assert published_hashes(tmp_path / "again") == published_hashes(Path(config.warehouse))


def test_an_id_that_comes_twice_costs_the_second_the_paragraphs_that_the_first_has(
    config: RunConfig, tmp_path: Path
) -> None:
    source = write_jsonl(tmp_path / "twice.jsonl", [contract(3), contract(7), contract(6) | {"id": "c3"}])
    twice = replace(
        config, inputs=(replace(config.inputs[0], paths=(str(source),)),), warehouse=str(tmp_path / "twice")
    )
    manifest = classify(twice, [])
    assert manifest.counts["reasons"] == {"duplicate_id": 4}
    assert manifest.counts["classified"] == 4 + 8 + 7 - 4
    verify_run(opened(tmp_path / "twice"), manifest.run_id)
    escalated = read_published(tmp_path / "twice", "escalations")
    published = read_published(tmp_path / "twice", "classifications")
    expected = published[published["route"] == "escalated"]
    assert escalated["document_id"].tolist() == expected["document_id"].tolist()
    assert len(expected)
    rejected = read_published(tmp_path / "twice", "rejections")
    assert rejected["document_id"].tolist() == [f"c3#{number:05d}" for number in range(4)]


def test_documents_that_are_split_and_documents_that_are_not_go_through_one_run(
    config: RunConfig, tmp_path: Path, tiny_bundle_unchanged: Path
) -> None:
    tickets = write_jsonl(tmp_path / "tickets.jsonl", [{"id": "t", "text": "refund my card\n\nwhere is my parcel"}])
    both = (*config.inputs, InputConfig((str(tickets),), "ticket", str(tiny_bundle_unchanged)))
    manifest = classify(replace(config, inputs=both, warehouse=str(tmp_path / "both")), [])
    assert [item["split"] for item in manifest.config["inputs"]] == ["paragraphs", "none"]
    rows = read_published(tmp_path / "both", "classifications").set_index("document_id")
    assert pd.isna(rows.loc["t", "parent_id"])
    assert rows.loc["c0#00000", "parent_id"] == "c0"


def test_a_paragraph_that_gets_lost_is_noticed_before_anything_is_staged(config: RunConfig, tmp_path: Path) -> None:
    plan, (planned,) = prepare(replace(config, warehouse=str(tmp_path / "lost")))
    (shard,) = read_shard(planned, plan.config)
    classifier = classifier_for(plan, 0)
    read = with_given_kinds(validate_documents(with_given_texts(shard.table), config.reading))
    cut = split_documents(read, "paragraphs")
    table = route_documents(classify_documents(cut, classifier), classifier.bundle)
    split_off = len(table) - N_CONTRACTS
    lost = replace(shard, split_off=split_off, table=table.slice(1))
    with pytest.raises(
        BalanceError, match=f"9 records read, 0 unpacked and {split_off} split off, but {len(table) - 2} class"
    ):
        stage_shard(lost, plan)
    assert not (tmp_path / "lost").exists()


def test_a_warehouse_whose_manifest_forgets_the_paragraphs_is_not_verified(config: RunConfig, tmp_path: Path) -> None:
    manifest = classify(replace(config, warehouse=str(tmp_path / "forgot")), [])
    path = tmp_path / "forgot/runs" / manifest.run_id / "manifest.json"
    values = json.loads(path.read_bytes())
    values["counts"]["split_off"] -= 1
    path.write_text(json.dumps(values))
    with pytest.raises(VerificationError, match="read, unpacked and split off is"):
        verify_run(opened(tmp_path / "forgot"), manifest.run_id)


def test_the_command_takes_the_choice_from_the_file(config: RunConfig, tmp_path: Path) -> None:
    (item,) = config.inputs
    (tmp_path / "run.toml").write_text(
        f"run_date = 2026-01-31\nwarehouse = '{tmp_path / 'w'}'\n[[inputs]]\npaths = ['{item.paths[0]}']\n"
        f"document_type = 'contract'\nbundle = '{item.bundle}'\nsplit = 'none'\n"
    )
    result = docyard("classify", "--config", tmp_path / "run.toml")
    assert result.exit_code == 0, result.stderr
    assert "cut into" not in result.stdout
