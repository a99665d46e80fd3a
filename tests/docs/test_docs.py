"""The documents against the code: what is generated is up to date, and what is written by hand works."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest

from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation.measurement import evaluate
from models.policy import parse_policy
from pipelines.cli import main
from schemas.codes import Reason, RouteReason
from schemas.drain_config import LlmConfig, MaskingConfig, QueueConfig, load_drain_config
from schemas.review_config import ReviewConfig, load_review_config
from schemas.run_config import ClassificationConfig, QualityConfig, ReadingConfig, load_config
from transforms.beam_steps import SHARD_STEPS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models/bundles").rglob("*.md")])
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
README = TEXTS[ROOT / "README.md"]
CONFIGURATION, OPERATIONS, BUNDLES = (
    TEXTS[ROOT / f"docs/{name}.md"] for name in ("configuration", "operations", "bundles")
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def fenced(text: str, language: str) -> list[str]:
    return [code for kind, code in _FENCE.findall(text) if kind == language]


def commands(group: click.Group = main, before: str = "") -> dict[str, click.Command]:
    """Commands by name; those of a group as "audit verify"."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        own = {before + name: command}
        found |= commands(command, f"{before}{name} ") if isinstance(command, click.Group) else own
    return found


# What is generated


def test_every_generated_table_is_up_to_date() -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


# What is written by hand, about commands, configurations and codes


def test_every_command_and_group_is_in_the_readme() -> None:
    assert [name for name in main.commands if f"docyard {name}" not in README] == []


def test_every_command_line_in_the_documents_is_understood() -> None:
    known = commands()
    for path, text in TEXTS.items():
        for code in fenced(text, "sh"):
            for line in code.replace("\\\n", " ").splitlines():
                words = shlex.split(re.sub(r"\$(\w+)", r"/\1", line.split(" > ")[0]), comments=True)  # as a shell does
                name = next((" ".join(words[1:n]) for n in (3, 2) if " ".join(words[1:n]) in known), None)
                if words[:1] == ["docyard"] and name is not None:
                    try:
                        known[name].make_context(name, words[1 + len(name.split()) :])
                    except click.ClickException as error:
                        pytest.fail(f"{path}: {line}: {error.message}")


def test_the_readme_shows_the_command_others_script_against() -> None:
    lines = [" ".join(line.split()) for code in fenced(README, "sh") for line in code.replace("\\\n", "").splitlines()]
    assert (
        "docyard classify --input tickets/ --document-type ticket --bundle models/bundles/tickets "
        "--warehouse warehouse --run-date 2026-11-22 --id-field id --text-field text"
    ) in lines


def _defaults_of_a_run(path: Path) -> None:
    config = load_config(path, {})
    found = config.reading, config.classification, config.quality
    assert found == (ReadingConfig(), ClassificationConfig(), QualityConfig())


def _defaults_of_a_drain(path: Path) -> None:
    config = load_drain_config(path, {})
    assert (config.queue, config.llm, config.masking) == (QueueConfig(), LlmConfig(), MaskingConfig())


def _defaults_of_a_review(path: Path) -> None:
    assert load_review_config(path) == ReviewConfig()


def test_the_files_shown_in_the_configuration_load_and_show_the_defaults(tmp_path: Path) -> None:
    checks: list[Callable[[Path], None]] = [_defaults_of_a_run, _defaults_of_a_drain, _defaults_of_a_review]
    for code, check in zip(fenced(CONFIGURATION, "toml")[:3], checks, strict=True):
        path = tmp_path / f"{check.__name__}.toml"
        path.write_text(code, encoding="utf-8")
        check(path)


def test_the_configuration_in_the_readme_can_be_used(tmp_path: Path) -> None:
    (code,) = fenced(README, "toml")
    path = tmp_path / "nightly.toml"
    path.write_text(code, encoding="utf-8")
    assert len(load_config(path, {}).inputs) == 2


def test_the_policy_in_the_bundle_page_can_be_used() -> None:
    code, first_tier = fenced(BUNDLES, "toml")
    policy = parse_policy((code + first_tier).encode(), ["pay_bill", "greeting"], "bundles.md")
    assert policy.first_tier == {"strict": 0.9096}
    assert policy.label_min_confidence == {"pay_bill": 0.8}


def test_the_trainings_that_come_along_and_those_in_the_document_have_only_known_keys() -> None:
    tree = ast.parse((ROOT / "models/training/config.py").read_text(encoding="utf-8"))
    fields = {
        node.name: {item.target.id: ast.unparse(item.annotation) for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)}
        for node in tree.body if isinstance(node, ast.ClassDef)
    }  # fmt: skip
    files = sorted(path for path in (ROOT / "models/training/configs").glob("*.toml") if path.name != "sources.toml")
    assert files
    for content in [*fenced(TEXTS[ROOT / "docs/training.md"], "toml"), *(path.read_text() for path in files)]:
        for key, value in tomllib.loads(content).items():
            kind = fields["TrainingConfig"][key]
            assert not isinstance(value, dict) or kind not in fields or set(value) <= set(fields[kind]), key


def test_every_reason_is_explained_where_it_arises() -> None:
    assert [code for code in Reason if f"`{code}`" not in OPERATIONS] == []
    assert [code for code in RouteReason if f"`{code}`" not in BUNDLES] == []


def test_every_count_of_a_manifest_and_every_key_of_a_bundle_in_it_is_documented(demo: Path) -> None:
    (path,) = (demo / "demo/warehouse/runs").glob("*/manifest.json")
    values: dict[str, Any] = json.loads(path.read_bytes())
    keys = set(values) | set(values["counts"]) | set(values["seconds"]) | set(values["bundles"]["ticket"])
    assert {key for key in keys if f"`{key}`" not in OPERATIONS} == set()


def test_every_figure_of_an_evaluation_is_documented(tiny_bundle_unchanged: Path) -> None:
    result = evaluate(
        Classifier(load_bundle(tiny_bundle_unchanged)),
        ["parcel", "crash", "xyzzy"],
        ["delivery", "account", "oos"],
        right_labels=[[]] * 3,
        none_label="billing",
        positive_label="delivery",
        with_speed=True,
    )
    about = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    assert {key for key in keys_within(result) if f"`{key}`" not in about} == set()


def keys_within(value: Any) -> set[str]:
    """The keys of all objects, but for those whose keys are data: labels, reasons, levels."""
    if isinstance(value, list):
        return set().union(*map(keys_within, value))
    if not isinstance(value, dict):
        return set()
    data_keyed = ("route_reasons", "unknown_labels", "coverage_at_error")
    return set(value).union(*(keys_within(part) for key, part in value.items() if key not in data_keyed))


# Places


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        named = set(re.findall(r"`make (\w+)`", text)) | set(re.findall(r"^make (\w+)", text, re.MULTILINE))
        assert named <= targets, path


def test_the_first_screen_of_the_readme_holds_the_flow_and_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:45])
    assert "```text" in first_screen
    assert "\nmake demo" in first_screen
    assert "\nmake test" in first_screen


def test_every_step_of_the_job_is_drawn() -> None:
    for step in ["PlanShards", *SHARD_STEPS, "MergeReceipts", "CommitRun"]:
        assert step in README
        assert f"`{step}`" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_every_relative_link_leads_somewhere() -> None:
    for path, text in TEXTS.items():
        for link in _LINK.findall(_FENCE.sub("", text)):
            if "://" in link:
                continue
            place, _, anchor = link.partition("#")
            target = (path.parent / place).resolve() if place else path
            assert target.exists(), f"{path}: {link}"
            if anchor:
                headings = _HEADING.findall(_FENCE.sub("", target.read_text(encoding="utf-8")))
                assert anchor in {_slug(heading) for heading in headings}, f"{path}: {link}"


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_path_in_code_type_exists() -> None:
    folders = "schemas|models|data_quality|warehouse|transforms|escalation|pipelines|tests|docs|benchmarks"
    for path, text in TEXTS.items():
        for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", _FENCE.sub("", text)):
            assert "NAME" in name or (ROOT / name).exists(), f"{path}: {name}"


def test_every_picture_of_the_review_is_shown_and_small() -> None:
    pictures = sorted((ROOT / "docs/images").glob("review-*.png"))
    shown = "".join(TEXTS.values())
    assert [path.name for path in pictures if f"images/{path.name}" not in shown] == []
    assert all(path.stat().st_size < 150_000 for path in pictures)


def test_lines_of_prose_are_wrapped() -> None:
    for path, text in TEXTS.items():
        if not path.is_relative_to(ROOT / "models"):  # generated, and pinned by the bundle's hashes
            long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
            assert long == [], path


def test_every_decision_has_its_number_context_consequences_and_undoing() -> None:
    for path in (ROOT / "docs/decisions").glob("*.md"):
        parts = re.findall(r"^## (.*)$", TEXTS[path], re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "How to undo"], path
        assert TEXTS[path].startswith(f"# {int(path.name[:4])}. "), path


# Examples that run


def test_every_query_in_the_documents_runs_and_finds_something(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXTS[ROOT / "docs/querying.md"]
    monkeypatch.chdir(demo / "demo")
    for code in fenced(text, "sql"):
        assert duckdb.connect().execute(code).fetchall(), code
    for code in fenced(text, "python"):
        assert _printed_by(code).strip(), code


def test_the_queries_in_the_readme_run_where_the_demo_ran(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    (code,) = fenced(README, "python")
    assert "accepted" in _printed_by(code)


def _printed_by(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "example", "exec"), {"__name__": "example"})
    return printed.getvalue()
