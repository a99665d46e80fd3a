from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import bundle_reference, load_bundle, write_bundle_manifest
from models.classifier import Classifier
from models.evaluation import evaluate, expected_calibration_error, macro_f1, wilson_interval
from models.evaluation_data import EvaluationData, read_evaluation_data
from schemas.errors import ConfigError, InputError

EASY = {
    "please refund my card, the invoice is not paid": "billing",
    "the parcel and the package did not arrive": "delivery",
    "my password and my login do not work, reset the account": "account",
    "the app does crash and the screen is slow": "technical",
}


@pytest.fixture(scope="module")
def classifier(tiny_bundle_unchanged: Path) -> Iterator[Classifier]:
    opened = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    yield opened
    opened.close()


def test_right_answers_are_counted_and_the_values_are_strict_json(classifier: Classifier) -> None:
    result = evaluate(classifier, list(EASY), list(EASY.values()))
    assert json.loads(json.dumps(result, allow_nan=False))["rows"] == 4
    assert result["bundle"] == bundle_reference(classifier.bundle)
    assert (result["accuracy"], result["macro_f1"], result["failed_rows"]) == (1.0, 1.0, 0)
    assert result["accuracy_interval_95"] == wilson_interval(4, 4)
    assert result["accepted_share"] + result["escalated_share"] == pytest.approx(1.0)
    assert sum(result["route_reasons"].values()) == 4
    assert result["route_reasons"].get("certain", 0) == result["accepted_rows"] > 0
    assert result["unknown_labels"] == {}
    assert result["out_of_scope_escalated_share"] is None


def test_wrong_answers_lower_accuracy_and_accuracy_of_the_accepted(classifier: Classifier) -> None:
    texts = list(EASY) * 2
    gold = [*EASY.values(), *["technical"] * 4]
    result = evaluate(classifier, texts, gold)
    assert result["accuracy"] == 5 / 8
    labels = classifier.bundle.labels
    answers = np.array([labels[label_id] for label_id in classifier.classify(texts).label_ids])
    expected = []
    for label in labels:
        hits = sum(1 for a, g in zip(answers, gold, strict=True) if a == g == label)
        expected.append(2 * hits / ((answers == label).sum() + gold.count(label)))
    assert result["macro_f1"] == pytest.approx(np.mean(expected))
    assert result["accuracy_accepted"] < 1.0


def test_rows_out_of_scope_are_counted_apart(classifier: Classifier) -> None:
    strangers = ["xyzzy plugh", "qwerty zxcvb asdf", "please refund my card, the invoice is not paid"]
    in_scope = evaluate(classifier, list(EASY), list(EASY.values()))
    result = evaluate(classifier, [*EASY, *strangers], [*EASY.values(), "oos", "oos", "weather"])
    assert (result["rows"], result["in_scope_rows"], result["out_of_scope_rows"]) == (7, 4, 3)
    assert result["unknown_labels"] == {"oos": 2, "weather": 1}
    # Two strangers are escalated; the third looks like billing and is, wrongly, accepted.
    assert result["out_of_scope_escalated_share"] == pytest.approx(2 / 3)
    of_all = ("rows", "out_of_scope_rows", "out_of_scope_escalated_share", "unknown_labels")
    assert {key: result[key] for key in in_scope if key not in of_all} == {
        key: in_scope[key] for key in in_scope if key not in of_all
    }


def test_nothing_in_scope_gives_none_instead_of_a_number(classifier: Classifier) -> None:
    result = evaluate(classifier, ["xyzzy"], ["oos"])
    for key in ("accuracy", "accuracy_interval_95", "macro_f1", "accepted_share", "expected_calibration_error"):
        assert result[key] is None
    assert evaluate(classifier, [], [])["rows"] == 0


def test_a_text_the_model_fails_on_counts_as_wrong_and_escalated(
    tiny_bundle: Path, model_that_fails_on_poison: bytes
) -> None:
    (tiny_bundle / "model.onnx").write_bytes(model_that_fails_on_poison)
    bundle = write_bundle_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32
    )
    texts = [*EASY, "please refund my card, the invoice is not paid poison"]
    result = evaluate(Classifier(bundle, threads=1), texts, [*EASY.values(), "billing"])
    assert (result["failed_rows"], result["accuracy"]) == (1, 0.8)
    assert sum(result["route_reasons"].values()) == 4
    assert result["escalated_share"] >= 0.2
    assert result["expected_calibration_error"] is not None


def test_texts_and_labels_of_different_number_are_a_defect(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="one gold label per text"):
        evaluate(classifier, ["a"], [])


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    low, high = wilson_interval(81, 263) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)  # Newcombe 1998, table I
    assert wilson_interval(0, 0) is None


@given(trials=st.integers(1, 10_000), data=st.data())
def test_wilsons_interval_holds_the_share_and_stays_between_0_and_1(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials) or (2, 2)
    assert 0.0 <= low <= successes / trials <= high <= 1.0


def test_macro_f1_weighs_labels_alike_and_ignores_labels_without_gold() -> None:
    gold = np.array([0, 0, 0, 1], dtype=np.int32)
    answers = np.array([0, 0, 2, 1], dtype=np.int32)
    assert macro_f1(gold, answers) == pytest.approx((2 * 2 / 5 + 1.0) / 2)
    assert macro_f1(gold[:0], answers[:0]) is None


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidence = np.full(100, 0.75, dtype=np.float32)
    assert expected_calibration_error(confidence, np.arange(100) < 75) == pytest.approx(0.0)
    assert expected_calibration_error(confidence, np.arange(100) < 50) == pytest.approx(0.25)
    # In one bin the gaps of 1.0 and 0.95 would cancel partly, in two they do not.
    apart = np.array([1.0, 0.5], dtype=np.float32)
    assert expected_calibration_error(apart, np.array([False, True])) == pytest.approx(0.75)
    assert expected_calibration_error(np.array([0.0], dtype=np.float32), np.array([False])) == 0.0


ROWS = [("please refund", "billing"), ('a "quoted", text\nof two lines', "delivery")]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_the_three_formats_read_alike(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": [row[0] for row in ROWS], "label": [row[1] for row in ROWS], "id": [1, 2]})
    assert read_evaluation_data(path) == EvaluationData(*zip(*ROWS, strict=True))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_other_column_names_and_whole_number_labels_can_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"body": ["x", "y"], "queue": [7, 12]})
    assert read_evaluation_data(path, "body", "queue") == EvaluationData(("x", "y"), ("7", "12"))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_without_the_columns_is_refused_with_those_it_has(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": ["x"], "intent": ["y"]})
    with pytest.raises(ConfigError, match=r"no column 'label'.*it has text, intent"):
        read_evaluation_data(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize(("text", "label"), [(None, "a"), ("  ", "a"), ("secret", None), ("secret", "")])
def test_a_missing_text_or_label_is_refused_with_its_row(
    tmp_path: Path, suffix: str, text: str | None, label: str | None
) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": ["fine", text], "label": ["a", label]})
    with pytest.raises(InputError, match=r"row 1, '(text|label)': expected a text") as caught:
        read_evaluation_data(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_file_without_rows_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, {"text": [], "label": []})
    with pytest.raises(InputError, match="no rows"):
        read_evaluation_data(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.parquet", b"PAR1 or so"),
        ("data.csv", b""),
        ("data.csv", b"text,label\nsecret\n"),
        ("data.csv", b"text,label\nsecret\xff,a\n"),
        ("data.jsonl", b'{"text": "secret"'),
        ("data.jsonl", b'["secret"]'),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused_without_quoting_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_evaluation_data(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_evaluation_data(tmp_path / "data.csv")
    with pytest.raises(ConfigError, match=r"ends in \.parquet, \.csv, \.jsonl"):
        read_evaluation_data(tmp_path / "data.xlsx")


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,text,label\na,b,c\n")
    with pytest.raises(ConfigError, match="occurs twice"):
        read_evaluation_data(tmp_path / "data.csv")


def write(path: Path, columns: dict[str, list[object]]) -> None:
    if path.suffix == ".parquet":
        types = {name: pa.string() for name, values in columns.items() if not any(isinstance(v, int) for v in values)}
        pq.write_table(pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()}), path)
        return
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
        return
    cells = [["" if cell is None else '"' + str(cell).replace('"', '""') + '"' for cell in row] for row in rows]
    path.write_text("\n".join(",".join(row) for row in [names, *cells]) + "\n")
