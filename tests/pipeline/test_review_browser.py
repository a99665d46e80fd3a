from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM, DRIVER, browsers
from tests.support.review_walk import log_in, server, walk

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
CSS = (ROOT / "escalation/web/static/review.css").read_text(encoding="utf-8")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")

WITHOUT_NAME = """
return [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href], meter")]
  .filter((e) => !(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.getAttribute("aria-hidden")
                 && !e.innerText.trim())
  .map((e) => e.outerHTML)
"""


@needs_chromium
def test_people_log_in_claim_decide_disagree_adjudicate_override_and_propose_in_a_browser(tmp_path: Path) -> None:
    with server(tmp_path) as url, browsers(tmp_path) as another:
        assert walk(url, another, tmp_path) == []


@needs_chromium
def test_a_screen_reader_finds_names_landmarks_and_one_heading(tmp_path: Path) -> None:
    with server(tmp_path) as url, browsers(tmp_path) as another:
        browser = another()
        browser.open(f"{url}/log-in")
        assert browser.run(WITHOUT_NAME) == []
        log_in(browser, url, "anna")
        browser.press("n")
        browser.wait_for("Your decision")
        for path in (browser.url, f"{url}/", f"{url}/help"):
            browser.open(path)
            assert browser.run(WITHOUT_NAME) == []
            for selector in ("html[lang]", "main", "header", "header nav[aria-label]", "h1"):
                assert browser.run(f"return document.querySelectorAll('{selector}').length") == 1, (path, selector)
            names = browser.run("return [...document.querySelectorAll('nav')].map(nav => nav.ariaLabel)")
            assert len(set(names)) == len(names), path
        browser.open(f"{url}/")
        browser.press("\ue004")  # tab
        assert browser.run("return document.activeElement.className") == "skip"
        browser.press("j")
        assert browser.run("return document.activeElement.className") == "row"


@needs_chromium
def test_single_keys_can_be_switched_off(tmp_path: Path) -> None:
    with server(tmp_path) as url, browsers(tmp_path) as another:
        browser = another()
        log_in(browser, url, "anna")
        browser.press("?")
        browser.wait_for("Single keys are on")
        browser.click("#keys-switch")
        browser.wait_for("Single keys are off")
        browser.open(f"{url}/")
        browser.press("n")
        assert "/items/" not in browser.url


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        *(("ink", ground) for ground in ("ground", "sheet", "tint")),
        *(("soft", ground) for ground in ("ground", "sheet")),
        *(("mark", ground) for ground in ("ground", "sheet")),
        *(("on-mark", "mark"), ("good", "good-tint"), ("late", "late-tint")),
    ],
)
def test_words_stand_out_from_their_ground(scheme: int, ink: str, ground: str) -> None:
    """Source: WCAG 2.2, success criterion 1.4.3."""
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", CSS.split(":root {")[scheme + 1].split("}")[0]))
    lighter, darker = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
