"""Writes any number of distinct tickets: labelled rows repeated under new ids, each with its own order number.

python -m benchmarks.repeat_tickets --rows 1000000 --out million.jsonl DATA.parquet [DATA.parquet …]
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import pandas as pd


def write_tickets(sources: list[Path], rows: int, out: Path) -> None:
    """Writes JSON Lines with `id` and `text`; row n is source row n modulo their number, with order number n."""
    texts = [text for source in sources for text in pd.read_parquet(source)["text"]]
    with out.open("w", encoding="utf-8") as file:
        for number, text in enumerate(itertools.islice(itertools.cycle(texts), rows)):
            record = {"id": f"t-{number:08d}", "text": f"{text} Order number {number:07d}."}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def main() -> None:
    """Reads the arguments and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, help="Parquet files with a column `text`")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write_tickets(arguments.sources, arguments.rows, arguments.out)


if __name__ == "__main__":
    main()
