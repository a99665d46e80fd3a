"""Texts out of files as they arrive: PDFs, pictures, mails, Office files, web pages and archives."""
