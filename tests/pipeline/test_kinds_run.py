"""Runs over documents of several kinds: each goes to the bundle of its kind, or is rejected as of none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from extraction.documents import Extraction
from extraction.process import Extractor
from pipelines.sampling.drawing import text_pdf
from tests.support.drawn_documents import mail, zip_of
from tests.support.small_runs import docyard, published_hashes, write_jsonl

SHIPPED = Path(__file__).parents[2] / "models/bundles"
RECEIPT = "SUNRISE DINER\nTable 4\n2 Pancakes 12.40\n1 Coffee 2.80\nSubtotal 15.20\nTax 1.46\nTotal 16.66\nCash 20.00"
LETTERS = [
    "Dear Sir or Madam,\n\nPlease refund my card payment, I was charged twice.\n\nYours faithfully,\nA. Dale",
    "Dear Sir or Madam,\n\nWhere is my parcel? The courier is late.\n\nYours faithfully,\nB. Hill",
]
STRANGER = "def main(argv):\n    parser = argparse.ArgumentParser()\n    return parser.parse_args(argv)\n" * 20


@pytest.fixture
def bundles(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A folder of bundles with one for tickets only."""
    folder = tmp_path / "bundles"
    shutil.copytree(SHIPPED / "kinds", folder / "kinds")
    tiny_bundle.rename(folder / "tiny")
    return folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "receipt.txt").write_text(RECEIPT)
    (folder / "program.txt").write_text(STRANGER)
    (folder / "empty.txt").write_text(" ")
    texts = ["please refund my card payment, I was charged twice", "where is my parcel, the courier is late"]
    write_jsonl(folder / "tickets.jsonl", [{"id": f"t{n}", "text": text} for n, text in enumerate(texts)])
    return folder


def arguments(inbox: Path, bundles: Path, warehouse: Path) -> list[object]:
    return [
        *("classify", "--input", inbox, "--document-type", "auto", "--bundles", bundles),
        *("--warehouse", warehouse, "--run-date", "2026-01-31"),
    ]


def test_each_document_goes_to_the_bundle_of_its_kind(inbox: Path, bundles: Path, tmp_path: Path) -> None:
    result = docyard(*arguments(inbox, bundles, tmp_path / "w"))
    assert result.exit_code == 0, result.output
    classified = pd.read_parquet(tmp_path / "w/classifications")
    assert dict(zip(classified["document_id"], classified["document_type"], strict=True)) == {
        "t0": "ticket",
        "t1": "ticket",
    }
    assert (classified["kind_confidence"] > 0.5).all()
    assert set(classified["bundle"].str.partition("@")[0]) == {"tiny"}
    rejected = pd.read_parquet(tmp_path / "w/rejections").set_index("document_id")
    assert dict(rejected["reason_code"]) == {
        "receipt.txt": "unknown_kind",
        "program.txt": "unknown_kind",
        "empty.txt": "empty_text",
    }
    assert set(rejected["document_type"]) == {"unknown"}
    assert "bundle: ticket" in rejected.loc["receipt.txt", "detail"]
    (path,) = (tmp_path / "w/runs").glob("*/manifest.json")
    manifest = json.loads(path.read_bytes())
    assert manifest["document_types"] == ["ticket", "unknown"]
    assert manifest["bundles"]["unknown"]["reference"].startswith("kinds@")
    assert manifest["counts"]["by_document_type"]["unknown"]["rejected"] == 3
    assert docyard("verify", path.parent.name, "--warehouse", tmp_path / "w").exit_code == 0


def test_a_packet_is_split_and_a_doubtful_one_is_escalated_whole(inbox: Path, bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "page_pairs", bundles / "page_pairs")
    for path in inbox.iterdir():
        path.unlink()
    (inbox / "scan.pdf").write_bytes(text_pdf(f"{LETTERS[0]}\f{RECEIPT}"))
    (inbox / "twice.pdf").write_bytes(text_pdf("\f".join(LETTERS)))
    result = docyard(*arguments(inbox, bundles, tmp_path / "w"))
    assert result.exit_code == 0, result.output
    classified = pd.read_parquet(tmp_path / "w/classifications").set_index("document_id")
    rejected = pd.read_parquet(tmp_path / "w/rejections").set_index("document_id")
    assert set(classified.index) == {"scan.pdf!pages-0001-0001", "twice.pdf"}
    assert dict(rejected["reason_code"]) == {"scan.pdf!pages-0002-0002": "unknown_kind"}
    assert classified.loc["twice.pdf", "route_reason"] == "doubtful_pages"
    assert [cut["page"] for cut in classified.loc["twice.pdf", "proposed_cuts"]] == [2]
    (path,) = (tmp_path / "w/runs").glob("*/manifest.json")
    manifest = json.loads(path.read_bytes())
    assert (manifest["counts"]["read"], manifest["counts"]["unpacked"]) == (2, 1)
    assert manifest["versions"]["page_pairs"].startswith("page_pairs@")
    found = docyard(*arguments(inbox, bundles, tmp_path / "w"), "--dry-run")
    assert "1  more documents in PDFs of several; PDFs in doubt: 1" in found.output


def test_a_mail_is_done_again_with_all_that_lies_in_it_and_nothing_else_is_extracted(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED / "page_pairs", bundles / "page_pairs")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    tray = zip_of({"scan.pdf": text_pdf(f"{LETTERS[0]}\f{RECEIPT}")})
    (inbox / "tray.eml").write_bytes(mail(("tray.zip", tray)))
    (inbox / "tray.eml.zip").write_bytes(zip_of({"a.txt": LETTERS[1].encode()}))
    command = arguments(inbox, bundles, tmp_path / "w")
    assert docyard(*command).exit_code == 0
    real = Extractor.extract

    def extract(self: Extractor, content: bytes, name: str) -> Extraction:
        assert name == "tray.eml"
        return real(self, content, name)

    monkeypatch.setattr(Extractor, "extract", extract)
    scan = "tray.eml!0001/tray.zip/0001/scan.pdf"
    parts = {f"{scan}/pages-0001-0001": "ticket", f"{scan}/pages-0002-0002": "unknown"}
    for only, lies_in_it in (("tray.eml", {"tray.eml", *parts}), (scan, {*parts})):
        found = json.loads(docyard(*command, "--only", only, "--dry-run", "--json").stdout)["redo"]
        partitions = {document["document_id"]: document["partition"] for document in found["documents"]}
        assert partitions.keys() == lies_in_it
        assert all(partitions[part].endswith(f"={kind}") for part, kind in parts.items())
        assert (found["gone"], found["not_found"], found["kept_rows"]) == ([], [], 4 - len(lies_in_it))
    before = [pd.read_parquet(tmp_path / "w" / name) for name in ("classifications", "rejections")]
    assert docyard(*command, "--only", "tray.eml").exit_code == 0
    for table, name in zip(before, ("classifications", "rejections"), strict=True):
        after = pd.read_parquet(tmp_path / "w" / name)
        pd.testing.assert_frame_equal(*(each.set_index("document_id").sort_index() for each in (after, table)))


def test_shards_of_any_size_give_the_same_documents(inbox: Path, bundles: Path, tmp_path: Path) -> None:
    found = []
    for rows in (1, 1000):
        config = tmp_path / f"{rows}.toml"
        config.write_text(f"[reading]\nshard_rows = {rows}\n")
        result = docyard(*arguments(inbox, bundles, tmp_path / f"w{rows}"), "--config", config)
        assert result.exit_code == 0, result.output
        tables = [pd.read_parquet(tmp_path / f"w{rows}" / name) for name in ("classifications", "rejections")]
        found.append([table.sort_values("document_id").reset_index(drop=True) for table in tables])
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_the_same_run_again_replaces_every_kind_with_the_same_bytes(inbox: Path, bundles: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert docyard(*arguments(inbox, bundles, tmp_path / "w")).exit_code == 0
        assert docyard(*arguments(inbox, bundles, tmp_path / "fresh")).exit_code == 0
        assert published_hashes(tmp_path / "w") == published_hashes(tmp_path / "fresh")
        shutil.rmtree(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--document-type", "auto"), "bundles: the folder of the bundles goes with document_type 'auto'"),
        (("--document-type", "ticket", "--bundles", "x"), "goes with document_type 'auto'"),
        (("--document-type", "auto", "--bundles", "x", "--bundle", "y"), "takes `bundles`, a folder of them"),
    ],
)
def test_a_folder_of_bundles_goes_with_auto_only(
    inbox: Path, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    place = ("--warehouse", tmp_path / "w", "--run-date", "2026-01-31")
    result = docyard("classify", "--input", inbox, *options, *place)
    assert (result.exit_code, says in result.output) == (2, True), result.output


def test_two_bundles_of_one_kind_and_none_at_all_are_refused(inbox: Path, bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles / "tiny", bundles / "tiny2")
    result = docyard(*arguments(inbox, bundles, tmp_path / "w"))
    assert (result.exit_code, "tiny and tiny2 are both for documents of type 'ticket'" in result.output) == (4, True)
    shutil.rmtree(bundles / "tiny")
    shutil.rmtree(bundles / "tiny2")
    result = docyard(*arguments(inbox, bundles, tmp_path / "w"))
    assert (result.exit_code, "found none of them" in result.output) == (4, True), result.output
