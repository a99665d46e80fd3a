"""The measurements of certificates: how often they fail, and how much they let through."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from benchmarks import corpora, power, scored, validity
from benchmarks.__main__ import main
from benchmarks.scored import ScoredSet
from benchmarks.validity import Split
from models.bundle import load_bundle, write_bundle_manifest
from models.certification import Certification, Target
from models.policy import Policy
from models.trained_rows import TrainedRows
from schemas.errors import RunFailedError
from tests.support.made_up_scores import made_up_rows

FIVE_PERCENT = Target(0.05)


@pytest.fixture
def made_up_set(tiny_bundle_unchanged: Path) -> ScoredSet:
    """4,000 rows whose error falls as their confidence rises."""
    bundle = load_bundle(tiny_bundle_unchanged)
    policy = Policy(bundle.labels, min_confidence=1.0, min_familiarity=-np.inf)
    rows = made_up_rows(4000, seed=3, n_labels=len(bundle.labels), error_of_uncertain=0.3)
    return ScoredSet("made_up", replace(bundle, policy=policy), rows, np.arange(4000) < 2000)


def test_certificates_of_drawn_rows_keep_their_promise(made_up_set: ScoredSet) -> None:
    splits = [validity.drawn(made_up_set, FIVE_PERCENT, number) for number in range(60)]
    assert all(split.certified for split in splits)
    assert validity.kept(validity.summary("made_up", 0.05, splits))
    assert 0.2 < np.mean([split.coverage for split in splits]) < 1 / 3  # a third of these rows has an error of 5%


def test_a_certificate_that_accepts_too_much_is_found(made_up_set: ScoredSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(policy: Policy, *rest: object) -> Certification:
        generous = replace(policy, min_confidence=0.2)
        return Certification(generous, FIVE_PERCENT, (), 1, 0, 1, 0, 0, 1.0, ())

    monkeypatch.setattr(validity, "certify", careless)
    for trial in (validity.drawn, validity.halves):
        splits = [trial(made_up_set, FIVE_PERCENT, number) for number in range(10)]
        assert all(split.exceeded and split.refuted for split in splits)
        assert not validity.kept(validity.summary("made_up", 0.05, splits))


def test_per_label_one_label_above_the_target_is_a_failure(made_up_set: ScoredSet) -> None:
    labels = made_up_set.bundle.labels
    policy = replace(made_up_set.bundle.policy, label_min_confidence={labels[0]: 0.99, labels[1]: 0.1})
    one = validity._measured(policy, made_up_set.rows, Target(0.05, per="label"))
    assert one.exceeded
    without = replace(policy, label_min_confidence={labels[0]: 0.99})
    assert not validity._measured(without, made_up_set.rows, Target(0.05, per="label")).exceeded


def test_whole_clusters_are_drawn_and_one_drawn_twice_is_two() -> None:
    rows = made_up_rows(100, seed=1, n_clusters=5)
    found = validity.draw(rows, 300, corpora.seeded("a"))
    assert found.clusters is not None
    assert rows.clusters is not None
    assert len(found.gold_ids) >= 300
    sizes = sorted(np.bincount(rows.clusters).tolist())
    assert all(size in sizes for size in np.bincount(found.clusters).tolist())
    assert len(np.unique(found.clusters)) > 5


def test_a_share_of_failures_is_kept_up_to_its_sampling_error() -> None:
    def of(exceeded: int) -> dict[str, object]:
        failed, fine = Split(True, 0.1, 0.5, True, True), Split(True, 0.0, 0.5, False, False)
        return validity.summary("s", 0.05, [failed] * exceeded + [fine] * (1000 - exceeded))

    assert validity.kept(of(0))
    assert validity.kept(of(63))
    assert not validity.kept(of(70))


@pytest.fixture
def certifiable(tiny_bundle: Path) -> Path:
    """The tiny bundle, with the hashes of rows that trained it."""
    manifest = load_bundle(tiny_bundle).manifest
    (tiny_bundle / "certificate.json").unlink()  # it is of the files before
    (tiny_bundle / "training_rows.npz").write_bytes(TrainedRows.of(["a row that trained it"]).to_bytes())
    write_bundle_manifest(
        tiny_bundle, name=manifest.name, created=manifest.created, document_type=manifest.document_type,
        max_tokens=manifest.max_tokens, training=manifest.training, fingerprint=manifest.fingerprint,
        reading=manifest.reading,
    )  # fmt: skip
    return tiny_bundle


def rows_it_knows(n_rows: int) -> pa.Table:
    """Rows that the tiny bundle labels rightly, in an order of words of their own."""
    kinds = (
        ("please refund my card payment twice", "billing"),
        ("where is my parcel courier late address", "delivery"),
        ("i cannot login password reset", "account"),
    )
    words = [corpora.seeded(str(row)).permutation(kinds[row % 3][0].split()) for row in range(n_rows)]
    labels = [kinds[row % 3][1] for row in range(n_rows)]
    return pa.table({"id": [f"d{row}" for row in range(n_rows)], "text": list(map(" ".join, words)), "label": labels})


@pytest.mark.slow
def test_the_whole_job_certifies_one_half_and_reads_the_tables_of_the_other(certifiable: Path) -> None:
    table = rows_it_knows(600)
    found = validity.run_job(certifiable, table, corpora.LabelledSet(), 0.05, 0)
    assert found.certified
    assert found.error == 0
    assert 0 < found.coverage <= 1
    wrong = table.set_column(2, "label", pa.array(["technical"] * 600))
    assert not validity.run_job(certifiable, wrong, corpora.LabelledSet(), 0.05, 0).certified
    with pytest.raises(RunFailedError, match=r"docyard certify failed: error: .*no column 'text'"):
        validity.run_job(certifiable, table.drop(["text"]), corpora.LabelledSet(), 0.05, 0)


@pytest.fixture
def tiny_data(tmp_path: Path, certifiable: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options of a measurement of the tiny bundle with a set of its own."""
    monkeypatch.setattr(corpora, "OWN_SETS", {"tiny_bundle": {"tickets/made_up": corpora.LabelledSet()}})
    monkeypatch.setattr(validity, "OWN_SETS", corpora.OWN_SETS)
    for module in (scored, validity, power):
        monkeypatch.setattr(module, "SETS", {"tickets/made_up": "tiny_bundle"})
    (tmp_path / "tickets/made_up").mkdir(parents=True)
    rows_it_knows(900).to_pandas().to_parquet(tmp_path / "tickets/made_up/validation.parquet")
    return ["--data", str(tmp_path), "--bundles", str(certifiable.parent), "--out", str(tmp_path / "out"), "--quick"]


def test_the_commands_measure_a_bundle_and_compute_its_answers_once(tiny_data: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["power", "--no-picture", *tiny_data])
    assert done.exit_code == 0, done.output
    kept = {path: path.stat().st_mtime_ns for path in (out / "scores").iterdir()}
    found = json.loads((out / "power.json").read_text())["sets"]["tickets/made_up"]
    for level in ("0.02", "0.05"):
        at = found["targets"][level]
        certified = at["certified"]["coverage"] if "certified" in at else 0.0
        assert certified <= at["hindsight"] + 0.02 <= at["perfect"] + 0.04
    done = CliRunner().invoke(main, ["validity", "--world", "drawn", "--world", "halves", *tiny_data])
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in (out / "scores").iterdir()} == kept
    worlds = json.loads((out / "validity.json").read_text())["worlds"]
    assert [row["max_error"] for row in worlds["drawn"]] == list(validity.TARGETS)
    assert all(row["exceeded"] == 0 for row in worlds["drawn"])
    assert "### One half certifies, the other is measured" in done.output
    refused = CliRunner().invoke(main, ["validity", "--world", "none", *tiny_data])
    assert "unknown 'none'; known: drawn" in refused.output


def test_the_best_threshold_in_hindsight_takes_equal_rows_together() -> None:
    order = np.array([0.9, 0.8, 0.8, 0.7, -1.0], dtype=np.float32)
    right = np.array([True, True, False, True, True])
    assert power._hindsight(order, right, 0.0) == 1 / 5
    assert power._hindsight(order, right, 0.25) == 4 / 5  # what a guard keeps out is never accepted
    assert power._hindsight(order, right, 0.34) == 4 / 5


def test_every_curve_is_drawn_always_alike(made_up_set: ScoredSet, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")  # of the extra `benchmarks`
    figures = {"sets": {"made_up": power.measure(made_up_set)}}
    for name in ("a.svg", "b.svg"):
        power.plot_curves(figures, tmp_path / name)
    picture = (tmp_path / "a.svg").read_text()
    assert picture == (tmp_path / "b.svg").read_text()
    assert "<!-- perfect order -->" in picture


def test_the_power_table_says_what_is_reached_and_what_is_refused(made_up_set: ScoredSet) -> None:
    figures = power.measure(made_up_set)
    about = {"processor": "made up", "features": [], "date": "2026-11-22"}
    table = power.markdown({"surroundings": about, "sets": {"transactions/birmingham_pcard": figures}})
    assert "| transactions/birmingham_pcard | 30% at 5% |" in table
    assert table.count("| no |") == 1
    assert "| transactions/birmingham_pcard | 2,000 | 1% |" in table
