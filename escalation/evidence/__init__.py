"""Evidence: the audit trail, checked and exported; and the erasure of documents."""
