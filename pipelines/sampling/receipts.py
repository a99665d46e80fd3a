"""Receipts of invented shops in five countries, as text files that an OCR tool left."""

from __future__ import annotations

from pathlib import Path
from random import Random

from pipelines.sampling.export import SampleSummary
from pipelines.sampling.ocr import photographed
from pipelines.sampling.receipt_items import CATEGORY_WEIGHTS, ITEMS
from pipelines.sampling.receipt_tills import (
    COUNTRIES,
    head_lines,
    item_lines,
    merchant,
    meta_lines,
    tax_lines,
    total_lines,
)
from pipelines.sampling.text_files import TextDocument, write_text_sample
from pipelines.sampling.ticket_noise import NOISE_PHRASES
from pipelines.sampling.writing import fill

MIN_RECEIPTS = 100

_TAX_TABLE_SHARE = 0.6
_COUNTRIES = tuple(country for _, country in COUNTRIES)
_COUNTRY_WEIGHTS = tuple(weight for weight, _ in COUNTRIES)


def write_receipt_sample(folder: Path, n_documents: int = 1000, seed: int = 7) -> SampleSummary:
    """Writes one text file a receipt and `_truth.csv` into `folder`, replacing an earlier sample.

    Of the files, 8 % hold another slip of paper. The truth names the expense category of each receipt.

    Raises:
        ConfigError: `n_documents` is below MIN_RECEIPTS, or the folder cannot be used or holds other files.
    """
    return write_text_sample(folder, "receipt", n_documents, seed, _receipt, _other_paper, MIN_RECEIPTS)


def _receipt(random: Random) -> TextDocument:
    country = random.choices(_COUNTRIES, _COUNTRY_WEIGHTS)[0]
    sold = CATEGORY_WEIGHTS.keys() & ITEMS[country.language].keys()
    categories = [name for name in CATEGORY_WEIGHTS if name in sold]
    category = random.choices(categories, [CATEGORY_WEIGHTS[name] for name in categories])[0]
    shop = merchant(country, category, random)
    items, total = item_lines(country, category, random)
    header = random.choice(country.header)
    blocks = [
        head_lines(country, shop, random),
        meta_lines(country, category, random),
        [header, *items],
        total_lines(country, total, random),
        tax_lines(country, total, random) if random.random() < _TAX_TABLE_SHARE else [],
        [random.choice(country.thanks)],
    ]
    return TextDocument(photographed(blocks, random), category)


def _other_paper(random: Random) -> TextDocument:
    """A note or a clipping that went through the scanner with the receipts."""
    lines = [fill(phrase, random) for phrase in random.sample(NOISE_PHRASES, random.randint(2, 5))]
    return TextDocument(photographed([[line] for line in lines], random), "")
