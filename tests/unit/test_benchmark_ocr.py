from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

pytest.importorskip("cv2", reason="needs the ocr extra")
pytest.importorskip("rapidocr", reason="needs the ocr extra")

from PIL import Image

from benchmarks.__main__ import main
from tests.support.drawn_pages import RECEIPT, draw_page


def test_pictures_are_measured_against_their_true_text(tmp_path: Path, tiny_bundle_unchanged: Path) -> None:
    pictures, texts = tmp_path / "receipts/sroie_images", tmp_path / "receipts/sroie_docs"
    pictures.mkdir(parents=True)
    texts.mkdir()
    Image.fromarray(draw_page(RECEIPT)).save(pictures / "one.jpg")
    Image.fromarray(draw_page(["Coffee 2.50"])).save(pictures / "two.jpg")
    rows = pd.DataFrame(
        {"id": ["one", "two"], "text": ["\n".join(RECEIPT), "Coffee 2.50 and nine words that were not drawn"]}
    )
    rows["label"] = ["unknown", "unknown"]
    rows[:1].to_parquet(texts / "train.parquet")
    rows[1:].to_parquet(texts / "validation.parquet")
    command = [
        "ocr",
        "--data",
        tmp_path,
        "--bundle",
        tiny_bundle_unchanged,
        "--kind",
        "small",
        "--out",
        tmp_path / "out",
    ]
    ended = CliRunner().invoke(main, [str(part) for part in command], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "out/ocr.json").read_text())
    small = found["kinds"]["small"]
    assert found["pictures"] == 2
    assert found["true text"]["same label"] == 1
    assert 0.55 <= small["word recall"] <= 0.65  # all of the first, two of ten of the second
    assert small["word precision"] > 0.9
    assert small["cpu seconds"] > 0
    assert small["by least confidence"][0]["pictures"] == 2
    assert "| word recall |" in ended.output


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, ["ocr", "--data", str(tmp_path)])
    assert ended.exit_code == 1
    assert "sroie_docs/train.parquet: no such file; name the folder of the labelled data with --data" in ended.output
