"""Boundaries between the pages of packets: right, doubtful and wrong, on documents that taught nothing.

The made-up documents go through a PDF and its text layer, as in a run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import click

from benchmarks.report import markdown_table, surroundings
from extraction.extract import FileExtraction
from extraction.pages import PAGE_BREAK
from models.page_pairs import load_page_pairs
from models.training.packets import PagedDocument, draw_boundaries, read_folder
from models.training.page_pairs import by_source, whole_documents
from pipelines.sampling.contracts import write_contract
from pipelines.sampling.drawing import text_pdf
from pipelines.sampling.receipts import receipt_blocks
from pipelines.sampling.tickets import draw_concern
from pipelines.sampling.writing import Manner, write_ticket
from schemas.run_config import ExtractionConfig

_SEED = 1000  # of the first document; no document of a training has it
_SHARES = ("right", "doubtful", "wrong")
_FATES = ("whole", "doubtful", "cut")


@click.command(context_settings={"show_default": True})
@click.option("--unseen", type=click.Path(path_type=Path, exists=True), multiple=True, help="Folder of PDFs or texts.")
@click.option("--bundles", type=click.Path(path_type=Path), default=Path("models/bundles"), help="Folder of bundles.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmarks"), help="Where results go.")
@click.option("--documents", type=click.IntRange(2), default=200, help="Made-up documents of each kind.")
@click.option("--packets", type=click.IntRange(1), default=1000, help="Packets drawn of each sort.")
def packets(unseen: tuple[Path, ...], bundles: Path, out: Path, documents: int, packets: int) -> None:
    """Measures where packets are split, and documents of several pages that stay whole."""
    model = load_page_pairs(bundles / "page_pairs")
    rows, whole = [], []
    made_up = list(made_up_documents(documents))
    for found in (made_up, [document for folder in unseen for document in read_folder(folder)]):
        if found:
            rows += by_source(model, draw_boundaries(found, packets, seed=_SEED))
            whole += whole_documents(model, found)
    pages = [document.pages for document in made_up if len(document.pages) > 1]
    started = time.process_time()
    for each in pages:
        model.find_cuts(each)
    seconds = time.process_time() - started
    result = {
        "surroundings": surroundings(), "reference": model.reference, "boundaries": rows, "whole": whole,
        "milliseconds_per_page": 1000 * seconds / sum(map(len, pages)),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "packets.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "packets.md").write_text(markdown(result))
    click.echo(markdown(result))


def made_up_documents(number: int) -> Iterator[PagedDocument]:
    """So many contracts of one to eight pages, receipts and tickets, by the text layers of their PDFs."""
    for place in range(number):
        random = Random(_SEED + place)
        contract, _ = write_contract(random.randint(300, 3000), random)
        blocks, _ = receipt_blocks(random)
        texts = {
            "contracts": contract.replace("\f", ""),
            "receipts": "\n".join(line for block in blocks for line in block if line),
            "ticket letters": write_ticket(draw_concern(random), Manner.LETTER, random),
        }
        for source, text in texts.items():
            yield PagedDocument(f"made-up {source}", str(place), _text_layer(text))


def _text_layer(text: str) -> tuple[str, ...]:
    [document] = FileExtraction(ExtractionConfig(ocr="off"), None).documents(text_pdf(text), "a.pdf")
    starts = [0, *(end + len(PAGE_BREAK) for end in document.page_ends[:-1])]
    return tuple(document.text[start:end] for start, end in zip(starts, document.page_ends, strict=True))


def markdown(result: Mapping[str, Any]) -> str:
    """A table of boundaries, and one of documents by themselves."""
    about = result["surroundings"]
    boundaries = [[row["boundary"], row["source"], *_cells(row, _SHARES)] for row in result["boundaries"]]
    whole = [[row["source"], *_cells(row, _FATES)] for row in result["whole"]]
    return "\n".join(
        [
            f"{about['processor']}, {about['date']}; {result['reference']}. Telling the boundaries took "
            f"{result['milliseconds_per_page']:.1f} ms of processor time per page.",
            "",
            *markdown_table(["boundary", "source", "rows", "surely right", "doubtful", "surely wrong"], boundaries),
            "",
            *markdown_table(["documents of several pages", "rows", "left whole", "doubtful", "cut"], whole),
            "",
        ]
    )


def _cells(row: Mapping[str, Any], shares: tuple[str, ...]) -> list[str]:
    return [f"{row['rows']:,}", *(f"{row[name]:.1%}" for name in shares)]
