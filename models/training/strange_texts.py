"""Collects public texts of no kind of document: `python -m models.training.strange_texts`.

They are the descriptions, licences, documentation and source code of the packages that are installed beside Docyard,
and what lies in folders, such as clones of public repositories: PDFs and files of text. A model of kinds learns from
them what it does not know. About a third is kept for validation, by package and by file; folders that are named as
unseen only measure.
"""

from __future__ import annotations

import ast
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from random import Random

import click
import pandas as pd

from models.trained_rows import same_text, unit_hash

_VALIDATION_SHARE = 0.35
_PIECE = 2000  # characters
_LEAST = 80
_PIECES = 6  # of a package's texts of one sort
_PAGES = 3  # of a PDF
_MOST = 600  # pieces of a folder
_BOOK = 50 * _PIECE  # characters
_LICENCE_NAMES = ("licen", "copying", "notice")
_TEXT_FILES = (".md", ".rst", ".txt")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the files that are written.")
@click.option("--from", "seen", type=click.Path(path_type=Path, exists=True), multiple=True, help="Folder of texts.")
@click.option("--unseen", type=click.Path(path_type=Path, exists=True), multiple=True, help="One to measure by.")
def main(out: Path, seen: tuple[Path, ...], unseen: tuple[Path, ...]) -> None:
    """Writes train.parquet, validation.parquet and unseen.parquet: id, text, source, origin."""
    rows = pd.DataFrame(
        [
            *((*row, "") for row in installed_texts()),
            *((*row, "") for folder in seen for row in folder_texts(folder)),
            *((*row, "unseen") for folder in unseen for row in folder_texts(folder)),
        ],
        columns=["origin", "source", "text", "split"],
    )
    rows = rows[rows["text"].str.strip().str.len() >= _LEAST]
    rows = rows[~rows["text"].map(same_text).duplicated()].reset_index(drop=True)
    rows.insert(0, "id", [f"strange-{number:05}" for number in range(len(rows))])
    kept = rows["origin"].map(unit_hash) < _VALIDATION_SHARE
    rows["split"] = rows["split"].where(rows["split"] != "", kept.map({True: "validation", False: "train"}))
    out.mkdir(parents=True, exist_ok=True)
    for split, part in rows.groupby("split"):
        part.drop(columns="split").to_parquet(out / f"{split}.parquet", index=False)
        click.echo(f"{out / str(split)}.parquet: {part.groupby('source').size().to_dict()}")


def installed_texts() -> Iterator[tuple[str, str, str]]:
    """Package, sort and text of pieces of all that is installed beside this interpreter."""
    for package in sorted(importlib.metadata.distributions(), key=lambda found: found.metadata["Name"].lower()):
        name, files = package.metadata["Name"], sorted(map(str, package.files or ()))
        described = str(package.metadata.json.get("description") or "")
        licences = [_read(package, file) for file in files if file.split("/")[-1].lower().startswith(_LICENCE_NAMES)]
        modules = [file for file in files if file.endswith(".py") and "/tests/" not in file]
        code = [_read(package, file) for file in Random(name).sample(modules, min(len(modules), 2 * _PIECES))]
        sorts = {
            "descriptions": _pieces(described, Random(name)),
            "licences": [text[:_PIECE] for text in licences],
            "documentation": [text for content in code for text in _docstrings(content)],
            "source code": [piece for content in code for piece in _pieces(content, Random(name))[:1]],
        }
        for sort, texts in sorts.items():
            yield from ((name, sort, text) for text in texts[:_PIECES])


def _read(package: importlib.metadata.Distribution, file: str) -> str:
    path = Path(str(package.locate_file(file)))
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _docstrings(content: str) -> list[str]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return []
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    found = sorted((ast.get_docstring(node) or "" for node in nodes), key=len, reverse=True)
    return [text for text in found[:2] if len(text) >= _LEAST]


def _pieces(text: str, random: Random, number: int = _PIECES) -> list[str]:
    """The beginning of a text, and pieces of different length from its inside, each from a line's beginning."""
    lines = text.splitlines()
    starts = sorted(random.sample(range(len(lines)), min(len(lines), number - 1))) if lines else []
    inside = ["\n".join(lines[start : start + random.randint(2, 30)]) for start in starts]
    return [text[:_PIECE], *(piece[:_PIECE] for piece in inside)]


def folder_texts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """File, folder and text of pieces of the PDFs and texts in a folder: the same ones each time."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = f"{folder.name}/{path.relative_to(folder)}"
        if path.suffix.lower() == ".pdf":
            found += [(name, f"{folder.name}, PDF", text) for text in _pages(path)]
        elif path.suffix.lower() in _TEXT_FILES:
            content = path.read_text(encoding="utf-8", errors="replace")
            number = 2 if len(content) < _BOOK else _MOST // 6
            found += [(name, f"{folder.name}, text", text) for text in _pieces(content, Random(name), number)]
    found = [row for row in found if len(row[2].strip()) >= _LEAST]
    yield from sorted(found, key=lambda row: unit_hash(f"{row[0]} {row[2][:_LEAST]}"))[:_MOST]


def _pages(path: Path) -> list[str]:
    """The text layer of the first pages; none of a PDF that is encrypted or damaged, as test files often are."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(path)
        pages = [document[number] for number in range(min(_PAGES, len(document)))]
        return [page.get_textpage().get_text_range()[: 2 * _PIECE] for page in pages]
    except PdfiumError:
        return []


if __name__ == "__main__":
    main()
