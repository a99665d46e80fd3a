"""The documents of the review, against the code they describe."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from schemas.review_config import (
    DueConfig,
    FourEyesConfig,
    ReviewConfig,
    ServerConfig,
    SessionConfig,
    load_review_config,
)
from tests.docs.test_docs import CONFIGURATION, ROOT, check_keys, fenced, names_of

REVIEW = "".join((ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("review", "evidence"))
TABLES = {
    "Top level of a review": ReviewConfig,
    "`[server]`": ServerConfig,
    "`[sessions]`": SessionConfig,
    "`[four_eyes]`": FourEyesConfig,
    "`[due]`": DueConfig,
}


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_of_a_review_is_documented_with_its_default_and_no_other_is(heading: str) -> None:
    check_keys(heading, TABLES[heading])


def test_the_complete_file_of_a_review_holds_every_key_with_its_default(tmp_path: Path) -> None:
    code = fenced(CONFIGURATION, "toml")[2]
    path = tmp_path / "review.toml"
    path.write_text(code, encoding="utf-8")
    assert load_review_config(path) == ReviewConfig()
    written = tomllib.loads(code)
    assert set(written) == names_of(ReviewConfig)
    for name in ("server", "sessions", "four_eyes", "due"):
        assert set(written[name]) == names_of(type(getattr(ReviewConfig(), name))), name


def test_every_picture_is_shown_and_small() -> None:
    shown = {path.name for path in (ROOT / "docs/images").glob("review-*.png") if f"images/{path.name}" in REVIEW}
    pictures = list((ROOT / "docs/images").glob("review-*.png"))
    assert shown == {path.name for path in pictures}
    assert all(path.stat().st_size < 150_000 for path in pictures)
