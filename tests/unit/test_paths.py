from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.training.config import DataConfig
from schemas.configuration import read_values
from schemas.drain_config import DrainConfig
from schemas.errors import ConfigError
from schemas.review_config import ReviewConfig
from schemas.run_config import RunConfig, load_config
from schemas.system import expand_database, expand_path
from tests.support.small_runs import docyard


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_path_below_a_home_folder_is_written_out(home: Path) -> None:
    assert expand_path("~/w", "warehouse") == str(home / "w")
    assert expand_path("~", "warehouse") == str(home)
    assert expand_path("~/in/*.jsonl", "input") == str(home / "in/*.jsonl")
    assert expand_path("~root/w", "warehouse").endswith("/w")
    assert expand_database("sqlite:///~/q.sqlite?timeout=5", "database") == f"sqlite:///{home}/q.sqlite?timeout=5"


@pytest.mark.parametrize("path", ["w", "./~/w", "a~b", "/data/w", "s3://bucket/~/w", "price$5.csv", "a$b/c", ""])
def test_any_other_path_stays_as_it_is(home: Path, path: str) -> None:
    assert expand_path(path, "warehouse") == path


@pytest.mark.parametrize("path", ["$HOME/w", "${HOME}/w", "/data/$USER/w", "/data/x-${DAY}.jsonl", "$W"])
def test_a_variable_is_refused_because_nothing_fills_it_in(home: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"^warehouse: variables such as .* are not filled in"):
        expand_path(path, "warehouse")
    with pytest.raises(ConfigError, match=r"^queue.database: variables"):
        expand_database(f"sqlite:///{path}", "queue.database")


def test_a_folder_that_is_really_called_so_is_taken(home: Path) -> None:
    Path("$W").mkdir()
    assert expand_path("$W", "warehouse") == "$W"


def test_a_home_folder_that_nobody_has_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="no home folder is known for '~nobody_at_all'"):
        expand_path("~nobody_at_all/w", "warehouse")


_INPUT = {"paths": ["~/a", "b"], "document_type": "ticket", "bundle": "~/bundle"}


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        (
            RunConfig,
            {"run_date": "2026-01-31", "warehouse": "~/w", "inputs": [_INPUT]},
            lambda made: (made.warehouse, *made.inputs[0].paths, made.inputs[0].bundle),
        ),
        (
            DrainConfig,
            {"warehouse": "~/w", "queue": {"database": "sqlite:///~/q"}},
            lambda made: (made.warehouse, made.queue.database),
        ),
        (
            ReviewConfig,
            {"warehouse": "~/w", "database": "sqlite:///~/q", "bundles": ["~/b"]},
            lambda made: (made.warehouse, made.database, *made.bundles),
        ),
        (
            DataConfig,
            {"train": ["~/t"], "validation": ["~/v"], "votes": ["~/votes"], "reviewed": ["~/r"]},
            lambda made: (*made.train, *made.validation, *made.votes, *made.reviewed),
        ),
    ],
)
def test_every_path_of_every_configuration_file_knows_the_home_folder(
    home: Path, kind: type, values: dict[str, Any], found: Any
) -> None:
    made = read_values(kind, values)
    for path in found(made):
        assert "~" not in path
        assert path == "b" or str(home) in path


def test_a_refusal_names_the_key(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('run_date = "2026-01-31"\nwarehouse = "$HOME/w"\ninputs = []\n')
    with pytest.raises(ConfigError, match=r"^warehouse: variables such as .HOME"):
        load_config(file, {})


def test_a_flag_knows_the_home_folder_where_the_shell_leaves_it_alone(home: Path) -> None:
    assert docyard("runs", "--warehouse=~/none").stderr.startswith(f"error: {home}/none: no warehouse here")
    assert docyard("queue", "drain", "--warehouse=~/none").stderr.startswith(f"error: {home}/none: no warehouse here")
    refused = docyard("audit", "verify", "--database=sqlite:///~/none.sqlite")
    assert f"sqlite:///{home}/none.sqlite: there is no queue" in refused.stderr
    assert docyard("sample", "~/samples", "--documents=200", "--kind=ticket").exit_code == 0
    assert (home / "samples/run.toml").is_file()
    assert docyard("runs", "--warehouse=$HOME/w").exit_code == 2
    assert not Path("~").exists()
