"""Writes any number of tickets, no two alike: labelled rows repeated under new ids, each in other courtesies.

python -m benchmarks.repeat_tickets --rows 1000000 --out million.jsonl DATA.parquet [DATA.parquet …]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

OPENINGS = (
    "", "Hi, ", "Hello, ", "Hey, ", "Good morning, ", "Good afternoon, ", "Dear team, ", "Hi there, ", "Hello there, ",
    "Quick question: ", "Sorry to bother you, ", "Dear support, ", "Hi team, ", "Hello again, ", "Please help: ",
    "Good evening, ",
)  # fmt: skip
CLOSINGS = (
    "", " Thanks.", " Thank you.", " Many thanks.", " Please advise.", " Thanks in advance.", " Regards.",
    " Kind regards.", " Please help.", " Thank you very much.", " Cheers.", " Best wishes.", " Please let me know.",
    " Thanks a lot.", " I appreciate it.", " Best regards.",
)  # fmt: skip


def write_tickets(sources: list[Path], rows: int, out: Path, alike: bool = False) -> None:
    """Writes JSON Lines with `id` and `text`.

    Every source row comes once as it is, then once in each pair of opening and closing; from there on, with a number.

    Args:
        sources: Parquet files with a column `text`.
        rows: number of rows to write.
        out: the file.
        alike: True where texts come again as they are, under new ids.
    """
    texts = [text for source in sources for text in pd.read_parquet(source)["text"]]
    with out.open("w", encoding="utf-8") as file:
        for number in range(rows):
            again, row = divmod(number, len(texts))
            again = 0 if alike else again
            text = f"{OPENINGS[again % 16]}{texts[row]}{CLOSINGS[again // 16 % 16]}"
            if again >= len(OPENINGS) * len(CLOSINGS):
                text += f" Reference {again}."
            file.write(json.dumps({"id": f"t-{number:08d}", "text": text}, ensure_ascii=False) + "\n")


def main() -> None:
    """Reads the arguments and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, help="Parquet files with a column `text`")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--alike", action="store_true", help="Let texts come again as they are")
    arguments = parser.parse_args()
    write_tickets(arguments.sources, arguments.rows, arguments.out, arguments.alike)


if __name__ == "__main__":
    main()
