from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.shards import Shard, SourceFile
from transforms.redo import select_candidates, select_documents

CONTAINERS = {
    "a.zip!0001/x.txt": "a.zip",
    "a.zip!0002/b.zip/0001/y.txt": "a.zip!0002/b.zip",
    "a.zip!0003/scan.pdf/pages-0001-0002": "a.zip!0003/scan.pdf",
    "a.zip.txt": None,
    "a/c.txt": None,
    "ticket!5": None,
}


def shard_of(containers: dict[str, str | None]) -> Shard:
    table = pa.table(
        {
            "document_id": pa.array(containers, pa.string()),
            "container_id": pa.array(containers.values(), pa.string()),
            "unpacked": pa.array([container is not None for container in containers.values()]),
        }
    )
    files = tuple(SourceFile(f"file:///{name}", name) for name in containers)
    return Shard(0, 0, "file:///in", "document", files=files, records=len(containers), table=table)


@pytest.mark.parametrize(
    ("named", "selected"),
    [
        ("a.zip", [0, 1, 2]),
        ("a.zip!0002/b.zip", [1]),
        ("a.zip!0003/scan.pdf", [2]),
        ("a.zip!0003/scan.pdf/pages-0001-0002", [2]),
        ("a.zip.txt", [3]),
        ("a", []),
        ("ticket", []),
    ],
)
def test_a_container_is_selected_with_all_that_lies_in_it_and_an_id_that_only_begins_alike_is_not(
    named: str, selected: list[int]
) -> None:
    found = select_documents(shard_of(CONTAINERS), [named])
    assert found.table is not None
    assert found.table["document_id"].to_pylist() == [[*CONTAINERS][place] for place in selected]
    assert found.records + found.unpacked == len(selected)


@pytest.mark.parametrize("named", ["a.zip", "a.zip!0002/b.zip/0001/y.txt", "a.zip!0003/scan.pdf/pages-0001-0002"])
def test_a_file_that_may_hold_a_document_is_a_candidate_and_no_other_is(named: str) -> None:
    found = select_candidates(shard_of({"a.zip": None, "a": None, "b.zip": None}), [named])
    assert found.table is not None
    assert found.table["document_id"].to_pylist() == [file.document_id for file in found.files] == ["a.zip"]
