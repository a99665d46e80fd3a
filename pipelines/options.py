"""Options that several commands share, and types for paths: a shell expands `~` in `--out ~/x`, not in `--out=~/x`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from schemas.system import expand_database, expand_path


class _PathType(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(expand_path(os.fspath(value), _name(param)), param, ctx)


class _DatabaseType(click.ParamType):  # type: ignore[type-arg]
    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, _: click.Context | None) -> Any:
        return expand_database(value, _name(param))


def _name(param: click.Parameter | None) -> str:
    return param.opts[0] if isinstance(param, click.Option) else param.human_readable_name if param else "path"


# For a `Path`, and for a string that is a path.
PATH = _PathType(path_type=Path, readable=False)
PATH_TEXT = _PathType(readable=False)

config_option = click.option("--config", "config_path", type=PATH, help="TOML file; flags override it.")
warehouse_option = click.option(
    "--warehouse",
    default="warehouse",
    show_default=True,
    type=PATH_TEXT,
    metavar="DIR|URI",
    help="Folder or URI of the published tables.",
)
configured_warehouse_option = click.option(  # None without the flag: the configuration names it
    "--warehouse",
    type=PATH_TEXT,
    metavar="DIR|URI",
    help="Folder or URI of the published tables.  [default: as configured]",
)
database_option = click.option(
    "--database",
    type=_DatabaseType(),
    metavar="URL",
    help="Database of the queue.  [default: queue.sqlite in the warehouse]",
)
metrics_option = click.option(
    "--metrics-file",
    "metrics_path",
    type=PATH_TEXT,
    metavar="FILE",
    help="Write Prometheus metrics there at the end; name it *.prom.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
