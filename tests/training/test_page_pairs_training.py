"""Making a bundle of page pairs: packets of documents, thresholds by the shares they may miss, the certificate."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from models.page_pairs import PagePairModel
from models.training.packets import Boundaries, PagedDocument, draw_boundaries, paginate, read_folder
from models.training.page_pairs import by_source, certificate, choose_policy, fit, whole_documents

WORDS = [
    "river",
    "mountain",
    "stone",
    "granite",
    "lamp",
    "harbour",
    "coal",
    "timber",
    "boats",
    "north",
    "lake",
    "paint",
    "century",
    "sea",
]


def story(number: int) -> PagedDocument:
    """Three pages with running numbers."""
    random = Random(number)
    pages = [" ".join(random.choices(WORDS, k=60)) + f"\nPage {page} of 3" for page in (1, 2, 3)]
    return PagedDocument("stories", str(number), tuple(pages))


def letter(number: int) -> PagedDocument:
    return PagedDocument("letters", str(number), (f"Dear Ann,\nI have {number} boats.\nYours sincerely,\nB. Dale",))


@pytest.fixture(scope="module")
def documents() -> list[PagedDocument]:
    return [make(number) for number in range(40) for make in (story, letter)]


@pytest.fixture(scope="module")
def boundaries(documents: list[PagedDocument]) -> Boundaries:
    return draw_boundaries(documents, 60, seed=1)


@pytest.fixture(scope="module")
def model(boundaries: Boundaries) -> PagePairModel:
    weights = fit(boundaries)
    return PagePairModel(weights, choose_policy(weights.chances(boundaries.signs), boundaries))


def test_pages_hold_all_lines_in_order() -> None:
    text = "\n".join(f"line {number} of the text" for number in range(300))
    for seed in range(20):
        lines = [line for page in paginate(text, Random(seed)) for line in page.split("\n")]
        assert [line for line in lines if line.startswith("line")] == text.split("\n")


def test_boundaries_inside_a_document_and_between_two_are_told_apart(boundaries: Boundaries) -> None:
    between = np.char.find(boundaries.sources, "→") >= 0
    assert (boundaries.begins == between).all()
    assert 40 < between.sum() < len(between) - 40
    again = draw_boundaries([make(number) for number in range(40) for make in (story, letter)], 60, seed=1)
    assert (again.signs == boundaries.signs).all()


def test_the_model_learns_what_the_thresholds_promise(model: PagePairModel, boundaries: Boundaries) -> None:
    chances = model.weights.chances(boundaries.signs)
    assert (chances[~boundaries.begins] < model.policy.sure_cut).mean() > 0.99
    assert (chances[boundaries.begins] > model.policy.sure_join).mean() > 0.97
    for row in by_source(model, boundaries):
        assert row["right"] + row["doubtful"] + row["wrong"] == pytest.approx(1)
        assert row["right"] > 0.8


def test_a_certificate_counts_one_boundary_of_each_document(model: PagePairModel, boundaries: Boundaries) -> None:
    proof = certificate(model, boundaries)
    found = proof["wrong_cuts"]
    assert found["rows"] == len(set(boundaries.groups[~boundaries.begins])) < (~boundaries.begins).sum()
    assert found["count"] / found["rows"] < found["at_most"] < 0.2


def test_documents_by_themselves_stay_whole(model: PagePairModel, documents: list[PagedDocument]) -> None:
    [row] = whole_documents(model, documents)
    assert (row["source"], row["rows"]) == ("stories", 40)
    assert row["whole"] > 0.9


def test_a_folder_gives_its_texts_and_no_damaged_pdf(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first page\fsecond page")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 cut off")
    (tmp_path / "c.png").write_bytes(b"picture")
    [document] = read_folder(tmp_path)
    assert (document.name, len(document.pages)) == ("a.txt", 2)
