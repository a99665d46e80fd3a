"""Accepted answers keep the promised error as often as promised, or nothing is promised."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from click.testing import CliRunner

from models.bundle import load_bundle
from models.certification import NEVER, LabelledScores, Per, Target, certify, certify_ocr, p_value, rows_needed
from models.policy import Policy
from models.scores import Scores
from models.trained_rows import FILE_NAME as ROWS_NAME
from models.trained_rows import TrainedRows, parse_trained_rows
from pipelines.cli import main
from schemas.errors import BundleError, CertificationError
from tests.support.made_up_certificate import made_up_certificate, write_certified_manifest

LABELS = ("a", "b", "c")
POLICY = Policy(LABELS, 0.0, -math.inf)
WORDS = {  # that the tiny bundle knows
    "billing": "refund payment card charge invoice fee money price paid bill bank twice",
    "delivery": "parcel package courier late shipping address arrive door box lost driver post",
    "account": "password login email account locked name profile sign username reset access delete",
    "technical": "crash error app screen slow update bug install freeze phone button load",
}


def made_up(n_rows: int, rng: np.random.Generator, strangers: int = 0, power: float = 4.0) -> LabelledScores:
    """Answers that are right with the probability 1 - (1 - confidence) ** power / 2, so that the truth is known."""
    confidence = rng.random(n_rows + strangers).astype(np.float32)
    label_ids = rng.integers(3, size=n_rows + strangers).astype(np.int32)
    wrong = rng.random(n_rows + strangers) < wrong_share(confidence, power)
    gold = np.where(wrong, (label_ids + 1) % 3, label_ids)
    gold[n_rows:] = -1
    n = len(gold)
    return LabelledScores(
        Scores(
            top_label_ids=label_ids[:, None],
            top_confidences=confidence[:, None],
            confidence=confidence,
            familiarity=np.ones(n, dtype=np.float32),
            n_tokens=np.full(n, 9, dtype=np.int32),
            truncated=np.zeros(n, dtype=np.bool_),
            n_windows=np.ones(n, dtype=np.int32),
            first_tier=np.zeros(n, dtype=np.bool_),
        ),
        gold,
    )


def wrong_share(confidence: npt.NDArray[np.float32], power: float = 4.0) -> npt.NDArray[np.float64]:
    return np.asarray((1 - confidence.astype(np.float64)) ** power / 2)


def true_error(threshold: float, power: float = 4.0) -> float:
    """The error of all answers with at least this confidence, by integration."""
    width = 1 - threshold
    return 0.0 if width <= 0 else width**power / (2 * (power + 1))


def test_an_answer_that_is_another_right_label_of_its_row_counts_as_right() -> None:
    rows = made_up(6, np.random.default_rng(1), strangers=1)
    answers = np.array([0, 1, 2, 0, -1, 1, 1])
    rows = replace(rows, gold_ids=np.array([0, 0, 0, 1, 2, 2, -1]), also_right=np.zeros((7, 3), dtype=np.bool_))
    assert rows.wrong(answers).tolist() == [False, True, True, True, True, True, True]
    assert rows.also_right is not None
    rows.also_right[1, 1] = rows.also_right[3, 0] = True
    rows.also_right[4, :] = True
    assert rows.wrong(answers).tolist() == [False, False, True, False, True, True, True], "no answer is never right"
    assert rows.take(np.array([3, 2])).wrong(answers[[3, 2]]).tolist() == [False, True]


def test_several_right_labels_let_more_be_certified() -> None:
    choosing, certifying = (made_up(4000, np.random.default_rng(seed)) for seed in (1, 2))
    strict = certify(POLICY, {}, choosing, certifying, Target(0.02))
    any_right = [replace(rows, also_right=np.ones((4000, 3), dtype=np.bool_)) for rows in (choosing, certifying)]
    found = certify(POLICY, {}, *any_right, Target(0.02))
    assert found.errors == 0
    assert found.coverage > strict.coverage


@pytest.mark.parametrize(("errors", "rows", "share"), [(0, 299, 0.01), (3, 400, 0.02), (17, 800, 0.05), (5, 5, 0.5)])
def test_a_p_value_is_that_of_the_exact_binomial_test(errors: int, rows: int, share: float) -> None:
    expected = scipy.stats.binomtest(errors, rows, share, alternative="less").pvalue
    assert p_value(errors, rows, share) == pytest.approx(expected)


@pytest.mark.parametrize(("max_error", "tail", "rows"), [(0.01, 0.05, 299), (0.02, 0.05, 149), (0.001, 0.05, 2995)])
def test_so_many_rows_without_an_error_prove_a_share_and_one_fewer_does_not(
    max_error: float, tail: float, rows: int
) -> None:
    assert rows_needed(max_error, tail) == rows
    assert p_value(0, rows, max_error) <= tail < p_value(0, rows - 1, max_error)


def promises(choosing: LabelledScores, n_rows: int, target: Target, draws: int) -> tuple[int, int, float]:
    """Draws certifying rows again and again: broken promises, refusals, and the mean share accepted."""
    rng, broken, coverages = np.random.default_rng(2), 0, []
    for _ in range(draws):
        try:
            found = certify(POLICY, {}, choosing, made_up(n_rows, rng), target)
        except CertificationError:
            continue
        thresholds = found.policy.thresholds().tolist()
        broken += any(true_error(one) > target.max_error for one in thresholds if math.isfinite(one))
        coverages.append(found.coverage)
    return broken, draws - len(coverages), float(np.mean(coverages))


@pytest.mark.parametrize(("max_error", "n_rows"), [(0.01, 3000), (0.02, 1500), (0.05, 800)])
def test_the_error_exceeds_the_promise_in_no_more_than_one_of_twenty_draws(max_error: float, n_rows: int) -> None:
    choosing, draws = made_up(n_rows, np.random.default_rng(1)), 400
    broken, refused, coverage = promises(choosing, n_rows, Target(max_error), draws)
    assert broken <= scipy.stats.binom.ppf(0.999, draws, 0.05)
    assert refused <= 0.03 * draws
    assert coverage > 0.8 * (10 * max_error) ** 0.25  # of what an oracle accepts


def test_each_label_keeps_its_own_promise_with_the_tail_shared_among_them() -> None:
    choosing, draws = made_up(3000, np.random.default_rng(1)), 200
    broken, refused, coverage = promises(choosing, 3000, Target(0.05, per="label"), draws)
    assert broken <= scipy.stats.binom.ppf(0.999, draws, 0.05)
    assert refused == 0
    assert coverage > 0.6


def test_what_is_measured_on_the_certifying_rows_is_what_the_policy_routes() -> None:
    rng = np.random.default_rng(3)
    certifying = made_up(2000, rng, strangers=300)
    found = certify(POLICY, {}, made_up(1000, rng), certifying, Target(0.02))
    accepted = replace(found.policy, certified=True).route(certifying.encoder).accepted
    in_scope = certifying.gold_ids >= 0
    wrong = certifying.encoder.label_ids != certifying.gold_ids
    assert (found.rows, found.accepted) == (2000, int((accepted & in_scope).sum()))
    assert found.errors == int((accepted & in_scope & wrong).sum())
    assert (found.strangers, found.strangers_accepted) == (300, int((accepted & ~in_scope).sum()))
    (proof,) = found.proofs
    assert (proof.rows, proof.errors) == (found.accepted, found.errors)
    assert proof.bound is not None
    assert proof.errors / proof.rows < proof.bound <= 0.02


def test_a_recall_bounds_the_positives_that_are_accepted_as_something_else() -> None:
    rng = np.random.default_rng(4)
    certifying = made_up(4000, rng)
    found = certify(POLICY, {}, made_up(4000, rng), certifying, Target(0.05, positive_label="b"))
    accepted = replace(found.policy, certified=True).route(certifying.encoder).accepted
    positive = certifying.gold_ids == 1
    assert found.policy.label_min_confidence["b"] == NEVER
    assert found.errors == int((accepted & positive).sum()) <= 0.05 * positive.sum()
    assert found.coverage > 0.3


def test_an_error_in_one_slice_keeps_the_whole_threshold_up() -> None:
    rng = np.random.default_rng(5)
    choosing, certifying = made_up(9000, rng), made_up(9000, rng)
    bad = (certifying.encoder.label_ids != certifying.gold_ids) & (rng.random(9000) < 0.6)
    slices = {"branch": np.where(bad | (rng.random(9000) < 0.3), "north", "south")}
    whole = certify(POLICY, {}, choosing, certifying, Target(0.02)).policy.min_confidence
    kept = certify(POLICY, {}, choosing, replace(certifying, slices=slices), Target(0.02, per="slice"))
    assert kept.policy.min_confidence > whole


def test_rows_that_stand_or_fall_together_prove_less() -> None:
    rng = np.random.default_rng(6)
    one = made_up(400, rng)
    repeated = one.take(np.repeat(np.arange(400), 10))
    clusters = np.repeat(np.arange(400), 10)
    alone = certify(POLICY, {}, repeated, repeated, Target(0.05))
    together = certify(POLICY, {}, replace(repeated, clusters=clusters), repeated, Target(0.05))
    assert alone.design_effect == 1.0
    assert together.design_effect == pytest.approx(10, rel=0.2)
    assert together.coverage < alone.coverage


def test_the_first_tier_and_the_encoder_keep_the_promise_together_and_whatever_the_criterion() -> None:
    rng = np.random.default_rng(7)
    policy = replace(POLICY, first_tier={"strict": 0.9, "equal_average": 0.8, "near_average": 0.7})
    rows = [replace(made_up(3000, rng), first_tier=made_up(3000, rng, power=3.0).encoder) for _ in range(2)]
    for one in rows:
        one.first_tier.top_label_ids[:] = np.where(  # type: ignore[union-attr]
            rng.random(3000) < wrong_share(one.first_tier.confidence, 3.0),  # type: ignore[union-attr]
            (one.gold_ids + 1) % 3,
            one.gold_ids,
        )[:, None]
    found = certify(policy, {}, *rows, Target(0.02))
    assert set(found.policy.first_tier) == {"strict", "equal_average", "near_average"}
    assert all(found.policy.first_tier[name] >= policy.first_tier[name] for name in policy.first_tier)
    certified = replace(found.policy, certified=True)
    for criterion in ("strict", "equal_average", "near_average", "off"):
        scores = rows[1].answers(certified, criterion)
        accepted = certified.route(scores, criterion).accepted
        assert (scores.label_ids != rows[1].gold_ids)[accepted].mean() < 0.02
        assert scores.first_tier.any() == (criterion != "off")


@pytest.mark.parametrize(
    ("max_error", "per", "rows", "words"),
    [
        (0.001, "all", 300, "at least 2,995 accepted rows, all right"),
        (0.02, "all", 40, "at least 149 accepted rows, all right"),
        (0.02, "label", 12, "at least"),
    ],
)
def test_a_target_that_the_rows_cannot_prove_is_refused_with_the_number_that_would_do(
    max_error: float, per: Per, rows: int, words: str
) -> None:
    rng = np.random.default_rng(8)
    with pytest.raises(CertificationError, match=words):
        certify(POLICY, {}, made_up(rows, rng), made_up(rows, rng), Target(max_error, per=per))


def test_a_label_with_few_rows_is_escalated_and_its_proof_says_how_many_it_takes() -> None:
    rng = np.random.default_rng(9)
    rows = [made_up(3000, rng) for _ in range(2)]
    rare = [one.take((one.encoder.label_ids != 2) | (np.arange(3000) < 12)) for one in rows]
    found = certify(POLICY, {}, *rare, Target(0.05, per="label"))
    assert [proof.threshold == NEVER for proof in found.proofs] == [False, False, True]
    assert found.proofs[2].rows_needed == rows_needed(0.05, found.proofs[2].tail)
    routing = replace(found.policy, certified=True).route(rare[1].encoder)
    assert set(routing.reasons[rare[1].encoder.label_ids == 2]) == {"uncertified"}


def test_texts_that_ocr_read_are_accepted_only_where_they_keep_the_promise_too() -> None:
    rng = np.random.default_rng(12)
    given = [made_up(3000, rng) for _ in range(2)]
    found = certify(POLICY, {}, *given, Target(0.05))
    well_read, badly_read = made_up(600, rng, power=30.0), made_up(600, rng, power=1.0)
    confidence = np.full(600, 0.95, dtype=np.float32)
    proven = certify_ocr(found, well_read, confidence, 0.9)
    assert proven.policy.min_ocr_confidence == 0.9
    assert proven.proofs[:-1] == found.proofs
    accepted = (well_read.encoder.confidence >= found.proofs[0].threshold).sum()
    assert (proven.proofs[-1].door, proven.proofs[-1].rows) == ("ocr", accepted)
    assert proven.proofs[-1].bound is not None
    assert proven.proofs[-1].bound <= 0.05
    for rows, read in (
        (badly_read, confidence),
        (well_read, confidence - 0.1),
        (well_read.take(np.arange(40)), confidence[:40]),
    ):
        refused = certify_ocr(found, rows, read, 0.9)
        assert refused.policy.min_ocr_confidence == NEVER
        assert refused.proofs[-1].threshold == NEVER
        assert refused.proofs[-1].rows_needed == rows_needed(0.05, 1 - refused.target.confidence)
    with pytest.raises(CertificationError, match="not for a recall"):
        certify_ocr(replace(found, target=Target(0.1, positive_label="a")), well_read, confidence, 0.9)


def test_hashes_of_rows_know_their_rows_again_and_no_others() -> None:
    texts = [f"text {number}" for number in range(5000)]
    known = parse_trained_rows(TrainedRows.of(texts).to_bytes(), "rows")
    assert known.holds([" TEXT  7", "text 5000"], None).tolist() == [True, False]
    by_id = parse_trained_rows(TrainedRows.of(texts, map(str, range(5000))).to_bytes(), "rows")
    assert by_id.holds(["text 7", "text 7"], ["7", "8"]).tolist() == [True, False]
    with pytest.raises(BundleError, match="not readable"):
        parse_trained_rows(b"PK", "rows")


# The command.


@pytest.fixture(scope="module")
def bundle_to_certify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certify") / "tiny"
    shutil.copytree(Path(__file__).parents[1] / "tiny_bundle", folder)
    (folder / ROWS_NAME).write_bytes(TrainedRows.of(["the parcel was trained on"]).to_bytes())
    facts: dict[str, Any] = {"name": "tiny", "created": "2026-11-22", "document_type": "ticket", "max_tokens": 32}
    write_certified_manifest(folder, **facts)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(10)
    lines = []
    for number in range(3000):
        label = str(rng.choice(list(WORDS)))
        own = rng.choice(WORDS[label].split(), size=rng.integers(1, 4)).tolist()
        words = rng.permutation(
            [*own, *rng.choice(["my", "the", "was", "not", "please", "can", "have"], size=3).tolist()]
        )
        row = {"text": f"{' '.join(words)} {number}", "label": label, "day": f"2026-10-{number % 28 + 1:02}"}
        lines.append(json.dumps(row))
    path = tmp_path_factory.mktemp("labelled") / "rows.jsonl"
    path.write_text("\n".join(lines))
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["certify", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_writes_policy_certificate_and_page_and_proves_them_again(
    bundle_to_certify: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(bundle_to_certify, tmp_path / "tiny"))
    options = ("--max-error", 0.02, "--date-column", "day", "--json", tmp_path / "out.json")
    code, output = run(folder, "--data", labelled, *options)
    assert code == 0, output
    assert "at most 2.0% are wrong, 95 times in 100" in output
    bundle = load_bundle(folder)
    certificate = bundle.certificate
    assert certificate is not None
    assert bundle.policy.certified
    values = json.loads((tmp_path / "out.json").read_text())
    assert values == json.loads((folder / "certificate.json").read_text())
    keys = {"max_error", "confidence", "rows", "errors", "coverage", "method", "data_sha256", "valid_for"}
    assert keys <= set(values)
    assert (values["valid_for"]["first_date"], values["valid_for"]["last_date"]) == ("2026-10-01", "2026-10-28")
    assert certificate.coverage > 0.5
    assert "Risk and coverage" in (folder / "certificate.html").read_text()
    assert run(folder, "--data", labelled, "--max-error", 0.02, "--check")[0] == 0
    monkeypatch.setattr("pipelines.certify._today", lambda: "2031-01-01")
    assert run(folder, "--data", labelled, "--max-error", 0.02, "--check")[0] == 0, "on a later day too"
    code, output = run(folder, "--data", labelled, "--max-error", 0.05, "--check")
    assert code == 8
    assert "'max_error'" in output


def test_the_command_certifies_texts_that_ocr_read_beside_those_given(
    bundle_to_certify: Path, labelled: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle_to_certify, tmp_path / "tiny"))
    rows = [json.loads(line) for line in labelled.read_text().splitlines()]
    read = [row | {"text": f"read {row['text']}", "ocr_confidence": 0.97} for row in rows[:1000]]
    path = tmp_path / "read.jsonl"
    path.write_text("\n".join(map(json.dumps, read)))
    options = ("--data", labelled, "--ocr-data", path, "--max-error", 0.02)
    code, output = run(folder, *options)
    assert code == 0, output
    assert "OCR         its texts are accepted from a confidence of 0.9" in output
    assert load_bundle(folder).policy.min_ocr_confidence == 0.9
    assert run(folder, *options, "--check")[0] == 0
    policy = (folder / "policy.toml").read_text()
    (folder / "policy.toml").write_text(policy.replace("min_ocr_confidence = 0.9", "min_ocr_confidence = 0.1"))
    with pytest.raises(BundleError, match=r"policy\.toml"):
        load_bundle(folder)
    path.write_text("\n".join(json.dumps(row | {"ocr_confidence": "high"}) for row in read))
    code, output = run(bundle_to_certify, *options)
    assert (code, "expected a number in every row" in output) == (3, True)


def test_a_row_that_trained_the_bundle_is_refused(bundle_to_certify: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nThe parcel  was trained on,delivery\nanother,billing\n")
    code, output = run(bundle_to_certify, "--data", path, "--max-error", 0.02)
    assert code == 14
    assert "1 of 2 rows trained the bundle, the first is row 0" in output
    assert "parcel" not in output


def test_a_target_out_of_reach_changes_nothing(bundle_to_certify: Path, labelled: Path) -> None:
    before = load_bundle(bundle_to_certify).digest
    code, output = run(bundle_to_certify, "--data", labelled, "--max-error", 0.0001)
    assert code == 14
    assert "at least 29,956 accepted rows" in output
    assert load_bundle(bundle_to_certify).digest == before


@pytest.mark.parametrize("options", [(), ("--max-error", 0.02, "--min-recall", 0.9), ("--min-recall", 0.9)])
def test_a_promise_that_cannot_be_meant_is_refused(bundle_to_certify: Path, options: tuple[object, ...]) -> None:
    assert run(bundle_to_certify, "--data", "rows.csv", *options)[0] == 2


# The certificate.


def change(folder: Path, **values: Any) -> None:
    """Changes the certificate and makes the manifest fit, as someone would who wants it to be believed."""
    content = json.loads((folder / "certificate.json").read_text()) | values
    (folder / "certificate.json").write_text(json.dumps(content))
    from models.bundle import write_bundle_manifest

    write_bundle_manifest(folder, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"errors": 600}, "errors <= accepted <= rows"),
        ({"coverage": 0.9}, "not accepted / rows"),
        ({"max_error": 0.001}, "do not prove"),
        ({"confidence": 0.99}, "more than 1 - confidence"),
        ({"thresholds": []}, "at least one that is proven"),
        ({"data_sha256": "x"}, "64 hexadecimal digits"),
        ({"format": 9}, "certificate format"),
        ({"files": {}}, "another calibration.json"),
    ],
)
def test_a_certificate_that_contradicts_itself_is_found(tiny_bundle: Path, values: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        change(tiny_bundle, **values)


def test_a_certificate_of_another_policy_is_not_used(tiny_bundle: Path) -> None:
    policy = (tiny_bundle / "policy.toml").read_text()
    (tiny_bundle / "policy.toml").write_text(policy.replace("0.8", "0.5"))
    with pytest.raises(BundleError, match=r"certifies another policy\.toml"):
        change(tiny_bundle)
    files = {**json.loads((tiny_bundle / "certificate.json").read_text())["files"]}
    import hashlib

    files["policy.toml"] = hashlib.sha256((tiny_bundle / "policy.toml").read_bytes()).hexdigest()
    with pytest.raises(BundleError, match="does not prove the threshold 0\\.5"):
        change(tiny_bundle, files=files)


def test_a_bundle_without_a_certificate_accepts_nothing_and_says_why(tiny_bundle: Path) -> None:
    (tiny_bundle / "certificate.json").unlink()
    from models.bundle import write_bundle_manifest

    bundle = write_bundle_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32
    )
    routing = bundle.policy.route(made_up(50, np.random.default_rng(11)).encoder)
    assert not routing.accepted.any()
    made_up_certificate(tiny_bundle)
