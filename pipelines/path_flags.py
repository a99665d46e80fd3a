"""Flags that are paths, and their types: a shell fills in `~` in `--out ~/x`, but not in `--out=~/x`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from schemas.paths import expand_database, expand_path


class _PathFlag(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(expand_path(os.fspath(value), _name(param)), param, ctx)


class _DatabaseFlag(click.ParamType):  # type: ignore[type-arg]
    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, _: click.Context | None) -> Any:
        return expand_database(value, _name(param))


def _name(param: click.Parameter | None) -> str:
    return param.opts[0] if isinstance(param, click.Option) else param.human_readable_name if param else "path"


# For a `Path`, for a string that is a path, and for the URL of a database.
PATH = _PathFlag(path_type=Path, readable=False)
PATH_TEXT = _PathFlag(readable=False)
DATABASE_URL = _DatabaseFlag()

warehouse_option = click.option(
    "--warehouse",
    default="warehouse",
    show_default=True,
    type=PATH_TEXT,
    metavar="DIR",
    help="Folder of the published tables.",
)
