"""The bundle of page pairs: its answers, the signs it weighs, and what is refused when it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.page_pairs import MANIFEST_NAME, POLICY_NAME, PagePairModel, load_page_pairs, measure_pages
from models.page_signs import PageText, measure_signs, sign_names
from schemas.errors import BundleError

SHIPPED = Path(__file__).parents[2] / "models/bundles/page_pairs"
LETTER = "12 March 2026\nDear Mr Harding,\nThe choir will not meet in April.\nYours sincerely,\nA. Dale"
TILL = "SUNRISE DINER\nTable 4\n2 Pancakes 12.40\nSubtotal 12.40\nTax 1.00\nTotal 13.40\nCash 20.00\nThank you"
AGREEMENT = [
    "SERVICES AGREEMENT\nThis Agreement is made as of March 1, 2026, by and between Northwind Ltd. and the Contractor."
    "\n1. Services. The Contractor shall keep the premises clean and\nPage 1 of 2",
    "dry at all times.\n2. Fees. Northwind shall pay the fees monthly.\nBy: ____________\nPage 2 of 2",
]


@pytest.fixture(scope="module")
def shipped() -> PagePairModel:
    return load_page_pairs(SHIPPED)


def signs(left: str, right: str) -> dict[str, float]:
    return measure_signs([PageText(left)], [PageText(right)])


def test_documents_are_told_apart_and_pages_that_run_on_are_not(shipped: PagePairModel) -> None:
    cuts = shipped.find_cuts([LETTER, TILL, *AGREEMENT, LETTER])
    assert list(cuts.sure) == [1, 2, 4]
    assert cuts.doubtful == {}


def test_one_page_and_none_have_no_boundary(shipped: PagePairModel) -> None:
    for pages in ([], [LETTER], [""], ["", ""]):
        assert not shipped.chances(pages).any()
        assert shipped.find_cuts(pages).sure == {}


def test_a_blank_page_goes_with_the_page_before_it(shipped: PagePairModel) -> None:
    without, withal = shipped.chances([LETTER, TILL]), shipped.chances([LETTER, " \n", TILL])
    assert withal.tolist() == [0.0, *without.tolist()]


def test_an_answer_depends_on_the_pages_around_only(shipped: PagePairModel) -> None:
    pages = [*AGREEMENT, LETTER, TILL, *AGREEMENT]
    assert shipped.chances([TILL, LETTER, *pages])[-3:].tolist() == shipped.chances(pages)[-3:].tolist()


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("number of the same total follows", "a\nPage 2 of 5", "b\n3/5"),
        ("named number follows", "a\nPage 2", "b\nSeite 3"),
        ("left page is the last", "a\n5 of 5", "b"),
        ("right page is page 1", "a", "Page 1\nb"),
        ("sentence runs on", "The parties shall", "deliver the goods"),
        ("numbered clause follows", "4.2 The fee is due.", "4.3 Late fees bear interest."),
        ("numbering begins anew", "4.2 The fee is due.", "1. Definitions"),
        ("greeting", "a", "Dear Ann,\nb"),
        ("closing of a letter", "Yours sincerely,\nA. Dale", "b"),
        ("sum at the foot", "Total 13.40", "b"),
        ("title of a document", "a", "INVOICE\nb"),
        ("same head", "ACME Report 3\na", "ACME Report 4\nb"),
    ],
)
def test_a_sign_is_found_where_it_is_and_not_on_the_pages_the_other_way_round(name: str, left: str, right: str) -> None:
    assert signs(left, right)[name] == 1
    if name != "same head":
        assert signs(right, left)[name] == 0


def test_numbers_that_run_over_the_boundary_are_counted_on_both_sides() -> None:
    pages = [PageText(f"some text\n- {number} -") for number in range(7, 13)]
    assert measure_signs(pages[:3], pages[3:])["pages whose numbers run over the boundary"] == 6
    anew = [PageText(f"some text\n- {number} -") for number in (1, 2, 3)]
    assert measure_signs(pages[:3], anew)["pages behind it whose numbers begin with 1"] == 3


@pytest.mark.parametrize(
    "page", ["", "\0", "9" * 30_000, "a" * 30_000, "\n" * 30_000, "1. " * 10_000, "_" * 30_000, "٣"]
)
def test_any_page_has_signs(page: str) -> None:
    found = measure_pages([page or " ", "text", page])
    assert found.shape == (2, len(sign_names()))
    assert np.isfinite(found).all()


def test_the_shipped_bundle_holds_its_certificate(shipped: PagePairModel) -> None:
    proof = shipped.policy.certificate
    assert proof["wrong_cuts"]["at_most"] < 0.03
    assert proof["wrong_joins"]["at_most"] < 0.03
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 60_000


def test_another_bundle_a_changed_file_and_another_answer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a bundle of page pairs"):
        load_page_pairs(SHIPPED.parent / "kinds")
    changed = shutil.copytree(SHIPPED, tmp_path / "changed")
    (changed / POLICY_NAME).write_text("{}")
    with pytest.raises(BundleError, match=r"policy\.json"):
        load_page_pairs(changed)
    other = shutil.copytree(SHIPPED, tmp_path / "other")
    manifest = json.loads((other / MANIFEST_NAME).read_text())
    manifest["fingerprint"][0]["chances"][0] = 0.123
    (other / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="this machine answers fingerprint 0"):
        load_page_pairs(other)
