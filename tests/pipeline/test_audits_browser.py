from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.audit_walk import audited_server, walk
from tests.support.chromium import CHROMIUM, DRIVER, browsers


@pytest.mark.browser
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")
def test_people_judge_blind_a_label_is_demoted_confirmed_by_two_and_its_rows_are_corrected(tmp_path: Path) -> None:
    with audited_server(tmp_path) as (url, warehouse), browsers(tmp_path) as another:
        assert walk(url, warehouse, another, tmp_path) == []
