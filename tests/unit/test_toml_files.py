"""TOML that people write on any machine: byte order marks, other encodings, and mistakes that say where they are."""

from __future__ import annotations

import dataclasses
import datetime
import os
from pathlib import Path

import pytest

from models.bundle import load_bundle
from models.policy import parse_policy
from schemas.configuration import read_toml
from schemas.drain_config import load_drain_config
from schemas.errors import ConfigError
from schemas.review_config import load_review_config
from schemas.run_config import load_config

MARK = b"\xef\xbb\xbf"
RUN = b"""run_date = 2026-01-31
warehouse = "w"
[[inputs]]
paths = ["a"]
document_type = "ticket"
bundle = "b"
""".replace(b"\n", b"\r\n")


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(MARK + RUN)
    assert load_config(tmp_path / "run.toml", {}).warehouse == "w"
    (tmp_path / "drain.toml").write_bytes(MARK + b"[queue]\r\nlease_seconds = 300.0\r\n")
    assert load_drain_config(tmp_path / "drain.toml", {}).queue.lease_seconds == 300.0
    (tmp_path / "review.toml").write_bytes(MARK + b"[server]\r\nport = 9000\r\n")
    assert load_review_config(tmp_path / "review.toml").server.port == 9000


def test_a_policy_may_have_a_byte_order_mark(tiny_bundle_unchanged: Path) -> None:
    content = (tiny_bundle_unchanged / "policy.toml").read_bytes()
    labels = load_bundle(tiny_bundle_unchanged).labels
    assert parse_policy(MARK + content, labels, "policy.toml") == parse_policy(content, labels, "policy.toml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (RUN.decode().encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (RUN.decode().encode("utf-16-le"), "it is UTF-16; save it as UTF-8"),
        (b'a = 1\nb = "caf\xe9"', "line 2 is not UTF-8; save the file as UTF-8"),
        (b"a = 1\nb =\n", "Invalid value (at line 2, column 4)"),
        (b"a = 1\na = 2", "Cannot overwrite a value (at line 2, column 6, the end of the file): a key is there twice"),
        (b"[x]\n[x]\n", "(at line 2, column 3): a table is there twice"),
        (b'warehouse = "C:\\data"', "single quotes"),
        (b"a = True", "(at line 1, column 5): write a string in quotes, and true or false in lower case"),
        (b'a = "x\n', "(at line 1, column 7): a quote is missing"),
    ],
)
def test_a_file_that_is_no_toml_says_where_and_what_to_do(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert str(caught.value).startswith(f"{path}: not a readable TOML file: ")
    assert says in str(caught.value)


def test_all_that_is_missing_is_said_at_once_and_a_mistyped_key_with_the_one_that_is_meant() -> None:
    with pytest.raises(ConfigError, match=r"^'run_date', 'warehouse', 'inputs' are missing; set every required key "):
        load_config(None, {})
    with pytest.raises(ConfigError, match=r"^'inputs\[0\]\.document_type' is missing; set every required key "):
        load_config(None, {"run_date": "2026-01-31", "warehouse": "w", "inputs": [{"paths": []}]})
    with pytest.raises(ConfigError, match=r"unknown key 'run-date'; is 'run_date' meant\? known keys here: run_date, "):
        load_config(None, {"run-date": "2026-01-31"})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"run_date = 2026-01-31T10:00:00", "run_date: expected str, found datetime"),
        (b"run_date = 10:00:00", "run_date: expected str, found time"),
        (b"[quality]\nmax_rejected_share = nan", "quality.max_rejected_share: expected a finite number, found nan"),
    ],
)
def test_a_time_and_what_is_no_number_are_refused_as_what_they_are(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "run.toml"
    content = RUN.replace(b"run_date = 2026-01-31", line) if line.startswith(b"run_date") else RUN + line
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_config(path, {})


def test_a_path_need_not_be_utf_8_and_may_be_one_of_pathlib() -> None:
    paths = [os.fsdecode(b"caf\xe9.csv"), Path("b.csv")]
    item = {"paths": paths, "document_type": "ticket", "bundle": Path("b")}
    config = load_config(None, {"run_date": datetime.date(2026, 1, 31), "warehouse": Path("w"), "inputs": [item]})
    assert config.inputs[0].paths == (paths[0], "b.csv")
    assert (config.run_date, config.warehouse, config.inputs[0].bundle) == ("2026-01-31", "w", "b")
    assert dataclasses.replace(config, inputs=config.inputs) == config
