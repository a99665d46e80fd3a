"""The result cache against a dictionary."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_result_cache import LARGE, TODAY, keys_for, scores_for
from transforms.result_cache.cache import ResultCache
from transforms.result_cache.compaction import compact_caches

TEXTS = st.lists(st.text(max_size=3), unique=True, max_size=30)


@settings(max_examples=40, deadline=None)
@given(runs=st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), max_size=5))
def test_it_finds_just_what_was_added_before_the_last_compaction(
    runs: list[tuple[list[str], list[str], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "identity"
        compacted: set[str] = set()
        added: set[str] = set()
        for number, (new, asked, compacts) in enumerate(runs):
            cache = ResultCache(folder, TODAY)
            keys = keys_for(asked)
            found = cache.find(keys)
            assert found.rows.tolist() == [row for row, text in enumerate(asked) if text in compacted]
            expected = scores_for([asked[row] for row in found.rows.tolist()])
            assert found.top_label_ids.tolist() == expected.top_label_ids.tolist()
            assert found.familiarity.tolist() == expected.familiarity.tolist()
            cache.add(f"run{number}", keys_for(new), scores_for(new))
            added |= set(new)
            if compacts:
                compact_caches(Path(root), LARGE)
                compacted = set(added)
