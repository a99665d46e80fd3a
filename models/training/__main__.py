"""`python -m models.training RECIPE`: builds a ModelBundle."""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import sys
from pathlib import Path

from models.training.build import build_bundle, read_recipe
from schemas.errors import DocyardError


def main() -> int:
    """Reads the arguments, builds the bundle, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("recipe", type=Path, help="a TOML file such as models/training/tickets.toml")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DOCYARD_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, help="the bundle's folder (default: models/bundles/NAME)")
    parser.add_argument("--checkpoint", type=Path, help="where the float network is kept (default: build/NAME)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = read_recipe(arguments.recipe)
        bundle = build_bundle(
            recipe,
            card_template=arguments.recipe.with_name(recipe.card),
            data=arguments.data,
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            checkpoint=arguments.checkpoint or Path("build") / recipe.name,
            out=arguments.out or Path("models/bundles") / recipe.name,
        )
    except DocyardError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{bundle.folder}: {bundle.name}, {len(bundle.labels)} labels, digest {bundle.digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
