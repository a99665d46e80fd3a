"""certificate.html: the certificate for people, with the risk-coverage curve; it runs nothing and loads nothing."""

from __future__ import annotations

from models.certificate import Certificate
from models.evaluation.report import template


def certificate_page(certificate: Certificate, name: str) -> str:
    """The page of a bundle's certificate; the same certificate gives the same page.

    Args:
        certificate: of the bundle.
        name: of the bundle.
    """
    curve = [{"coverage": coverage, "error": error} for coverage, error in certificate.curve]
    return template("certificate.html").render(certificate=certificate, name=name, curve=curve)
