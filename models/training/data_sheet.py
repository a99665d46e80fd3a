"""Licences and origins of the data that a bundle learns from, and the data sheet that goes into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import jinja2

from models.training.config import TrainingConfig
from schemas.configuration import Matching, PathText, read_toml, read_values, validated

FILE_NAME = "datasheet.md"
_TEMPLATE = Path(__file__).with_name("datasheet.md.jinja")
_SHOWN_LABELS = 10
NotEmpty = Annotated[str, Matching(r"(?s).*\S.*", "text")]


@validated
class DataSource:
    """A data set: its name, the licence it is under, and where it comes from."""

    name: NotEmpty
    """Name of the data set."""
    licence: NotEmpty
    """Its licence, such as `CC BY 4.0`, or the terms of its use."""
    origin: NotEmpty
    """Its address, or the people and system it comes from."""
    files: tuple[PathText, ...]
    """Entries of `data`, `distillation.unlabelled` or `guard.strangers` that hold rows of it, or folders of them."""
    by: str = ""
    """Its makers, where the licence asks for their names."""
    note: str = ""
    """A notice that must be passed on, or a thing to know, such as machine-made labels."""


@validated
class DataSources:
    """The content of a file of data sources."""

    source: tuple[DataSource, ...]
    """The data sets; one `[[source]]` each."""


def read_data_sources(path: Path | None) -> tuple[DataSource, ...]:
    """The data sets that a file describes; none for None.

    Raises:
        ConfigError: the file is missing, not TOML, or a value cannot be used.
    """
    return read_values(DataSources, read_toml(path), str(path)).source if path else ()


def entries_by_use(config: TrainingConfig) -> dict[str, list[str]]:
    """The uses of every entry of the configuration that names data, in the order of the configuration."""
    data = config.data
    uses = {
        "training": data.train,
        "validation": data.validation or data.train,  # rows held out, or the folders' files for it
        "votes": data.votes,
        "reviewed": data.reviewed,
        "unlabelled": config.distillation.unlabelled,
        "strangers": config.guard.strangers if config.guard.enabled else (),
    }
    found: dict[str, list[str]] = {}
    for use, entries in uses.items():
        for entry in entries:
            found.setdefault(entry, []).append(use)
    return found


def sources_of(entry: str, sources: Sequence[DataSource]) -> list[DataSource]:
    """The data sets that an entry holds rows of."""
    path = PurePosixPath(Path(entry).as_posix())
    return [source for source in sources if any(path.is_relative_to(Path(file).as_posix()) for file in source.files)]


def provenance(config: TrainingConfig, sources: Sequence[DataSource]) -> list[dict[str, Any]]:
    """One entry per data set and file, as JSON values for the manifest; licence and origin "" where nothing is said."""
    rows = []
    for entry, uses in entries_by_use(config).items():
        known: list[dict[str, str]] = [
            {"name": one.name, "licence": one.licence, "origin": one.origin, "by": one.by, "note": one.note}
            for one in sources_of(entry, sources)
        ]
        for facts in known or [{"name": "", "licence": "", "origin": "", "by": "", "note": ""}]:
            rows.append({"file": _shown(entry), "used_for": uses, **facts})
    return rows


def describe_provenance(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per file and data set, then a warning that names the files without a licence."""
    lines = [
        f"  {row['file']} ({', '.join(row['used_for'])}): {row['name']}, {row['licence']}, {row['origin']}"
        for row in rows
        if row["licence"]
    ]
    without = [row["file"] for row in rows if not row["licence"]]
    if without:
        lines.append(
            f"warning: no licence and origin given of {', '.join(without)}; name them in the file of data.sources, so "
            "that nobody passes on what may not be passed on"
        )
    return lines


def render_data_sheet(config: TrainingConfig, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The data sheet in Markdown; it holds labels, names of data sets and counts, and no text of the data.

    Args:
        config: of the training.
        report: of `inspect_data`.
        rows: of `provenance`.

    Source: Gebru et al., "Datasheets for Datasets", 2021 (composition, collection, preprocessing, distribution).
    """
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {
        "cell": lambda value: str(value).replace("|", r"\|").replace("\n", " "),
        "count": lambda value: f"{value:,}",
        "repeats": lambda groups: sum(len(ids) - 1 for ids in groups),
    }
    labels = sorted(report["labels"].items(), key=lambda item: (-item[1]["train"], item[0]))
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        config=config,
        report=report,
        provenance=rows,
        data=config.data,
        largest=labels[:_SHOWN_LABELS],
        smallest=labels[_SHOWN_LABELS:][-_SHOWN_LABELS:],
        notes=list(dict.fromkeys(f"{row['name']}: {row['note']}" for row in rows if row["note"])),
    )


def _shown(entry: str) -> str:
    """The entry as published: of an absolute path, only the last part."""
    return Path(entry).name if Path(entry).is_absolute() else Path(entry).as_posix()
