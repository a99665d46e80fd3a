"""The benchmark of a sampled inbox: what was found of each document, against what it is."""

from __future__ import annotations

import pandas as pd

from benchmarks.inbox import compare


def test_documents_are_counted_by_their_kind_their_route_and_their_reason() -> None:
    truth = pd.DataFrame(
        [
            ("a.eml", "ticket", "in_scope"),
            ("b.eml", "ticket", "in_scope"),
            ("c.pdf", "contract", "in_scope"),
            ("d.eml", "oos", "out_of_scope"),
            ("e.eml", "oos", "out_of_scope"),
            ("f.pdf", "encrypted_document", "broken"),
            ("g.pdf", "no_text_found", "broken"),
            ("h.pdf!pages-0001-0001", "ticket", "in_scope"),
            ("h.pdf!pages-0002-0003", "receipt", "in_scope"),
            ("i.pdf", "contract", "in_scope"),
        ],
        columns=["document_id", "label", "outcome"],
    )
    classified = pd.DataFrame(
        [
            ("a.eml", None, "ticket", "escalated"),
            ("c.pdf#1", "c.pdf", "contract", "accepted"),
            ("c.pdf#2", "c.pdf", "contract", "escalated"),
            ("d.eml", None, "ticket", "accepted"),
            ("e.eml", None, "ticket", "escalated"),
            ("h.pdf", None, "ticket", "escalated"),
            ("i.pdf!pages-0001-0002", None, "contract", "escalated"),
            ("i.pdf!pages-0003-0003", None, "contract", "escalated"),
        ],
        columns=["document_id", "parent_id", "document_type", "route"],
    )
    rejected = pd.DataFrame(
        [("b.eml", "unknown_kind"), ("f.pdf", "encrypted_document")], columns=["document_id", "reason_code"]
    )
    assert [" ".join(line.split()) for line in compare(truth, classified, rejected)] == [
        "accounted for 9 of 10 documents, each once",
        "2 of them in packets that go to people whole, 1 cut into several",
        "kind right 2 of 6, 33.3%",
        "1 ticket → unknown_kind",
        "kept out 1 of 2 strangers, 50.0%: not accepted",
        "right reason 1 of 2 broken documents",
    ]
