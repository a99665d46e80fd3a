"""The documents of the fallback queue, against the code they describe."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from escalation.tables import metadata
from schemas.drain_config import (
    BudgetConfig,
    DrainConfig,
    LabelConfig,
    LlmConfig,
    MaskingConfig,
    PriceConfig,
    PriorityConfig,
    QueueConfig,
    load_drain_config,
)
from tests.docs.test_docs import CONFIGURATION, ROOT, check_keys, fenced, names_of, table_rows

FALLBACK = (ROOT / "docs/queue.md").read_text(encoding="utf-8")
TABLES = {
    "Top level of a drain": DrainConfig,
    "`[queue]`": QueueConfig,
    "`[llm]`": LlmConfig,
    "`[[llm.labels]]`": LabelConfig,
    "`[budget]`": BudgetConfig,
    "`[[budget.prices]]`": PriceConfig,
    "`[masking]`": MaskingConfig,
    "`[[priorities]]`": PriorityConfig,
}


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_of_a_drain_is_documented_with_its_default_and_no_other_is(heading: str) -> None:
    check_keys(heading, TABLES[heading])


def test_the_complete_file_of_a_drain_holds_every_key_with_its_default(tmp_path: Path) -> None:
    _, code, _ = fenced(CONFIGURATION, "toml")
    path = tmp_path / "drain.toml"
    # A cap needs a price of the model that is asked, and the example asks the embedded one, which is free.
    path.write_text(code, encoding="utf-8")
    written = tomllib.loads(code)
    config = load_drain_config(path, {})
    assert set(written) == names_of(DrainConfig)
    assert set(written["priorities"][0]) == names_of(PriorityConfig)
    assert set(written["budget"]["prices"][0]) == names_of(PriceConfig)
    assert (config.queue, config.llm, config.masking) == (QueueConfig(), LlmConfig(), MaskingConfig())
    for name in ("queue", "llm", "masking", "budget"):
        assert set(written[name]) == names_of(type(getattr(config, name))), name


def test_every_table_of_the_queue_and_every_column_is_named() -> None:
    rows = table_rows(FALLBACK)
    for table in metadata.tables.values():
        assert rows[table.name][2] == ", ".join(f"`{column.name}`" for column in table.columns)
