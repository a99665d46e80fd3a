"""Drains that are killed, at random or right before any commit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.llm.backends import backend_name
from pipelines.cli import main
from schemas.drain_config import load_drain_config
from tests.support.drain_kills import CONFIG, besiege, check_books
from tests.support.forked import Forked
from tests.support.queue_databases import new_sqlite, opened
from tests.support.scripted_llm import scripted_llm
from tests.support.small_drains import put_items, qualify
from tests.support.warehouses import open_folder

pytestmark = pytest.mark.kills

ITEMS = int(os.environ.get("DOCYARD_DRAIN_ITEMS", "200"))


def test_killed_drains_lose_nothing_pay_nothing_twice_and_keep_the_cap(queue_url: str, tmp_path: Path) -> None:
    # A call costs about 0.23, and about 0.93 is reserved for it; the cap lets some four in five items through.
    cap = ITEMS * 0.3
    settings = {"processes": 4, "kills": max(5, ITEMS // 100), "kill_seconds": 0.8}
    siege = besiege(queue_url, tmp_path, ITEMS, cap=cap, seed=11, **settings)
    assert siege.kills >= 3
    assert siege.codes["llm_vote"] > ITEMS / 3
    assert siege.codes["over_budget"] > 0


FEW_ITEMS = 4
DIED = 9


def _drain_until(commit: int, *arguments: str) -> None:
    """A drain that ends, as a kill would, right before the commit of this number."""
    left = commit

    @sa.event.listens_for(sa.Engine, "commit")
    def die(connection: sa.Connection) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(DIED)

    main(arguments)


def test_a_drain_may_die_before_any_commit_and_the_next_one_goes_on(tmp_path: Path) -> None:
    url = new_sqlite(tmp_path)
    open_folder(str(tmp_path / "warehouse"))
    config = tmp_path / "drain.toml"
    with scripted_llm() as llm:
        text = CONFIG.format(warehouse=tmp_path / "warehouse", database=url, url=llm.url, cap=1000, lease=0.4)
        config.write_text(text.replace("timeout_seconds = 1.0", "timeout_seconds = 0.2"), encoding="utf-8")
        with opened(url) as engine:
            put_items(engine, FEW_ITEMS)
            qualify(engine, backend_name(load_drain_config(config, {}).llm))
        deaths = 0
        for commit in range(1, 100):
            log = tmp_path / "log"
            drain = (commit, "queue", "drain", "--config", str(config), "--workers", "1")
            code = Forked(_drain_until, drain, output=log, error=log).wait()
            if code == 0:
                break
            assert code == DIED, log.read_text()
            deaths += 1
        siege = check_books(url, llm.log, FEW_ITEMS, 1000, deaths, 0.0)
    # Each item takes three commits: leased, asked about, answered.
    assert deaths >= 6
    assert siege.codes == {"llm_vote": FEW_ITEMS}
    assert siege.lost > 0
