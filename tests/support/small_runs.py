"""Small real runs for the tests: documents the tiny bundle knows, and the walk step by step or as a command."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from click.testing import CliRunner, Result

from pipelines.classify import prepare
from pipelines.cli import main
from schemas.run_config import ClassificationConfig, InputConfig, QualityConfig, ReadingConfig, RunConfig
from schemas.tables import PUBLISHED_TABLES
from tests.support.warehouses import open_folder
from transforms.beam_steps import SHARD_STEPS
from transforms.run_plan import RunPlan
from transforms.stage_shard import Receipt
from warehouse.folder import FolderWarehouse
from warehouse.layout import SUCCESS_FILE

RUN_DATE = "2026-01-31"
SECRET = "swordfish"  # stands in some texts; must never be quoted

_SENTENCES = (
    "please refund my card payment twice",
    "where is my parcel courier late address",
    f"the app crash error screen {SECRET}",
    "i cannot login password reset",
    f"xyzzy {SECRET} the",
    "refund the parcel password crash",
)


def documents(n: int, prefix: str = "d") -> list[dict[str, Any]]:
    """Documents with ids prefix0, prefix1, …: most are accepted, some escalated, every tenth has no text."""
    return [
        {"id": f"{prefix}{i}", "text": "" if i % 10 == 9 else f"{_SENTENCES[i % len(_SENTENCES)]} {'and ' * (i % 5)}"}
        for i in range(n)
    ]


def write_jsonl(path: Path, records: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def config_of(
    inputs: Path | tuple[InputConfig, ...],
    bundle: Path,
    warehouse: Path,
    *,
    run_date: str = RUN_DATE,
    reading: ReadingConfig | None = None,
    classification: ClassificationConfig | None = None,
    quality: QualityConfig | None = None,
) -> RunConfig:
    """A run over tickets at one path, or over the given inputs."""
    if isinstance(inputs, Path):
        inputs = (InputConfig((str(inputs),), "ticket", str(bundle)),)
    return RunConfig(
        run_date,
        str(warehouse),
        inputs,
        reading or ReadingConfig(),
        classification or ClassificationConfig(threads=1),
        quality or QualityConfig(),
    )


def stage_run(config: RunConfig) -> tuple[RunPlan, list[Receipt]]:
    """Plans a run and does everything up to its commit, as workers would; holds no lock."""
    plan, shards = prepare(config)
    warehouse = open_folder(config.warehouse)
    warehouse.staged_files(plan.run_id).mkdir(parents=True)
    elements: list[Any] = [*shards]
    for step in SHARD_STEPS.values():
        elements = [result for element in elements for result in step(element, plan)]
    return plan, elements


def docyard(*arguments: object) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def classify_arguments(source: Path, bundle: Path, warehouse: Path | str, run_date: str = RUN_DATE) -> list[str]:
    return [
        *("classify", "--input", str(source), "--document-type", "ticket", "--bundle", str(bundle)),
        *("--warehouse", str(warehouse), "--run-date", run_date),
    ]


def read_published(warehouse: Path, table: str, run_date: str = RUN_DATE) -> pd.DataFrame:
    """One run date of a table, as someone reads it who knows nothing of Docyard."""
    return pd.read_parquet(warehouse / table / f"run_date={run_date}")


def published_hashes(warehouse: Path) -> dict[str, str]:
    """Every data file in the tables' folders by its path in the warehouse, and the sha256 of its bytes."""
    return {
        path.relative_to(warehouse).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for kind in PUBLISHED_TABLES
        for path in sorted((warehouse / kind.name).rglob("*"))
        if path.is_file() and path.name != SUCCESS_FILE
    }


def listed(folder: Path) -> list[str]:
    """Every path below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def opened(folder: Path) -> FolderWarehouse:
    return open_folder(str(folder))


def check_refused(result: Result | subprocess.CompletedProcess[str], exit_code: int, *says: str) -> None:
    """One line on stderr and none on stdout, no traceback, no text of a document."""
    found = result.exit_code if isinstance(result, Result) else result.returncode
    assert found == exit_code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in lines[0]
    assert SECRET not in lines[0]
    for words in says:
        assert words in lines[0]


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
