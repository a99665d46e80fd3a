from __future__ import annotations

import pytest

from fallback.masking import Masker
from schemas.fallback_config import MaskingConfig

MASKER = Masker(MaskingConfig())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to anna.m+x@mail.example.co.uk now", "write to [EMAIL_1] now"),
        ("call +44 20 7946 0958 today", "call [PHONE_1] today"),
        ("call (415) 555-2671 today", "call [PHONE_1] today"),
        ("IBAN DE89 3704 0044 0532 0130 00, thanks", "IBAN [IBAN_1], thanks"),
        ("iban gb82west12345698765432", "iban [IBAN_1]"),
        ("card 4111 1111 1111 1111 expired", "card [CARD_1] expired"),
        ("card 4111-1111-1111-1111.", "card [CARD_1]."),
        ("my SSN is 536-90-4399", "my SSN is [ID_1]"),
        ("DNI 54362315K", "DNI [ID_1]"),
        ("Steuer-ID 36 574 261 809", "Steuer-ID [ID_1]"),
        ("PESEL 44051401359", "PESEL [ID_1]"),
        ("CPF 390.533.447-05 ok", "CPF [ID_1] ok"),
        ("NHS 943 476 5870", "NHS [ID_1]"),
    ],
)
def test_what_points_at_a_person_is_taken_out(text: str, masked: str) -> None:
    assert MASKER.mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "DNI 54362315A",
        "invoice 2026-11-22 for 1,234.50 EUR",
        "version 1.2.3.4 of build 20261122",
        "the reference is 0000 0000 0000 0000",
        "order 12345",
        "a@b and @home",
    ],
)
def test_what_does_not_check_out_stays(text: str) -> None:
    assert MASKER.mask(text).text == text


@pytest.mark.parametrize("text", ["card 4111 1111 1111 1112", "IBAN DE89 3704 0044 0532 0130 02"])
def test_a_wrong_check_digit_makes_no_card_and_no_iban(text: str) -> None:
    assert not {"card", "iban"} & set(MASKER.mask(text).counts)  # a part of it may pass for an id: better so


def test_the_same_value_has_the_same_placeholder_in_a_document() -> None:
    masked = MASKER.mask("a@x.org, b@x.org, A@X.org; +44 20 7946 0958 or +442079460958")
    assert masked.text == "[EMAIL_1], [EMAIL_2], [EMAIL_1]; [PHONE_1] or [PHONE_1]"
    assert dict(masked.counts) == {"email": 3, "phone": 2}
    assert set(masked.values) == {"[EMAIL_1]", "[EMAIL_2]", "[PHONE_1]"}


def test_a_text_without_anything_to_mask_is_unchanged() -> None:
    text = "Where is my parcel? It is late.\n\n\tÄöü 你好 \u200b" * 20
    assert MASKER.mask(text).text == text
    assert not MASKER.mask(text).counts


def test_only_the_configured_kinds_are_masked() -> None:
    text = "a@x.org +44 20 7946 0958"
    assert Masker(MaskingConfig(kinds=("email",))).mask(text).text == "[EMAIL_1] +44 20 7946 0958"
    assert Masker(MaskingConfig(enabled=False)).mask(text).text == text
    assert Masker(MaskingConfig(enabled=False)).description == "off"


def test_names_and_addresses_are_not_found_which_the_documents_say() -> None:
    text = "Anna Meier, 12 Long Lane, Leeds LS1 4AB"
    assert MASKER.mask(text).text == text


def test_a_long_text_of_pieces_takes_no_long_time() -> None:
    MASKER.mask("A1 " * 5_000)
    MASKER.mask("a." * 5_000 + "@")
    MASKER.mask("1-" * 5_000)
