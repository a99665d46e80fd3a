"""The benchmark's picture: where matplotlib is installed, the same figures give the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")  # of the extra `benchmarks`

from benchmarks.plot import plot_speeds


def test_every_contender_is_in_the_picture_with_its_speed(tmp_path: Path) -> None:
    rows = [
        {"contender": name, "texts_per_second": speed, "texts_per_second_range": [0.9 * speed, 1.1 * speed]}
        for name, speed in (("docyard", 1234.0), ("somebody else", 100.0), ("words alone", 50_000.0))
    ]
    result = {"sets": {"tickets": {"contenders": rows, "mean_tokens": 17.2, "cores": 1}}}
    for name in ("a.svg", "b.svg"):
        plot_speeds(result, tmp_path / name)
    picture = (tmp_path / "a.svg").read_text()
    assert picture == (tmp_path / "b.svg").read_text()
    for words in ("docyard", "somebody else", "1,234", "50,000, bar cut", "tickets: 17 tokens a text, cores: 1"):
        assert f"<!-- {words} -->" in picture
