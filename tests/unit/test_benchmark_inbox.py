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
        ],
        columns=["document_id", "parent_id", "document_type", "route"],
    )
    rejected = pd.DataFrame(
        [("b.eml", "unknown_kind"), ("f.pdf", "encrypted_document")], columns=["document_id", "reason_code"]
    )
    assert [" ".join(line.split()) for line in compare(truth, classified, rejected)] == [
        "accounted for 6 of 7 documents, each once",
        "kind right 2 of 3, 66.7%",
        "1 ticket → unknown_kind",
        "kept out 1 of 2 strangers, 50.0%: not accepted",
        "right reason 1 of 2 broken documents",
    ]
