from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.category_walk import furnish, walk
from tests.support.chromium import CHROMIUM, DRIVER, browsers
from tests.support.review_walk import server

pytestmark = pytest.mark.browser


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
def test_two_people_adopt_a_category_in_a_browser_and_its_documents_come_back_with_it(tmp_path: Path) -> None:
    with server(tmp_path, furnish) as url, browsers(tmp_path) as another:
        assert walk(url, another, tmp_path) == []
