from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from models.bundle_manifest import ReadingRules
from pipelines.cli import main
from tests.support.made_up_certificate import write_certified_manifest

ROWS = [
    {"text": "please refund my card swordfish", "label": "billing", "labels": ["billing", "account"], "channel": "app"},
    {"text": "the parcel did not arrive", "label": "delivery", "labels": [], "channel": "mail"},
    {"text": "the app does crash", "label": "technical", "labels": [], "channel": "mail"},
    {"text": "xyzzy", "label": "oos", "labels": [], "channel": "mail"},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def evaluate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_figures_are_shown_printed_as_json_and_drawn_on_a_page(
    tmp_path: Path, tiny_bundle_unchanged: Path, data: Path
) -> None:
    html_path = tmp_path / "new/page.html"
    options = ["--slice-column", "channel", "--labels-column", "labels"]
    options += ["--none-label", "technical", "--positive-label", "billing"]
    described = evaluate(tiny_bundle_unchanged, data, *options)
    assert described.exit_code == 0, described.output
    assert "4 rows, 3 of them in scope of tiny@" in described.output
    result = evaluate(tiny_bundle_unchanged, data, "--json", "--html", html_path, *options)
    figures = json.loads(result.output)
    assert (figures["accuracy"], figures["several_labels"]["rows_with_several"]) == (1.0, 1)
    assert {entry["value"] for entry in figures["slices"] if entry["by"] == "channel"} == {"app", "mail"}
    assert figures["positives_only"]["rows"] == 2
    assert figures["positive_label"]["average_precision"] == 1.0
    assert figures["speed"]["documents"] == 4
    page = html_path.read_text(encoding="utf-8")
    assert "rows.jsonl" in page
    assert "swordfish" not in page + result.output + described.output


def test_the_bundles_template_makes_the_text_unless_a_column_is_named(tmp_path: Path, tiny_bundle: Path) -> None:
    write_certified_manifest(
        tiny_bundle, name="tiny", created="2026-11-22", document_type="ticket", max_tokens=32,
        reading=ReadingRules(template="the {what} did not arrive"),
    )  # fmt: skip
    data = tmp_path / "rows.jsonl"
    data.write_text('{"what": "parcel", "text": "please refund my card", "label": "delivery"}\n')
    assert "accuracy              100.00%" in evaluate(tiny_bundle, data).output
    assert "accuracy              0.00%" in evaluate(tiny_bundle, data, "--text-column", "text").output


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--text-column", "body"], 2, "no column 'body'"),
        (["--slice-column", "town"], 2, "no column 'town'"),
        (["--labels-column", "channel"], 3, "expected a list of labels"),
        (["--none-label", "none"], 2, "'none' is none of the 4 labels"),
    ],
)
def test_what_the_data_or_the_bundle_does_not_have_is_refused_in_one_line(
    tiny_bundle_unchanged: Path, data: Path, options: list[str], code: int, said: str
) -> None:
    result = evaluate(tiny_bundle_unchanged, data, *options)
    assert result.exit_code == code
    assert said in result.output
    assert result.output.count("\n") == 1


def test_a_page_that_cannot_be_written_is_refused_before_the_measuring(tmp_path: Path, data: Path) -> None:
    result = evaluate(tmp_path / "no bundle at all", data, "--html", tmp_path)
    assert result.exit_code == 2
    assert "cannot be written: Is a directory" in result.output


def test_an_earlier_page_stays_when_a_later_measurement_fails(
    tmp_path: Path, tiny_bundle_unchanged: Path, data: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("earlier")
    assert evaluate(tiny_bundle_unchanged, data, "--label-column", "queue", "--html", page).exit_code == 2
    assert page.read_text() == "earlier"
