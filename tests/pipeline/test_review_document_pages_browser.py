from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.support.chromium import CHROMIUM, DRIVER, browsers
from tests.support.pages_walk import furnish, walk
from tests.support.review_walk import server

pytestmark = pytest.mark.browser


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
def test_a_person_reads_the_pages_beside_the_text_by_keys_and_on_a_phone(tmp_path: Path) -> None:
    with server(tmp_path, functools.partial(furnish, tmp_path)) as url, browsers(tmp_path) as another:
        assert walk(url, another, tmp_path) == []
