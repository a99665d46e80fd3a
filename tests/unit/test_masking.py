from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.masking import PARTIAL, cases, left_in_clear, overmasked
from escalation.masking.masker import Masker, UnmaskableError
from schemas.drain_config import DrainConfig, MaskingConfig
from schemas.errors import ConfigError

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


def test_a_value_in_other_characters_is_the_same_value() -> None:
    masked = MASKER.mask("4111 1111 1111 1111, \uff14111-1111-1111-1111, anna&#64;x.org, anna@x.org")
    assert masked.text == "[CARD_1], [CARD_1], [EMAIL_1], [EMAIL_2]"  # encoded, it may be another one


def test_a_text_without_anything_to_mask_is_unchanged() -> None:
    text = "Where is my parcel? It is late.\n\n\tÄöü 你好 \u200b" * 20
    assert MASKER.mask(text).text == text
    assert not MASKER.mask(text).counts


def test_only_the_configured_kinds_are_masked() -> None:
    text = "a@x.org +44 20 7946 0958"
    assert Masker(MaskingConfig(kinds=("email",))).mask(text).text == "[EMAIL_1] +44 20 7946 0958"
    assert Masker(MaskingConfig(enabled=False)).mask(text).text == text
    assert Masker(MaskingConfig(enabled=False)).description == "off"


def test_without_a_recogniser_names_and_addresses_stay_which_the_documents_say() -> None:
    text = "Anna Meier, 12 Long Lane, Leeds LS1 4AB"
    assert MASKER.mask(text).text == text


CARD = "4111 1111 1111 1111"
IBAN = "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ref 2026 5165 6363 4350 8603", "ref 2026 [CARD_1]"),
        ("ref 20261122 5165 6363 4350 8603", "ref 20261122 [CARD_1]"),
        ("カード番号は4111111111111111です", "カード番号は[CARD_1]です"),
        ("number4111111111111111please", "number[CARD_1]please"),
        ("card 4111\u202f1111\u202f1111\u202f1111", "card [CARD_1]"),
        ("card 4111  1111  1111  1111", "card [CARD_1]"),
        ("card 4111\u20131111\u20131111\u20131111", "card [CARD_1]"),
        ("card 4111\t1111\t1111\t1111", "card [CARD_1]"),
        ("card 4111, 1111, 1111, 1111", "card [CARD_1]"),
        ("card 4111 1111\n> 1111 1111", "card [CARD_1]"),
        ("card 4111 11\n11 1111 1111", "card [CARD_1]"),
        ("card 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "card [CARD_1]"),
        ("card \uff14\uff11\uff11\uff11 1111 1111 1111", "card [CARD_1]"),
        ("card \u0664\u0661\u0661\u0661 1111 1111 1111", "card [CARD_1]"),
        ("card 4111 <b>1111</b> 1111&nbsp;1111 ok", "card [CARD_1] ok"),
        ("card 41\u00ad11 1111\u200b 1111 1111", "card [CARD_1]"),
        ("?pan=4111%201111%201111%201111&x=1", "?pan=[CARD_1]&x=1"),
        ("pan 4111=201111=20=\n1111=201111", "pan [CARD_1]"),
        ("amex 3782 822463 10005, diners 3056 930902 5904", "amex [CARD_1], diners [CARD_2]"),
        ("19 digits 4000 0000 0000 0000 006", "19 digits [CARD_1]"),
        (f"{CARD} 12/27", "[CARD_1] 12/27"),
        (f"between 1,234.50 and 49.90 EUR: {CARD}", "between 1,234.50 and 49.90 EUR: [CARD_1]"),
        ("IBANDE89370400440532013000bitte", "IBAN[IBAN_1]bitte"),
        ("iban:de89 3704 0044 0532 0130 00.", "iban:[IBAN_1]."),
        (f"口座{IBAN}です", "口座[IBAN_1]です"),
        ("DE89\u20113704\u20110044\u20110532\u20110130\u201100", "[IBAN_1]"),
        ("DE89 3704 0044\n0532 0130 00", "[IBAN_1]"),
        ("anna.tanaka%40example.org", "[EMAIL_1]"),
        ("anna.tanaka%2540example.org", "[EMAIL_1]"),
        ("連絡先anna@example.orgまでご連絡いただけますと大変助かりますよろしく", "連絡先[EMAIL_1]まで"),
        ("anna&#64;example.org, anna&commat;example.org", "[EMAIL_1], [EMAIL_2]"),
        ("anna=40example.org", "[EMAIL_1]"),
        ("anna [at] example [dot] org", "[EMAIL_1]"),
        ("anna(at)example.org", "[EMAIL_1]"),
        ("write to anna @ example.org", "write to [EMAIL_1]"),
        ("D E 8 9 3 7 0 4 0 0 4 4 0 5 3 2 0 1 3 0 0 0", "[IBAN_1]"),
        ("4111          1111          1111          1111", "[CARD_1]"),
        ("%B4111111111111111^TANAKA/ANNA", "%B[CARD_1]^TANAKA/ANNA"),
        ("anna\uff20example.org", "[EMAIL_1]"),
        ("anna@example\u3002org", "[EMAIL_1]"),
        ("mailto:anna@example.org?subject=x", "mailto:[EMAIL_1]?subject=x"),
        ("write to anna@example.org...", "write to [EMAIL_1]..."),
        ('"anna tanaka"@example.org', "[EMAIL_1]"),
        ("jörg@bücher.example and x@xn--bcher-kva.example", "[EMAIL_1] and [EMAIL_2]"),
        ("anna@例え.テスト", "[EMAIL_1]"),
        ("bounces+anna=example.org@lists.example.net", "[EMAIL_1]"),
        ("<anna@example.org>; anna@[192.0.2.1]", "<[EMAIL_1]>; [EMAIL_2]"),
        ("call \uff0b44 20 7946 0958 or +44\u202f20\u202f7946\u202f0958", "call [PHONE_1] or [PHONE_1]"),
        ("電話+44 20 7946 0958です", "電話[PHONE_1]です"),
        ("call +1 415-555-2671 ext. 123 now", "call [PHONE_1] now"),
        ("tel4155552672", "tel[PHONE_1]"),
        ("ref 2026 0049 1512 3478742", "ref 2026 [PHONE_1]"),
        ("PESEL44051401359です", "PESEL[ID_1]です"),
        ("CF RSSMRA85T10A562S", "CF [ID_1]"),
        ("hetu 131052-308T", "hetu [ID_1]"),
        ("NIR 2 95 10 99 126 111 93", "NIR [ID_1]"),
    ],
)
def test_a_value_is_found_however_it_is_written_and_whatever_stands_beside_it(text: str, masked: str) -> None:
    found = MASKER.mask(text).text
    assert found.startswith(masked) if masked.endswith("まで") else found == masked


@pytest.mark.parametrize(
    "text",
    [
        f"{CARD} 5165 6363 4350 8603 3782 822463 10005",
        f"{CARD}\n{CARD}; 5165-6363-4350-8603/123 {IBAN} 12/27",
        f"+49 {CARD} 49.90",
        "4111111111111111=27121010000",
    ],
)
def test_of_several_numbers_in_a_row_nothing_is_left(text: str) -> None:
    left = re.sub(r"\[[A-Z]+_\d\]", "", MASKER.mask(text).text)
    assert sum(map(str.isdigit, left)) < 12
    assert not re.search(r"\d{4}\D?\d{4}\D?\d{4}", left)


def test_of_every_country_an_iban_is_found_and_a_card_of_every_issuer() -> None:
    sample = list(cases(1, seed=5, kinds=("card", "iban", "email")))[::3]
    assert len(sample) > 500
    missed = [case.text for case in sample if left_in_clear(case, MASKER.mask(case.text).text) >= PARTIAL]
    assert missed == []


def test_few_ids_and_phones_are_missed_and_few_harmless_texts_are_masked() -> None:
    sample = list(cases(1, seed=6, kinds=("national_id", "phone, no country code")))[::5]
    missed = [case.text for case in sample if left_in_clear(case, MASKER.mask(case.text).text) >= PARTIAL]
    assert len(missed) <= 0.005 * len(sample), missed
    masked = overmasked(MASKER, 50)
    quiet = ("date", "date, day first", "date and time", "amounts", "a receipt's column", "words with at")
    assert {sort: masked[sort] for sort in quiet} == dict.fromkeys(quiet, 0.0)
    assert max(masked.values()) < 0.8


def test_what_is_said_to_be_left_is_left() -> None:
    case = next(case for case in cases(1, kinds=("card",)) if case.context == "a sentence")
    value = case.text[case.start : case.end]
    digits = sum(map(str.isalnum, value))
    assert left_in_clear(case, case.text) == digits
    assert left_in_clear(case, case.text.replace(value, "[CARD_1]")) == 0
    assert left_in_clear(case, case.text.replace(value, "[ID_1]" + value[5:])) == sum(map(str.isalnum, value[5:]))


def test_places_in_a_reading_are_places_in_the_text() -> None:
    text = "\u200bä=40 &lt;b&gt;4\u00ad111%201111&#32;1111 1111&lt;/b&gt;\uff0canna&amp;#64;x.org\u200b!"
    masked = MASKER.mask(text)
    assert masked.text == "\u200bä=40 &lt;b&gt;[CARD_1]&lt;/b&gt;\uff0c[EMAIL_1]\u200b!"


@pytest.mark.parametrize("most", [0, 1, 10, 14, 30, 10_000])
def test_what_is_cut_off_is_masked_first(most: int) -> None:
    text = f"the card {CARD} and more words behind it"
    masked = MASKER.mask(text, most).text
    assert masked == (text[:most] if most <= 9 else f"the card [CARD_1]{text[28:most]}")


@pytest.fixture
def with_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Masker]]:
    """A masker whose recogniser of names is the function `find(text)` of this body."""

    def make(body: str) -> Masker:
        (tmp_path / "our_names.py").write_text(f"import re\n\ndef find(text):\n    {body}\n")
        return Masker(MaskingConfig(names="our_names:find"))

    monkeypatch.syspath_prepend(str(tmp_path))
    yield make
    sys.modules.pop("our_names", None)


def test_a_recogniser_of_names_finds_what_no_rule_does(with_names: Callable[[str], Masker]) -> None:
    masker = with_names('return [match.span() for match in re.finditer("Anna|Ben", text)]')
    masked = masker.mask("Anna, Ben and Anna: anna@example.org, Anna@example.org")
    assert masked.text == "[NAME_1], [NAME_2] and [NAME_1]: [EMAIL_1], [EMAIL_1]"
    assert masked.counts["name"] == 3
    assert masker.description.endswith(",name")


@pytest.mark.parametrize(
    "body", ["raise ValueError(text)", "return [(0, 10_000)]", "return [(5, 5)]", "return None", "return ['Anna']"]
)
def test_where_the_recogniser_fails_the_text_does_not_leave(with_names: Callable[[str], Masker], body: str) -> None:
    with pytest.raises(UnmaskableError) as failed:
        with_names(body).mask("Anna was here")
    assert "Anna" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None or failed.value.__suppress_context__


@pytest.mark.parametrize("name", ["no_such_module:find", "json:no_such_function"])
def test_a_recogniser_that_is_not_there_is_said_at_once(name: str) -> None:
    with pytest.raises(ConfigError, match=r"masking\.names: .* cannot be imported"):
        Masker(MaskingConfig(names=name))


@pytest.mark.parametrize("name", ["names", "names:", ":find", "a b:find", "names:find()"])
def test_a_recogniser_is_named_by_module_and_function(name: str) -> None:
    with pytest.raises(ConfigError, match="expected module:function"):
        DrainConfig(masking=MaskingConfig(names=name))


def test_only_the_wanted_part_of_a_long_text_is_looked_at(with_names: Callable[[str], Masker]) -> None:
    masker = with_names("assert len(text) <= 10_000; return []")
    assert masker.mask("x" * 10_000_000, 8_000).text == "x" * 8_000


@pytest.mark.parametrize("unit", ["1", "@", "a@", "é", "\u200b", "a.", "<a ", "<!--", '"', "[", "あ", "Anna wrote. "])
def test_a_long_text_takes_no_long_time(unit: str) -> None:
    assert MASKER.mask(unit * (100_000 // len(unit))).text


@pytest.mark.parametrize("unit", ["1 ", "1234 ", "A1 ", "DE89 ", "%40", "&#64;", "=40", "(at)", "+1 ", "1-", "a@a."])
def test_a_text_of_pieces_takes_no_long_time(unit: str) -> None:
    assert MASKER.mask(unit * (3_000 // len(unit))).text
