"""docs/training.md is checked against the code of the training, which is read, not imported: it needs torch."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from models.training import config

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "models/training"
DOCUMENT = (ROOT / "docs/training.md").read_text(encoding="utf-8")
UNKNOWN = object()

TABLES: dict[str, Any] = {
    "Top level": config.TrainingConfig,
    "`[data]`": config.DataConfig,
    "`[card]`": config.Card,
    "`[hygiene]`": config.Hygiene,
    "`[fine_tuning]`": config.FineTuning,
    "`[lora]`": config.Lora,
    "`[distillation]`": config.Distillation,
    "`[pruning]`": config.Pruning,
    "`[export]`": config.Export,
    "`[parity]`": config.ParityLimits,
    "`[policy]`": config.PolicyChoice,
    "`[first_tier]`": config.FirstTierTraining,
    "`[reading]`": config.Reading,
}


def section(heading: str) -> str:
    after = DOCUMENT.split(f"# {heading}\n", 1)[1]
    return re.split(r"^#", after, maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading: str) -> dict[str, str]:
    """Key → its default as written; a row may name several keys."""
    found = {}
    for line in section(heading).splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[1])
    return found


def fields(kind: Any) -> dict[str, Any]:
    """Field of a dataclass → its default; UNKNOWN where that is a table of its own, "required" where there is none."""
    defaults = {}
    for item in dataclasses.fields(kind):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        is_table = dataclasses.is_dataclass(item.default) or item.name == "data"
        defaults[item.name] = UNKNOWN if is_table else "required" if required else item.default
    return defaults


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_of_a_training_is_documented_with_its_default_and_no_other_is(heading: str) -> None:
    written, expected = rows(heading), fields(TABLES[heading])
    assert set(written) == set(expected)
    for key, default in expected.items():
        if default == "required":
            assert written[key] == "required", key
        elif default is None:
            assert written[key] == "none", key
        elif default is not UNKNOWN:
            value = tomllib.loads(f"value = {written[key].strip('`')}")["value"]
            assert value == (list(default) if isinstance(default, tuple) else default), key


def test_every_table_of_a_training_has_a_section() -> None:
    tables = {key for key, default in fields(config.TrainingConfig).items() if default is UNKNOWN}
    assert {f"`[{key}]`" for key in tables} <= set(TABLES)


def test_every_key_of_the_report_on_the_data_is_explained() -> None:
    tree = ast.parse((TRAINING / "hygiene.py").read_text(encoding="utf-8"))
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "inspect_data"]
    (report,) = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "report"
    ]
    assert isinstance(report, ast.Dict)
    keys = {key.value for key in report.keys if isinstance(key, ast.Constant)} | {"refused"}
    assert keys == set(rows("The report on the data"))


def test_the_configurations_that_come_along_use_documented_keys() -> None:
    paths = sorted((TRAINING / "configs").glob("*.toml"))
    assert paths
    blocks = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    for content in [*blocks, *(path.read_text(encoding="utf-8") for path in paths)]:
        values = tomllib.loads(content)
        assert set(values) <= set(rows("Top level"))
        for name, table in values.items():
            if isinstance(table, dict):
                assert set(table) <= set(rows(f"`[{name}]`")), name
