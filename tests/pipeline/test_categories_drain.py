from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import sqlalchemy as sa

from escalation.categories.deciding import approve
from escalation.categories.proposals import propose_categories
from escalation.clock import now_micros
from escalation.database import reading, transaction
from escalation.review.upkeep import run_upkeep
from escalation.tables import calls, categories, items
from tests.support.queue_databases import item_row
from tests.support.review_cases import ANNA, CARO, CONFIG, hire
from tests.support.scripted_llm import Request, ScriptedLlm
from tests.support.small_drains import drain, drain_config, rows_of

pytestmark = pytest.mark.databases("sqlite")


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.eye(2, dtype=np.float32)[[int("parcel" not in text) for text in texts]]


def finds_no_other_label(request: Request) -> str:
    """Chooses the new category for parcels where it is offered, else none of the options."""
    offered = [label for label in request.options if label.startswith("lost parcel")]
    return offered[0] if offered and "parcel" in request.document else "none of these"


def test_after_an_adoption_the_llm_is_asked_again_about_its_documents_only_and_offered_it(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    llm.choose = finds_no_other_label
    texts = [f"my parcel is gone, number {n}" for n in range(4)] + [f"a praise for the clerk {n}" for n in range(2)]
    with transaction(queue) as connection:
        rows = [
            item_row(f"k{n}", text=text, route_reason="unfamiliar", not_before=0, content_hash=f"hash {n}")
            for n, text in enumerate(texts)
        ]
        connection.execute(sa.insert(items), rows)
    hire(queue)
    config = drain_config(llm.url)
    drain(queue, config)
    assert {row["code"] for row in rows_of(queue)} == {"none_of_the_candidates"}
    asked = len(llm.requests())
    now = now_micros()
    run_upkeep(queue, CONFIG, now)
    propose_categories(queue, "ticket", now, min_size=3, embed=embed)
    for person in (ANNA, CARO):
        with transaction(queue) as connection:
            row = connection.execute(sa.select(categories)).mappings().one()
            words = ("lost parcel", "A parcel that did not arrive.")
            approve(connection, person, row["category_id"], row["revision"], *words, now)
    run_upkeep(queue, CONFIG, now)
    with reading(queue) as connection:
        codes = dict(connection.execute(sa.select(items.c.item_key, items.c.code)).all())
    assert codes == dict.fromkeys(["k0", "k1", "k2", "k3"], "requeued") | dict.fromkeys(
        ["k4", "k5"], "none_of_the_candidates"
    )

    drain(queue, config)
    again = llm.requests()[asked:]
    assert sorted(request.document for request in again) == texts[:4]
    assert all("lost parcel: A parcel that did not arrive." in request.options for request in again)
    found = {row["item_key"]: row["code"] for row in rows_of(queue)}
    assert found == codes | dict.fromkeys(["k0", "k1", "k2", "k3"], "backend_unqualified")
    answers = sorted(row["answer"] for row in rows_of(queue, calls))
    assert answers == [""] * 6 + ["lost parcel"] * 4
    drain(queue, config)
    assert len(llm.requests()) == asked + 4
