"""Statements of the documents that can be checked against the code they describe."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shlex
import tomllib
import typing
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest
from click.testing import CliRunner

from models.bundle import load_bundle
from models.classifier import Classifier
from models.evaluation import evaluate
from models.policy import parse_policy
from pipelines.cli import main
from pipelines.runs import DERIVED_STATUSES
from schemas.codes import Reason, RouteReason
from schemas.errors import ERRORS, INTERRUPTED, DocyardError
from schemas.run_config import InputConfig, RunConfig, load_config
from warehouse.manifest import Manifest, RunStatus, TableFile

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models/bundles").rglob("*.md")],
)
CONFIGURATION = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
BUNDLES = (ROOT / "docs/bundles.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fenced(text: str, language: str) -> list[str]:
    return [code for kind, code in _FENCE.findall(text) if kind == language]


def section(text: str, heading: str) -> str:
    """From a heading to the next one of any level."""
    assert f"# {heading}\n" in text, f"no heading {heading!r}"
    after = text.split(f"# {heading}\n", 1)[1]
    return re.split(r"^#", _FENCE.sub(_without_comments, after), maxsplit=1, flags=re.MULTILINE)[0]


def _without_comments(block: re.Match[str]) -> str:
    return re.sub(r"^#.*\n", "", block.group(), flags=re.MULTILINE)


def table_rows(text: str) -> dict[str, list[str]]:
    """First cell without its backticks → all cells."""
    rows = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells] for cells in rows}


def about_command(name: str) -> str:
    """The part of configuration.md that lists a command's flags."""
    if name == "classify":
        return section(CONFIGURATION, "`docyard classify`")
    rows = table_rows(section(CONFIGURATION, "The other commands"))
    return " | ".join(next(cells for first, cells in rows.items() if f"{first} ".startswith(f"docyard {name} ")))


@pytest.fixture(scope="module")
def manifest(demo: Path) -> dict[str, Any]:
    (path,) = (demo / "demo/warehouse/runs").glob("*/manifest.json")
    values: dict[str, Any] = json.loads(path.read_bytes())
    return values


# Commands and flags


def _every_command(group: click.Group = main, before: str = "") -> dict[str, click.Command]:
    """Commands by name; those of a group as "audit verify"."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= _every_command(command, f"{before}{name} ")
        else:
            found[before + name] = command
    return found


COMMANDS = _every_command()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme_and_in_the_configuration(name: str) -> None:
    assert f"docyard {name.split()[0]}" in README
    assert about_command(name)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_a_command_is_documented_with_its_default(name: str) -> None:
    about = about_command(name)
    for parameter in COMMANDS[name].params:
        if not isinstance(parameter, click.Option):
            continue
        for flag in parameter.opts:
            assert re.search(rf"`{re.escape(flag)}[ `]", about), f"{name} {flag}"
        if parameter.show_default:
            assert f"default `{parameter.default}`" in about or f"default {parameter.default}" in about, parameter.name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_argument_of_a_command_is_documented(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Argument):
            words = (parameter.name or "").upper().split("_")
            assert all(word in about_command(name) for word in words), parameter.name


def test_every_option_that_stands_before_the_command_is_documented() -> None:
    for parameter in [*main.params, *main.get_help_option_names(click.Context(main))]:
        for flag in [parameter] if isinstance(parameter, str) else parameter.opts:
            assert re.search(rf"`(docyard )?{re.escape(flag)}`", CONFIGURATION), flag


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_command_line_in_the_documents_is_understood(path: Path) -> None:
    for code in fenced(path.read_text(encoding="utf-8"), "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            line = line.split(" > ")[0]
            words = shlex.split(re.sub(r"\$(\w+)", r"/\1", line), comments=True)  # as a shell fills it in
            name = next((" ".join(words[1:n]) for n in (3, 2) if " ".join(words[1:n]) in COMMANDS), None)
            if words[:1] == ["docyard"] and name is not None:
                COMMANDS[name].make_context(name, words[1 + len(name.split()) :])


def test_the_readme_shows_the_command_others_script_against() -> None:
    lines = [" ".join(line.split()) for code in fenced(README, "sh") for line in code.replace("\\\n", "").splitlines()]
    assert (
        "docyard classify --input tickets/ --document-type ticket --bundle models/bundles/tickets "
        "--warehouse warehouse --run-date 2026-11-22 --id-field id --text-field text"
    ) in lines


# Configuration


def _tables() -> list[tuple[str, type]]:
    hints = typing.get_type_hints(RunConfig)
    tables = [(f"`[{name}]`", kind) for name, kind in hints.items() if dataclasses.is_dataclass(kind)]
    return [("Top level", RunConfig), ("`[[inputs]]`", InputConfig), *tables]


@pytest.mark.parametrize(("heading", "kind"), _tables(), ids=[heading for heading, _ in _tables()])
def test_every_configuration_key_is_documented_with_its_default_and_no_other_is(heading: str, kind: type) -> None:
    check_keys(heading, kind)


def names_of(kind: type) -> set[str]:
    return {item.name for item in dataclasses.fields(kind)}


def check_keys(heading: str, kind: type) -> None:
    """The table below a heading holds every field of a dataclass, with its default."""
    rows = table_rows(section(CONFIGURATION, heading))
    rows.pop("key")
    rows.pop("---", None)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    assert set(rows) == set(fields)
    for name, item in fields.items():
        if item.default is None:
            assert rows[name][2] == "none"
        elif item.default is not dataclasses.MISSING:
            written = tomllib.loads(f"value = {rows[name][2].strip('`')}")["value"]
            assert written == (list(item.default) if isinstance(item.default, tuple) else item.default), name
        elif item.default_factory is dataclasses.MISSING:
            assert rows[name][2] == "required"


def test_the_complete_file_in_the_configuration_holds_every_key_with_its_default(tmp_path: Path) -> None:
    code, *_ = fenced(CONFIGURATION, "toml")
    path = tmp_path / "complete.toml"
    path.write_text(code, encoding="utf-8")
    written = tomllib.loads(code)
    config = load_config(path, {})
    assert set(written) == {item.name for item in dataclasses.fields(RunConfig)}
    assert set(written["inputs"][0]) == {item.name for item in dataclasses.fields(InputConfig)}
    for name in ("reading", "classification", "quality"):
        default = type(getattr(config, name))()
        assert getattr(config, name) == default
        assert set(written[name]) == set(dataclasses.asdict(default))
    (inputs,) = config.inputs
    assert inputs == InputConfig(inputs.paths, inputs.document_type, inputs.bundle)


def test_the_configuration_in_the_readme_can_be_used(tmp_path: Path) -> None:
    (code,) = fenced(README, "toml")
    path = tmp_path / "nightly.toml"
    path.write_text(code, encoding="utf-8")
    assert len(load_config(path, {}).inputs) == 2


def test_the_policy_in_the_bundle_page_can_be_used_and_its_keys_are_explained() -> None:
    code, first_tier = fenced(BUNDLES, "toml")
    policy = parse_policy((code + first_tier).encode(), ["pay_bill", "greeting"], "bundles.md")
    assert policy.first_tier == {"strict": 0.9096}
    assert policy.label_min_confidence == {"pay_bill": 0.8}
    rows = table_rows(section(BUNDLES, "The policy"))
    assert {"acceptance.min_confidence", "acceptance.min_familiarity", "selection"} <= set(rows)


# Codes, keys and tables


def test_every_exit_code_is_documented() -> None:
    rows = table_rows((ROOT / "docs/exit-codes.md").read_text(encoding="utf-8"))
    expected = {str(error.exit_code): f"`{error.__name__}`" for error in (DocyardError, *ERRORS)}
    assert {code: cells[1] for code, cells in rows.items() if code in expected} == expected
    assert {code for code in rows if code.isdigit()} == {"0", str(INTERRUPTED), *expected}
    retry = {str(error.exit_code): "yes" if error.may_pass else "no" for error in (DocyardError, *ERRORS)}
    assert {code: cells[2] for code, cells in rows.items() if code in retry} == retry


def test_the_data_dictionary_is_what_the_command_prints() -> None:
    written = (ROOT / "docs/data-dictionary.md").read_text(encoding="utf-8")
    assert written == CliRunner().invoke(main, ["dictionary"]).output, "docyard dictionary > docs/data-dictionary.md"


@pytest.mark.parametrize("code", [*Reason, *RouteReason])
def test_every_reason_is_explained_in_the_dictionary_and_where_it_arises(code: str) -> None:
    assert f"| `{code}` |" in (ROOT / "docs/data-dictionary.md").read_text(encoding="utf-8")
    assert f"`{code}`" in (OPERATIONS if code in list(Reason) else BUNDLES)


def test_every_key_of_a_manifest_is_documented(manifest: dict[str, Any]) -> None:
    about = section(OPERATIONS, "Manifests")
    keys = {item.name for kind in (Manifest, TableFile) for item in dataclasses.fields(kind)}
    keys |= set(manifest) | set(manifest["counts"]) | set(manifest["seconds"]) | set(manifest["bundles"]["ticket"])
    assert {key for key in keys if f"`{key}`" not in about} == set()


def test_every_status_of_a_run_is_documented() -> None:
    rows = table_rows(section(OPERATIONS, "`docyard runs`: what the states mean"))
    assert {status.value for status in RunStatus} | set(DERIVED_STATUSES) == set(rows) - {"status", "---"}


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
    steps = re.findall(r'"(\w+)" >>', (ROOT / "pipelines/job.py").read_text(encoding="utf-8"))
    assert len(steps) == 9
    for step in steps:
        assert step in README
        assert f"`{step}`" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), link
        if anchor:
            headings = _HEADING.findall(_FENCE.sub("", target.read_text(encoding="utf-8")))
            assert anchor in {_slug(heading) for heading in headings}, link


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_path_in_code_type_exists(path: Path) -> None:
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    folders = "schemas|models|data_quality|transforms|fallback|pipelines|tests|docs"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        if name != "tests/golden/" and "NAME" not in name:  # the place for tests to come, and a name to fill in
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_lines_of_prose_are_wrapped(path: Path) -> None:
    if path.is_relative_to(ROOT / "models"):
        return  # generated, and pinned by the bundle's hashes
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        assert len(line) <= 120 or line.startswith("|"), f"{path.name}:{number}"


@pytest.mark.parametrize("path", DECISIONS, ids=_name)
def test_every_decision_says_why_what_follows_and_how_to_undo_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "How to undo"]
    assert text.startswith(f"# {int(path.name[:4])}. ")


# Examples that run


def _examples() -> list[Any]:
    text = (ROOT / "docs/querying.md").read_text(encoding="utf-8")
    return [
        pytest.param(language, code, id=f"{language}{number}")
        for language in ("python", "sql")
        for number, code in enumerate(fenced(text, language))
    ]


@pytest.mark.parametrize(("language", "code"), _examples())
def test_every_query_in_the_documents_runs_and_finds_something(
    language: str, code: str, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo / "demo")
    if language == "sql":
        assert duckdb.connect().execute(code).fetchall()
    else:
        assert _printed_by(code).strip()


def test_the_queries_in_the_readme_run_where_the_demo_ran(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    (code,) = fenced(README, "python")
    assert "accepted" in _printed_by(code)


def _printed_by(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "example", "exec"), {"__name__": "example"})
    return printed.getvalue()
