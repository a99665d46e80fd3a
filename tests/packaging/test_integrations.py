"""The distributions beside the product: they know its exit codes, and import nothing of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from schemas.errors import ERRORS, INTERRUPTED

ROOT = Path(__file__).parents[2]
AIRFLOW = sorted((ROOT / "integrations/airflow/docyard_airflow").glob("*.py"))
DAGSTER = [ROOT / "integrations/dagster/docyard_dagster.py"]
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")}


@pytest.mark.parametrize("path", [*AIRFLOW, *DAGSTER], ids=lambda path: path.name)
def test_an_integration_imports_nothing_of_docyard(path: Path) -> None:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
    assert modules
    assert not modules & OURS


@pytest.mark.parametrize("paths", [AIRFLOW, DAGSTER], ids=["airflow", "dagster"])
def test_an_integration_retries_what_may_pass(paths: list[Path]) -> None:
    [codes] = [
        {number.value for number in ast.walk(node.value) if isinstance(number, ast.Constant)}
        for path in paths
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MAY_PASS"
    ]
    assert codes == {error.exit_code for error in ERRORS if error.may_pass} | {INTERRUPTED}
