from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.reporting.figures import run_figures, trend_figures
from pipelines.reporting.pages import run_page, trends_page
from pipelines.reporting.pictures import flow, line
from schemas.codes import RunStatus
from schemas.tables import RUN_STEPS
from tests.support.chromium import CHROMIUM, DRIVER, browsers
from warehouse.manifest import COUNTS, Manifest


def run_of(run_date: str, number: int = 0, **counts: Any) -> Manifest:
    """A published run over tickets; the later of a date has the larger number."""
    own: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    own |= {"read": 10, "classified": 8, "accepted": 6, "escalated": 2, "rejected": 2, "reasons": {"empty_text": 2}}
    own |= {"route_reasons": {"certain": 6, "unfamiliar": 2}, "labels": {"billing": 6}, "skipped": {}}
    own |= {"confidences": {"accepted": {"0.95": 6}, "escalated": {"0.30": 2}}, **counts}
    return Manifest(
        run_id=f"{run_date}-{number}",
        run_date=run_date,
        status=RunStatus.PUBLISHED,
        started_at=f"{run_date}T0{number}:00:00+00:00",
        finished_at=f"{run_date}T0{number}:01:00+00:00",
        document_types=("ticket",),
        bundles={"ticket": {"reference": "tickets@1", "digest": "1"}},
        counts=own | {"by_document_type": {"ticket": own}},
        seconds=dict.fromkeys(RUN_STEPS, 1.0) | {"wall": 2.0},
    )


def test_a_run_is_compared_with_what_holds_of_the_same_weekday_and_with_the_last_seven_dates() -> None:
    replaced = run_of("2026-11-15", 1, labels={"billing": 3, "gone": 3})
    week_before = run_of("2026-11-15", 2, labels={"billing": 3, "delivery": 3})
    older = run_of("2026-11-08", labels={"account": 6})
    between = [run_of(f"2026-11-{day}") for day in range(16, 22)]
    now = run_of("2026-11-22", labels={"billing": 4, "delivery": 2})
    later = run_of("2026-11-23", labels={"account": 6})
    found = run_figures(now, None, [older, replaced, week_before, *between, now, later])
    assert found["compared_dates"] == 7
    rows = {row.pop("name"): row for row in found["labels"]["ticket"]}
    assert rows == {
        "billing": {"count": 4, "share": 4 / 6, "week_share": 0.5, "mean_share": pytest.approx(39 / 42)},
        "delivery": {"count": 2, "share": 2 / 6, "week_share": 0.5, "mean_share": pytest.approx(3 / 42)},
    }
    assert found["outcomes"][0] == {
        "name": "accepted", "count": 6, "share": 0.6, "week_share": 0.6, "mean_share": 0.6,
    }  # fmt: skip


def test_the_first_run_is_compared_with_nothing_and_a_label_that_is_gone_is_shown() -> None:
    first, second = run_of("2026-11-01", labels={"gone": 6}), run_of("2026-11-08")
    assert run_figures(first, None, [first])["labels"]["ticket"][0]["week_share"] is None
    gone = run_figures(second, None, [first, second])["labels"]["ticket"][-1]
    assert (gone["name"], gone["count"], gone["week_share"]) == ("gone", 0, 1.0)


def test_trends_take_the_newest_run_of_each_date_and_list_all_runs() -> None:
    failed = Manifest("x", "2026-11-02", RunStatus.FAILED, "2026-11-02T05:00:00", error={"message": "disk full"})
    before, first, again = run_of("2026-10-31"), run_of("2026-11-01", 1), run_of("2026-11-01", 2, labels={"a": 6})
    found = trend_figures([before, first, again, failed], "2026-11-01", {})
    assert [date["counts"]["labels"] for date in found["dates"]] == [{"a": 6}]
    assert [run["run_id"] for run in found["runs"]] == ["x", again.run_id, first.run_id]
    assert found["runs"][0]["error"] == "disk full"


def test_trends_add_up_what_the_llm_cost_for_all_runs_of_a_date() -> None:
    first, again, next_day = run_of("2026-11-01", 1), run_of("2026-11-01", 2), run_of("2026-11-02")
    cost = {"states": {"settled": 1}, "calls": 2, "unpriced_calls": 0, "cost": 1.25}
    costs = {first.run_id: cost, again.run_id: cost | {"unpriced_calls": 1, "cost": 0.5}}
    trends = trend_figures([first, again, next_day], "2026-11-01", costs)
    assert [date["cost"] for date in trends["dates"]] == [{"calls": 4, "unpriced_calls": 1, "cost": 1.75}, None]
    page = trends_page(trends)
    assert "<title>11-01: 1.75 cost</title>" in page
    assert "<td>4</td><td>1.75</td>" in page
    assert "<td>-</td><td>-</td>" in page
    assert "4 calls; 1 of them without a price" in page
    assert "LLM" not in trends_page(trend_figures([first, again, next_day], "2026-11-01", {}))


def test_every_row_of_the_flow_comes_in_and_goes_out() -> None:
    counts = run_of("2026-11-01").counts["by_document_type"]["ticket"]
    counts = counts | {"reasons": {f"reason_{place}": 1 for place in range(9)}, "read": 17, "rejected": 9}
    picture = flow(counts)
    at_right = [text for text in picture["texts"] if text["x"] > 200]
    assert sum(text["count"] for text in at_right) == 17
    assert at_right[-1]["name"] == "other reasons"
    assert all(one["y"] + 12 < two["y"] for one, two in itertools.pairwise(at_right))  # none overlaps


def test_a_line_shows_the_days_without_a_run_and_joins_no_points_more_than_a_week_apart() -> None:
    picture = line([0.5, 0.6, 0.7], ["11-05", "11-12", "11-26"], [5, 12, 26])
    first, second, third = (point["x"] for point in picture["points"])
    assert third - second == pytest.approx(2 * (second - first), abs=0.3)
    moves = [piece.count("L") for piece in picture["path"].split("M")[1:]]
    assert moves == [1, 0]


def test_the_page_of_a_run_says_of_which_rows_its_shares_are_and_shows_a_drift_in_enough_digits() -> None:
    figure = {"value": 0.21716, "limit": 0.21679, "drifted": True}
    drift = {"ticket": {"stale": True, "reasons": ["late"], "figures": {"label_psi": figure}}}
    before, now = run_of("2026-11-20"), replace(run_of("2026-11-22"), drift=drift)
    page = run_page(run_figures(now, None, [before, now]), "warehouse", None)
    assert "6 of 10 rows, 75.0% of the classified" in page
    assert "<td>0.2172</td><td>0.2168</td>" in page
    assert "Date before" in page
    assert "Last 1" not in page


@pytest.mark.browser
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
def test_pictures_show_their_axes_and_words_stay_whole_on_screens_of_any_width(tmp_path: Path) -> None:
    counts = {"read": 10**9, "classified": 9 * 10**8, "accepted": 9 * 10**8, "escalated": 0, "rejected": 10**8}
    run = run_of("2026-11-05", **counts, reasons={"control_characters_only": 10**8})
    pages = {"run": run_page(run_figures(run, None, [run]), "warehouse", None)}
    pages["trends"] = trends_page(trend_figures([run], "2026-11-01", {}))
    with browsers(tmp_path) as another:
        browser = another()
        for (name, page), width in itertools.product(pages.items(), (1280, 390)):
            (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
            browser.size(width, 900)
            browser.open((tmp_path / f"{name}.html").as_uri())
            assert browser.run(_CUT_TEXTS) == [], (name, width)
            assert browser.run("return document.documentElement.scrollWidth") <= width
            assert browser.run(_BROKEN_WORDS) == [], (name, width)


_CUT_TEXTS = """
return [...document.querySelectorAll("svg text")]
  .filter((text) => { const box = text.getBBox(), all = text.ownerSVGElement.viewBox.baseVal;
                      return box.x < 0 || box.x + box.width > all.width + 1 })
  .map((text) => text.textContent)
"""
_BROKEN_WORDS = """
return [...document.querySelectorAll("tbody th.text")].filter((cell) => !cell.querySelector("code")).flatMap((cell) => {
  const range = document.createRange(), text = cell.firstChild;
  return [...text.data.matchAll(/\\w+/g)].filter((word) => {
    range.setStart(text, word.index); range.setEnd(text, word.index + word[0].length);
    return range.getClientRects().length > 1 }).map((word) => word[0]) })
"""
