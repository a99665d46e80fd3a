"""The pages of `docyard report` on made-up tickets of nine days, and pictures of them.

`python -m tests.support.report_walk docs/images` makes the pictures of the documentation anew, in some minutes. With a
second argument, the pictures are of that warehouse instead.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

from pipelines.cli import main
from tests.support.chromium import browsers
from tests.support.review_walk import shrink
from tests.support.scripted_llm import scripted_llm
from tests.support.small_drains import MODEL

LAST = datetime.date(2026, 11, 22)


def fill(folder: Path) -> Path:
    """A warehouse with a run per day, about 300 tickets each, whose escalations a made-up LLM answered at a price."""
    for day in range(9):
        samples = folder / f"samples{day}"
        made = ["sample", str(samples), "--kind", "ticket", "--documents", str(250 + 37 * day % 90)]
        main([*made, "--seed", str(day + 3)], standalone_mode=False)
        date = LAST - datetime.timedelta(days=8 - day)
        run = ["classify", "--config", str(samples / "run.toml"), "--warehouse", str(folder / "warehouse")]
        main([*run, "--run-date", date.isoformat()], standalone_mode=False)
    with scripted_llm() as llm:
        config = folder / "drain.toml"
        config.write_text(
            f"warehouse = '{folder / 'warehouse'}'\n[llm]\nbase_url = '{llm.url}'\nmodel = '{MODEL}'\n"
            f"[[budget.prices]]\nmodel = '{MODEL}'\nas_of = {LAST}\n"
            "input_per_million = 2.5\noutput_per_million = 10.0\n",
            encoding="utf-8",
        )
        main(["queue", "drain", "--config", str(config)], standalone_mode=False)
    return folder / "warehouse"


def walk(warehouse: Path, pictures: Path, folder: Path) -> None:
    wanted = {"report": [], "report-trends": ["--since", "2026-11-01"]}
    with browsers(folder) as new:
        browser = new()
        for name, flags in wanted.items():
            page = folder / f"{name}.html"
            main(["report", "--warehouse", str(warehouse), "--html", str(page), *flags], standalone_mode=False)
            for size, width, height in (("", 1000, 1000), ("-phone", 390, 1100))[: 1 if flags else 2]:
                browser.size(width, height)
                browser.open(page.as_uri())
                picture = pictures / f"{name}{size}.png"
                browser.picture(picture)
                shrink(picture)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        given = Path(sys.argv[2]) if len(sys.argv) > 2 else fill(Path(place))
        walk(given, Path(sys.argv[1]), Path(place))
