from __future__ import annotations

import os
from pathlib import Path

from tests.support.drain_kills import besiege

ITEMS = int(os.environ.get("DOCYARD_DRAIN_ITEMS", "200"))


def test_killed_drains_lose_nothing_pay_nothing_twice_and_keep_the_cap(queue_url: str, tmp_path: Path) -> None:
    # A call costs about 0.23, and about 0.93 is reserved for it; the cap lets some four in five items through.
    cap = ITEMS * 0.3
    settings = {"processes": 4, "kills": max(5, ITEMS // 100), "kill_seconds": 0.8}
    siege = besiege(queue_url, tmp_path, ITEMS, cap=cap, seed=11, **settings)
    assert siege.kills >= 3
    assert siege.codes["llm_vote"] > ITEMS / 3
    assert siege.codes["over_budget"] > 0
