"""Drains whose workers are killed at random moments, against an endpoint that misbehaves; and the books afterwards.

By hand, at any size: python -m tests.support.drain_kills --items 20000 --kill-seconds 3 [--postgresql]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from escalation.database import open_database, reading
from escalation.events import verify_chain
from escalation.llm.backends import backend_name
from escalation.tables import calls, egress, events, items, spend
from schemas.drain_config import load_drain_config
from tests.support.forked import Forked, start_docyard
from tests.support.queue_databases import new_database, new_sqlite, opened, postgresql_server
from tests.support.scripted_llm import PROMPT_TOKENS_PER_BYTE, Request, ScriptedLlm, scripted_llm
from tests.support.small_drains import put_items, qualify
from tests.support.warehouses import open_folder

# What the endpoint does, and how often.
_MISBEHAVIOUR = {
    "answer": 60,
    "rate_limited": 8,
    "500": 8,
    "hang_up": 3,
    "timeout": 2,
    "cut": 5,
    "invalid_json": 5,
    "no_such_letter": 5,
    "chatty": 4,
}
_ENDED = ("settled", "in_review", "dead")
CONFIG = """
warehouse = "{warehouse}"
[queue]
database = "{database}"
lease_seconds = {lease}
retry_seconds = 0.02
max_retry_seconds = 1.0
max_losses = 50
[llm]
base_url = "{url}"
model = "test-model"
timeout_seconds = 1.0
breaker_failures = 30
breaker_seconds = 0.1
[budget]
max_spend = {cap}
[[budget.prices]]
model = "test-model"
as_of = "2026-11-22"
input_per_million = 1000.0
output_per_million = 4000.0
"""


@dataclass(frozen=True)
class Siege:
    """The result of one run of it.

    Attributes:
        codes: code -> items.
        words: what the endpoint did -> how often.
        kills: workers that were killed.
        lost: calls that were under way at a kill.
        spent: in the currency.
    """

    codes: dict[str, int]
    words: dict[str, int]
    kills: int
    lost: int
    spent: float
    seconds: float


def besiege(
    url: str, folder: Path, n_items: int, *, processes: int, kills: int, kill_seconds: float, cap: float, seed: int
) -> Siege:
    """Drains `n_items` with `processes` workers, kills one every `kill_seconds`, and checks the books."""
    rng = random.Random(seed)
    words, weights = list(_MISBEHAVIOUR), list(_MISBEHAVIOUR.values())
    script = ScriptedLlm(behaviour=lambda request: rng.choices(words, weights)[0], stall_seconds=1.2, seconds=0.03)
    open_folder(str(folder / "warehouse"))
    started = time.monotonic()
    with scripted_llm(script) as llm:
        config = folder / "drain.toml"
        text = CONFIG.format(warehouse=folder / "warehouse", database=url, url=llm.url, cap=cap, lease=2.5)
        config.write_text(text, encoding="utf-8")
        with opened(url) as engine:
            put_items(engine, n_items)
            # Half of the candidates of an answer reach the confidence that settles.
            qualify(engine, backend_name(load_drain_config(config, {}).llm), min_confidence=0.6)
        killed = _drain_and_kill(config, processes, kills, kill_seconds, rng)
        seconds = time.monotonic() - started
        return check_books(url, llm.log, n_items, cap, killed, seconds)


def _drain_and_kill(config: Path, processes: int, kills: int, kill_seconds: float, rng: random.Random) -> int:
    running = [_start(config) for _ in range(processes)]
    killed = 0
    next_kill = time.monotonic() + kill_seconds
    while running:
        time.sleep(0.01)
        for process in list(running):
            if process.poll() is not None:
                assert process.returncode == 0, _output(config).read_text(encoding="utf-8")
                running.remove(process)
        if running and killed < kills and time.monotonic() > next_kill:
            victim = rng.choice(running)
            victim.kill()
            running.remove(victim)
            running.append(_start(config))
            killed += 1
            next_kill = time.monotonic() + kill_seconds * rng.uniform(0.5, 1.5)
    return killed


def _start(config: Path) -> Forked:
    return start_docyard("queue", "drain", "--config", config, "--workers", 4, "--json", output=_output(config))


def _output(config: Path) -> Path:
    return config.with_suffix(".log")


def check_books(
    url: str, log: list[tuple[str, Request]], n_items: int, cap: float, kills: int, seconds: float
) -> Siege:
    """Everything that must hold afterwards, whatever happened."""
    engine = open_database(url)
    with reading(engine) as connection:
        found = connection.execute(sa.select(items.c.state, items.c.code, sa.func.count()).group_by("state", "code"))
        states, codes = Counter[str](), Counter[str]()
        for state, code, count in found:
            states[state] += count
            codes[code] += count
        made = connection.execute(sa.select(calls)).mappings().all()
        logged = set(connection.scalars(sa.select(egress.c.body_sha256)))
        ledger = connection.scalar(sa.select(sa.func.sum(spend.c.nanos))) or 0
        actions = Counter(connection.scalars(sa.select(events.c.action)))
        unbooked = connection.scalar(
            sa.select(sa.func.count()).select_from(items.outerjoin(events, events.c.item_key == items.c.item_key))
            .where(events.c.seq.is_(None))
        )  # fmt: skip
        assert verify_chain(connection) is None
    engine.dispose()

    # No item is lost, none is still on its way, each has a reason, and the trail knows of all of them.
    assert set(states) <= set(_ENDED), states
    assert sum(states.values()) == n_items
    assert unbooked == 0
    ended = actions["item_settled"] + actions["item_to_review"] + actions["item_dead"]
    assert ended == n_items

    # No prompt that was answered is paid for twice, but for calls under way at a kill, or not waited for.
    served = Counter(request.prompt_hash for word, request in log if word == "answer")
    excused = Counter(call["prompt_hash"] for call in made if call["status"] == "lost" or call["error"] == "timeout")
    answered = Counter(call["prompt_hash"] for call in made if call["status"] == "answered")
    assert set(answered.values()) <= {1}
    for prompt, count in served.items():
        assert count <= answered[prompt] + excused[prompt], prompt
    lost = sum(call["status"] == "lost" for call in made)
    assert lost <= kills * 4  # four calls at once in each process

    # Nothing left without being written down before, and the money adds up below the cap.
    assert {request.prompt_hash for _, request in log} <= logged
    billed = sum(
        1_000_000 * (int(len(request.body) * PROMPT_TOKENS_PER_BYTE) + 4)
        for word, request in log
        if word in ("answer", "timeout", "cut", "invalid_json", "no_such_letter", "chatty")
    )
    assert sum(call["cost_nanos"] for call in made) == ledger
    assert billed <= ledger <= cap * 1e9
    assert not [call for call in made if call["status"] == "reserved"]
    words = Counter(word for word, _ in log)
    return Siege(dict(codes), dict(words), kills, lost, float(ledger) / 1e9, seconds)


def main() -> None:
    """Runs one siege and prints what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kills", type=int, default=1_000_000)
    parser.add_argument("--kill-seconds", type=float, default=3.0)
    parser.add_argument("--cap", type=float, default=1e6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true")
    given = parser.parse_args()
    settings = {name: getattr(given, name) for name in ("processes", "kills", "kill_seconds", "cap", "seed")}
    with tempfile.TemporaryDirectory() as folder:
        if given.postgresql:
            with postgresql_server() as server:
                siege = besiege(new_database(server), Path(folder), given.items, **settings)
        else:
            siege = besiege(new_sqlite(Path(folder)), Path(folder), given.items, **settings)
    print(json.dumps(siege.__dict__, indent=1))


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    os.environ["PYTHONWARNINGS"] = "error"
    main()
