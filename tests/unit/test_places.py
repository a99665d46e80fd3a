from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from warehouse.folder import FolderWarehouse
from warehouse.places import warehouse_at


@pytest.mark.parametrize(
    "place", ["s3:/company/docyard", "s3//company/docyard", "gs:company", "S3:/company", "hdfs:/x"]
)
def test_a_mistyped_uri_is_no_folder_of_that_name(place: str) -> None:
    with pytest.raises(ConfigError, match=f"found '{place}', expected a URI such as s3://BUCKET/FOLDER, or ./{place} "):
        warehouse_at(place)


def test_a_path_is_a_folder_whatever_is_in_its_name() -> None:
    for place in ("warehouse", "s3", "s3/docyard", "./s3:/company", "/data/a:b/c", "run 12:30"):
        warehouse = warehouse_at(place)
        assert isinstance(warehouse, FolderWarehouse)
        assert warehouse.root == Path(place).absolute()
