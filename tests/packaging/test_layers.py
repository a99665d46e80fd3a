from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What each package may import of Docyard besides itself; two wings stand on one floor, and neither knows the other.
FLOOR = {"warehouse", "models", "data_quality", "extraction"}
MAY_IMPORT = {
    "schemas": set(),
    "warehouse": {"schemas"},
    "models": {"schemas"},
    "data_quality": {"schemas"},
    "extraction": {"schemas"},
    "transforms": {*FLOOR, "schemas"},
    "escalation": {*FLOOR, "schemas"},
    "pipelines": {"transforms", "escalation", *FLOOR, "schemas"},
}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
TRAINING = ROOT / "models/training"
FOR_TRAINING = {"torch", "transformers", "optimum", "onnx"}

# Anything that takes a noticeable part of a second to load.
HEAVY = {
    *("argon2", "apache_beam", "deltalake", "duckdb", "great_expectations", "httpx", "jinja2", "numpy", "obstore"),
    *("onnx", "onnxruntime", "openlineage", "opentelemetry", "optimum", "pandas", "phonenumbers"),
    *("prometheus_client", "psycopg", "pyarrow", "pydantic", "scipy", "sqlalchemy", "starlette", "tokenizers"),
    *("torch", "tqdm", "transformers", "uvicorn"),
}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imported(path: Path, *, on_loading: bool = False) -> frozenset[str]:
    """Full names of the modules a file imports, those inside functions included unless `on_loading`."""
    names = set()
    for node in _loaded(tree_of(path)) if on_loading else ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def _loaded(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is loaded: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _loaded(child)


def top_level(path: Path, *, on_loading: bool = False) -> set[str]:
    return {name.split(".")[0] for name in imported(path, on_loading=on_loading)}


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def users_of(library: str) -> list[Path]:
    users = [path for path in FILES if library in top_level(path)]
    assert users, library
    return users


def test_imports_point_only_downward_and_never_at_tests() -> None:
    for path in FILES:
        package = package_of(path)
        ours = top_level(path) & {*MAY_IMPORT, "tests"}
        assert ours <= {package, *MAY_IMPORT[package]}, path


def test_libraries_are_imported_only_where_they_belong() -> None:
    assert {package_of(path) for path in users_of("apache_beam")} == {"transforms", "pipelines"}
    assert {package_of(path) for path in users_of("great_expectations")} == {"data_quality"}
    for library in FOR_TRAINING:
        assert all(path.is_relative_to(TRAINING) for path in users_of(library)), library


# Contenders open sessions of their own: float graphs, as their own documentation advises.
CONTENDERS = {"benchmarks/contenders.py", "benchmarks/beam_contender.py"}


def test_sessions_are_opened_in_one_place_so_that_all_compute_alike() -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in [*FILES, *(ROOT / "benchmarks").glob("*.py")]
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in ("InferenceSession", "SessionOptions")
    }
    assert users == {"models/machine.py", "extraction/ocr/model_files.py", *CONTENDERS}


def test_whatever_imports_onnx_runtime_lies_where_its_reports_are_switched_off_first() -> None:
    homes = (ROOT / "models", ROOT / "extraction/ocr")
    for path in users_of("onnxruntime"):
        assert any(path.is_relative_to(home) for home in homes), path
    for home in homes:
        assert 'os.environ["ORT_DISABLE_TELEMETRY"] = "1"' in (home / "__init__.py").read_text(encoding="utf-8")
    assert "models" in top_level(ROOT / "benchmarks/__init__.py", on_loading=True)
    assert "models" in top_level(ROOT / "tests/conftest.py", on_loading=True)


def test_only_the_command_that_trains_imports_training_and_only_when_it_runs() -> None:
    for path in FILES:
        if not path.is_relative_to(TRAINING):
            names = imported(path, on_loading=path == ROOT / "pipelines/train.py")
            assert not any(name.startswith("models.training") for name in names), path


def test_nothing_heavy_is_loaded_with_the_command_line() -> None:
    waiting, seen = [ROOT / "pipelines/cli.py"], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        assert top_level(path, on_loading=True) & HEAVY == set(), path
        # A package is loaded before any module in it.
        names = imported(path, on_loading=True)
        names |= {name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)}
        waiting += [file for name in names if (file := file_of(name))]
    assert ROOT / "schemas/errors.py" in seen


def test_the_walk_over_imports_sees_what_a_function_hides(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import json\ntry:\n    import torch\nexcept ImportError:\n    pass\ndef f():\n    import numpy\n")
    assert imported(path, on_loading=True) == {"json", "torch"}
    assert imported(path) == {"json", "torch", "numpy"}
