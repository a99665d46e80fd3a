"""Writes into the documents whatever the code knows: `make docs`, or `python docs/generate.py`.

A document takes a table by two lines, `<!-- generated: NAME -->` and `<!-- end -->`; whatever stands between them is
replaced. Two documents are generated whole: commands.md and data-dictionary.md. With `--check` nothing is written, and
the exit code is 1 if a document is out of date. The names are the keys of TABLES.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from escalation.evidence.audit import EXPORT_COLUMNS
from escalation.tables import metadata
from models import bundle_manifest
from models.bundle import load_bundle
from models.certificate import Certificate
from models.deferral import SIGNALS
from models.drift import MEASURES
from models.guard import FEATURES
from models.training import config as training
from models.training import data_sheet
from pipelines.cli import main as docyard
from schemas import codes, drain_config, examples_config, governance, review_config, run_config, watching_config
from schemas.configuration import Within
from schemas.errors import ERRORS, INTERRUPTED, DocyardError
from schemas.metrics import METRICS
from schemas.tables import data_dictionary
from warehouse.manifest import Manifest

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
KINDS = {str: "string", int: "integer", float: "number", bool: "boolean"}
KEYS = {
    "keys-run": run_config.RunConfig,
    "keys-inputs": run_config.InputConfig,
    "keys-reading": run_config.ReadingConfig,
    "keys-classification": run_config.ClassificationConfig,
    "keys-quality": run_config.QualityConfig,
    "keys-watching": watching_config.WatchingConfig,
    "keys-governance": governance.Governance,
    "keys-drain": drain_config.DrainConfig,
    "keys-queue": drain_config.QueueConfig,
    "keys-llm": drain_config.LlmConfig,
    "keys-llm-labels": drain_config.LabelConfig,
    "keys-budget": drain_config.BudgetConfig,
    "keys-budget-prices": drain_config.PriceConfig,
    "keys-masking": drain_config.MaskingConfig,
    "keys-priorities": drain_config.PriorityConfig,
    "keys-audits": drain_config.AuditsConfig,
    "keys-examples": examples_config.ExamplesConfig,
    "keys-review": review_config.ReviewConfig,
    "keys-server": review_config.ServerConfig,
    "keys-sessions": review_config.SessionConfig,
    "keys-four-eyes": review_config.FourEyesConfig,
    "keys-due": review_config.DueConfig,
    "keys-bundle-reading": bundle_manifest.ReadingRules,
    "keys-training": training.TrainingConfig,
    "keys-data-sources": data_sheet.DataSource,
    "keys-training-teachers": training.TeacherTraining,
}
CODES: dict[str, tuple[str, type[codes.Code]]] = {
    "item-states": ("state", codes.ItemState),
    "call-statuses": ("status", codes.CallStatus),
    "roles": ("role", codes.Role),
    "review-stages": ("stage", codes.ReviewStage),
    "category-statuses": ("status", codes.CategoryStatus),
    "review-reasons": ("reason", codes.JudgementReason),
    "route-reasons": ("route_reason", codes.RouteReason),
    "register-actions": ("action", codes.RegisterAction),
    "audit-statuses": ("status", codes.AuditStatus),
}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(
        "|---|" + "---|" * (len(line) - 1) if line[0] == "---" else "| " + " | ".join(map(_cell, line)) + " |"
        for line in lines
    )


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


# Configurations


def keys(kind: type) -> str:
    """The keys of a table of a TOML file, from the fields of its class."""
    hints, told = typing.get_type_hints(kind, include_extras=True), _descriptions(kind)
    return table(
        ("key", "type", "default", "meaning"),
        ((f"`{f.name}`", _kind(hints[f.name]), _default(f), told.get(f.name, "")) for f in dataclasses.fields(kind)),
    )


def _descriptions(kind: type) -> dict[str, str]:
    """The docstrings below the fields."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    return {
        item.target.id: inspect.cleandoc(text.value.value)
        for item, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        of, *rules = typing.get_args(hint)
        bounds = [str(rule).replace("a number in", "in") for rule in rules if isinstance(rule, Within)]
        return " ".join([_kind(of), *bounds])
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f'`"{value}"`' for value in typing.get_args(hint))
    if dataclasses.is_dataclass(hint):
        return "table"
    if typing.get_origin(hint) is tuple:
        of = _kind(typing.get_args(hint)[0])
        return "list of " + (of + "s" if of in ("table", *KINDS.values()) else of)
    return KINDS.get(hint) or _kind(typing.get_args(hint)[0])  # X | None


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING or dataclasses.is_dataclass(field.default):
        return "below"
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None:
        return "none"
    return f"`{json.dumps(field.default, ensure_ascii=False)}`"


# Codes


def described(head: str, kind: type[codes.Code]) -> str:
    return table((head, "meaning"), ((f"`{code}`", code.description) for code in kind))


def exit_codes() -> str:
    def row(error: type[DocyardError]) -> tuple[object, ...]:
        when = inspect.getdoc(error) or ""
        return error.exit_code, f"`{error.__name__}`", _yes(error.may_pass), when.split("\n\n")[0], error.remedy

    done = "The command did its work. Rejected or escalated documents are not an error."
    stopped = (
        "Ctrl-C; for `classify` and `backfill` SIGTERM, too. Nothing was published, unless the interrupt came while "
        "the run was already being put in place. "
        "`docyard queue drain` ends with it after Ctrl-C or SIGTERM, when the calls in flight are finished; the rest "
        "stays pending."
    )
    return table(
        ("code", "name", "retry", "when", "what to do"),
        [
            (0, "success", "", done, ""),
            *map(row, (DocyardError, *ERRORS)),
            (INTERRUPTED, "interrupted", "yes", stopped, "Run again."),
        ],
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def queue_tables() -> str:
    return table(
        ("table", "a row", "columns"),
        (
            (f"`{each.name}`", each.info["row"], ", ".join(f"`{column.name}`" for column in each.columns))
            for each in metadata.tables.values()
        ),
    )


# Commands


def commands() -> str:
    """The document of all commands, from the command line's own objects."""
    parts = [
        "# Commands",
        "Generated from the command line: `docyard COMMAND --help` prints the same. Keys of configuration files are in",
        "[configuration](configuration.md); a flag wins over the file, and the file over the default.",
    ]
    return "\n\n".join([parts[0], "\n".join(parts[1:]), *_command(docyard, "docyard")]) + "\n"


def _command(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    is_group = isinstance(command, click.Group)
    yield f"## `{name}`"
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```"
    for part in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        yield _prose(part)
    options = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and (command is docyard or "--help" not in parameter.opts)
        if (record := parameter.get_help_record(context))
    ]
    if options:
        yield table(("flag", "meaning"), ((f"`{flags}`", meaning) for flags, meaning in options))
    if is_group:
        for each in sorted(command.commands):  # type: ignore[attr-defined]
            yield from _command(command.commands[each], f"{name} {each}")  # type: ignore[attr-defined]


def _prose(part: str) -> str:
    if part.startswith("\b"):
        return "```text\n" + part.removeprefix("\b").strip("\n") + "\n```"
    return textwrap.fill(" ".join(part.split()), 120, break_long_words=False, break_on_hyphens=False)


def bundle_folders() -> list[Path]:
    """The included bundles that give labels; that of the kinds gives none."""
    return sorted(path.parent for path in (ROOT / "models/bundles").glob("*/model.onnx"))


def licences() -> str:
    """The data sets that the included bundles learned labels from, with their licences."""
    rows = []
    for folder in bundle_folders():
        path = ROOT / "models/training/configs" / f"{folder.name}.toml"
        config = training.read_training_config(path)
        for one in dict.fromkeys(
            source
            for entry in (*config.data.train, *config.data.validation)
            for source in data_sheet.sources_of(entry, data_sheet.read_data_sources(path.parent / config.data.sources))
        ):
            rows.append((f"`{folder.name}`", one.name, one.by, one.licence, one.note))
    return table(("bundle", "data set", "by", "licence", "note"), rows)


def certificates() -> str:
    """The promises of the included bundles, and what they did on the certifying rows."""
    rows = []
    for folder in bundle_folders():
        one = load_bundle(folder).certificate
        assert one is not None
        promise, errors = f"at most {one.max_error:.0%} of the accepted are wrong", f"{one.errors} of {one.accepted:,}"
        if one.positive_label:
            promise = f"at most {one.max_error:.0%} of `{one.positive_label}` are accepted as something else"
            errors = f"{one.errors} `{one.positive_label}` missed"
        proven = sorted({proof.answers for proof in one.thresholds if proof.threshold is not None})
        answers = ", ".join(f"`{name}`" if name in load_bundle(folder).labels else name for name in proven)
        rows.append((f"`{folder.name}`", answers, promise, f"{one.coverage:.1%} of {one.rows:,} rows", errors))
    return table(("bundle", "answers", "promise", "accepted", "wrong"), rows)


TABLES: dict[str, Callable[[], str]] = {
    **{name: lambda kind=kind: keys(kind) for name, kind in KEYS.items()},  # type: ignore[misc]
    **{
        f"keys-training-{field.name.replace('_', '-')}": lambda kind=kind: keys(kind)  # type: ignore[misc]
        for field in dataclasses.fields(training.TrainingConfig)  # type: ignore[arg-type]
        if dataclasses.is_dataclass(kind := typing.get_type_hints(training.TrainingConfig)[field.name])
    },
    **{name: lambda of=of: described(*of) for name, of in CODES.items()},  # type: ignore[misc]
    "run-statuses": lambda: table(
        ("status", "meaning"), ((f"`{code}`", code.description) for code in (*codes.RunStatus, *codes.DerivedStatus))
    ),
    "item-codes": lambda: table(
        ("code", "state", "meaning"), ((f"`{code}`", f"`{code.state}`", code.description) for code in codes.ItemCode)
    ),
    "drift-figures": lambda: table(
        ("figure", "floor", "distance"),
        ((f"`{figure}`", f"{measure.floor:g}", figure.description) for figure, measure in MEASURES.items()),
    ),
    "reasons": lambda: table(
        ("reason_code", "stage", "meaning", "remedy"),
        ((f"`{code}`", code.stage, code.description, code.remedy) for code in codes.Reason),
    ),
    "audit-actions": lambda: table(
        ("action", "meaning"), ((f"`{code}`", code.description) for code in (*codes.EventAction, *codes.ReviewAction))
    ),
    "audit-export-columns": lambda: table(("column", "meaning"), ((f"`{k}`", v) for k, v in EXPORT_COLUMNS.items())),
    "exit-codes": exit_codes,
    "queue-tables": queue_tables,
    "bundle-files": lambda: table(
        ("file", "content"), ((f"`{name}`", text) for name, text in bundle_manifest.BUNDLE_FILES.items())
    ),
    "certificates": certificates,
    "licences": licences,
    "certificate": lambda: table(
        ("key", "meaning"), ((f"`{key}`", text) for key, text in _descriptions(Certificate).items())
    ),
    "guard-features": lambda: table(
        ("feature", "meaning"), ((f"`{name}`", meaning) for name, meaning in FEATURES.items())
    ),
    "signals": lambda: table(("signal", "meaning"), ((f"`{name}`", meaning) for name, meaning in SIGNALS.items())),
    "metrics": lambda: table(
        ("metric", "of", "type", "labels", "meaning"),
        (
            (f"`{name}`", one.source, one.type, ", ".join(f"`{label}`" for label in one.labels), one.help)
            for name, one in METRICS.items()
        ),
    ),
    "run-manifest": lambda: table(("key", "meaning"), ((f"`{k}`", v) for k, v in _descriptions(Manifest).items())),
}
WHOLE = {"docs/commands.md": commands, "docs/data-dictionary.md": data_dictionary}


def generated() -> dict[Path, str]:
    """Every document with generated parts, as it should be."""

    def part(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise SystemExit(f"no table is called {found[2]!r}; known: {', '.join(TABLES)}")
        return f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}"

    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md"]
    texts = {path: MARKED.sub(part, path.read_text(encoding="utf-8")) for path in paths}
    return texts | {ROOT / name: write() for name, write in WHOLE.items()}


def main(arguments: list[str]) -> int:
    stale = [path for path, text in generated().items() if text != path.read_text(encoding="utf-8")]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: " + ("out of date; run `make docs`" if arguments else "written"))
        if not arguments:
            path.write_text(generated()[path], encoding="utf-8")
    return int(bool(arguments and stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
