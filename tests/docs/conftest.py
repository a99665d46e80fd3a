"""The demo that the examples of the documents run on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from escalation.clock import now_micros
from escalation.database import reading
from escalation.review.upkeep import run_upkeep
from escalation.tables import reviews
from models.bundle_manifest import ReadingRules
from pipelines.cli import main
from schemas.review_config import ReviewConfig
from tests.support.made_up_certificate import write_certified_manifest
from tests.support.queue_databases import new_sqlite, opened
from tests.support.review_cases import ANNA, label, says

RUN_DATE = "2026-11-22"  # the date the examples ask for


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, tiny_bundle_unchanged: Path) -> Path:
    """A folder as `make demo` leaves it, of a dozen documents."""
    root = tmp_path_factory.mktemp("demo")
    texts = ["please refund my card payment", "where is my parcel", "refund the parcel password crash", "xyzzy", ""] * 3
    records = [{"id": f"t{i}", "text": text, "channel": "app"} for i, text in enumerate(texts)]
    source = root / "tickets.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    contract = "please refund my card payment twice\n\nwhere is my parcel courier late address"
    contracts = root / "contracts.jsonl"
    contracts.write_text(json.dumps({"id": "c1", "text": contract}) + "\n", encoding="utf-8")
    bundle = Path(shutil.copytree(tiny_bundle_unchanged, root / "contracts"))
    reading = ReadingRules(split="paragraphs")
    facts: dict[str, Any] = {"name": "contracts", "created": RUN_DATE, "document_type": "contract", "max_tokens": 32}
    write_certified_manifest(bundle, **facts, reading=reading)
    (root / "run.toml").write_text(
        f"run_date = {RUN_DATE}\nwarehouse = '{root / 'demo/warehouse'}'\n"
        f"[[inputs]]\npaths = ['{source}']\ndocument_type = 'ticket'\nbundle = '{tiny_bundle_unchanged}'\n"
        f"metadata_fields = ['channel']\n"
        f"[[inputs]]\npaths = ['{contracts}']\ndocument_type = 'contract'\nbundle = '{bundle}'\n",
        encoding="utf-8",
    )
    place = str(root / "demo/warehouse")
    for words in (["classify", "--config", str(root / "run.toml")], ["queue", "to-people", "--warehouse", place]):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
    _settle_one(Path(place))
    result = CliRunner().invoke(main, ["resolve", "--warehouse", place, "--sql", str(root / "demo/decisions.sql")])
    assert result.exit_code == 0, result.output
    return root


def _settle_one(warehouse: Path) -> None:
    with opened(new_sqlite(warehouse)) as queue:
        now = now_micros()
        run_upkeep(queue, ReviewConfig(), now)
        with reading(queue) as connection:
            key, suggestion = connection.execute(sa.select(reviews.c.item_key, reviews.c.suggestion)).first() or (
                "",
                "",
            )
        says(queue, ANNA, key, label(suggestion), now)
