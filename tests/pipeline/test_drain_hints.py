"""Labelled examples and adopted categories in the LLM's prompt: masked, logged, counted, and part of its version."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.categories.taxonomy import adopt_category
from escalation.database import reading, transaction
from escalation.examples import LabelledExamples, open_examples
from escalation.llm.backends import backend_name
from escalation.llm.batches import export_batch
from escalation.llm.calls import DrainContext
from escalation.llm.drain import Drain
from escalation.llm.endpoint import Endpoint
from escalation.llm.hints import Hints
from escalation.llm.prompt import Prompt, build_prompt, prompt_version
from escalation.llm.qualification import LabelledText, qualify
from escalation.llm.work import make_prompt
from escalation.masking.masker import Masker
from escalation.report import estimate
from escalation.tables import calls, egress, qualifications
from models.bundle import load_bundle
from models.classifier import Classifier
from models.neighbours import content_of
from schemas.drain_config import DrainConfig, LlmConfig, MaskingConfig
from schemas.errors import ConfigError, InputError
from schemas.examples_config import ExamplesConfig
from tests.support.queue_databases import NOON
from tests.support.scripted_llm import ScriptedLlm
from tests.support.small_drains import codes_of, drain_config, put_items, rows_of
from tests.support.small_drains import qualify as as_if_qualified
from tests.support.small_runs import write_jsonl

pytestmark = pytest.mark.databases("sqlite")

TEXT = "where is my parcel, it is late"
ROWS = [
    {"text": "my parcel is late, call +49 30 901820 or anna.tanaka@example.org", "label": "delivery", "letter": "one"},
    {"text": "the courier lost the package, card 5165 6363 4350 8603", "label": "delivery", "letter": "two"},
    {"text": "refund the fee on my card", "label": "billing", "letter": "three"},
    {"text": "reset the password", "label": "vouchers", "letter": "four"},
    {"text": TEXT.upper(), "label": "delivery", "letter": "five"},
]
CANDIDATES = (("delivery", 0.5), ("billing", 0.3))
SECRETS = (b"901820", b"tanaka", b"8603", b"5165")
# Of the request that version 1 has always made of this document.
PLAIN_SHA256 = "d581534565b0b0eb862fc17b1a0f6d58"


@pytest.fixture
def source(tmp_path: Path, tiny_bundle_unchanged: Path) -> ExamplesConfig:
    path = write_jsonl(tmp_path / "examples.jsonl", ROWS)
    return ExamplesConfig(str(tiny_bundle_unchanged), str(path), document_column="letter")


@pytest.fixture
def examples(source: ExamplesConfig) -> dict[str, LabelledExamples]:
    return open_examples([source])


@pytest.fixture
def config(llm: ScriptedLlm, source: ExamplesConfig) -> DrainConfig:
    plain = drain_config(llm.url)
    return replace(plain, llm=replace(plain.llm, examples=2), examples=(source,))


@contextlib.contextmanager
def asking(
    queue: sa.Engine, config: DrainConfig, examples: Mapping[str, LabelledExamples], purpose: str = "drain"
) -> Iterator[DrainContext]:
    endpoint = Endpoint(config.llm.base_url, "", config.llm.timeout_seconds)
    yield DrainContext.configured(queue, config, purpose, endpoint, examples)
    endpoint.close()


def drained(queue: sa.Engine, config: DrainConfig, examples: Mapping[str, LabelledExamples]) -> None:
    with asking(queue, config, examples) as context:
        Drain(context, 1, threading.Event()).run()


def adopt(queue: sa.Engine, label: str, description: str = "") -> None:
    with transaction(queue) as connection:
        adopt_category(connection, "ticket", label, description, proposed_by="anna", adopted_by="caro", now=NOON)


def test_the_nearest_examples_are_asked_with_masked_and_logged(
    queue: sa.Engine, llm: ScriptedLlm, config: DrainConfig, examples: dict[str, LabelledExamples]
) -> None:
    put_items(queue, 1, text=TEXT)
    drained(queue, config, examples)
    [request] = llm.requests()
    assert not any(secret in request.body for secret in SECRETS)
    shown = request.user.split("=== example ")[1:]
    letter = request.options["delivery"]
    assert len(shown) == 2
    assert all(f"The letter of the best option: {letter}\n" in part for part in shown)
    assert "call [PHONE_1] or [EMAIL_1]" in request.user
    assert request.document == TEXT
    [logged] = rows_of(queue, egress)
    assert json.loads(logged["masked_counts"]) == {"card": 1, "email": 1, "phone": 1}
    assert logged["body_bytes"] == len(request.body)
    assert set(json.loads(logged["examples"])) == {content_of(row["text"]) for row in ROWS[:2]}


def test_a_batch_holds_them_masked_as_well(
    queue: sa.Engine, config: DrainConfig, examples: Mapping[str, LabelledExamples], tmp_path: Path
) -> None:
    put_items(queue, 1, text=TEXT)
    context = DrainContext.configured(queue, config, "batch", examples=examples)
    [file] = export_batch(context, tmp_path / "out").files
    written = file.read_bytes()
    assert written.count(b"=== example ") == 2
    assert not any(secret in written for secret in SECRETS)
    assert len(json.loads(rows_of(queue, egress)[0]["examples"])) == 2


def test_no_example_is_the_document_itself_or_another_of_its_letter(
    queue: sa.Engine, llm: ScriptedLlm, config: DrainConfig, examples: dict[str, LabelledExamples]
) -> None:
    put_items(queue, 1, text=TEXT, document_id="one-2", parent_id="one")
    drained(queue, replace(config, llm=replace(config.llm, examples=8)), examples)
    [request] = llm.requests()
    contents = set(json.loads(rows_of(queue, egress)[0]["examples"]))
    assert contents == {content_of(row["text"]) for row in ROWS[1:4]}
    none = next(letter for letter, label in json.loads(rows_of(queue, calls)[0]["options"]).items() if not label)
    assert f"reset the password\n=== end of example {mark_of('reset the password')} ===" in request.user
    assert f"best option: {none}\n" in request.user  # "vouchers" is no option


def mark_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_other_examples_or_more_of_them_make_another_request_and_the_same_ones_the_same(
    config: DrainConfig, examples: dict[str, LabelledExamples], source: ExamplesConfig
) -> None:
    masker = Masker(config.masking)

    def request(n: int, drawn_from: dict[str, LabelledExamples]) -> Prompt:
        return make_prompt(config, masker, TEXT, CANDIDATES, "seed", Hints((), drawn_from["ticket"], n))

    again = open_examples([source])
    write_jsonl(Path(source.path), ROWS[1:])
    fewer = open_examples([source])
    assert request(2, examples) == request(2, again)
    prompts = [request(1, examples), request(2, examples), request(2, fewer)]
    assert len({prompt.hash for prompt in prompts}) == len({prompt.version for prompt in prompts}) == 3


def test_without_examples_and_adopted_categories_a_request_is_the_one_it_always_was() -> None:
    llm = LlmConfig("https://llm.example/v1", "m")
    prompt = build_prompt(
        llm, ["billing", "delivery"], TEXT, "seed", None, Hints().masked(Masker(MaskingConfig()), TEXT)
    )
    assert prompt.version == "1" == prompt_version(llm, Hints().identity)
    assert prompt == build_prompt(llm, ["billing", "delivery"], TEXT, "seed")
    assert hashlib.sha256(prompt.body).hexdigest()[:32] == PLAIN_SHA256


def test_a_backend_that_was_qualified_without_examples_settles_nothing_with_them(
    queue: sa.Engine,
    llm: ScriptedLlm,
    config: DrainConfig,
    examples: dict[str, LabelledExamples],
    tiny_bundle_unchanged: Path,
) -> None:
    llm.choose = lambda request: "delivery"
    as_if_qualified(queue, backend_name(config.llm))
    put_items(queue, 1, text=TEXT)
    drained(queue, config, examples)
    assert codes_of(queue) == {"k00000": "backend_unqualified"}
    classifier = Classifier(load_bundle(tiny_bundle_unchanged), threads=1)
    rows = [LabelledText(f"{TEXT} {i}", "delivery", CANDIDATES) for i in range(20)]
    with asking(queue, config, examples, "qualify") as context:
        assert qualify(context, classifier, rows, "x", 1, threading.Event()) is not None
    classifier.close()
    newest = max(rows_of(queue, qualifications), key=lambda row: int(row["at"] != NOON))
    assert newest["prompt_version"] == {row["prompt_version"] for row in rows_of(queue, calls)}.pop()
    assert newest["prompt_version"] != "1"
    assert all("=== example " in request.user for request in llm.requests())


def test_a_reservation_and_an_estimate_count_the_examples(
    queue: sa.Engine, config: DrainConfig, examples: dict[str, LabelledExamples], llm: ScriptedLlm
) -> None:
    put_items(queue, 1, text=TEXT)
    with reading(queue) as connection:
        plain = estimate(connection, drain_config(llm.url))
        planned = estimate(connection, config)
    drained(queue, config, examples)
    [body] = [request.body for request in llm.requests()]
    assert planned["input_tokens"]["high"] == len(body) > plain["input_tokens"]["high"] + 200


def test_an_adopted_category_is_an_option_with_its_description_and_people_decide_where_it_is_chosen(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    config = drain_config(llm.url)
    description = "gifts on paper, ask anna.tanaka@example.org"
    adopt(queue, "vouchers", description)
    version = prompt_version(config.llm, Hints((("vouchers", description),)).identity)
    shown = "vouchers: gifts on paper, ask [EMAIL_1]"
    llm.choose = lambda request: shown if "voucher" in request.document else "delivery"
    as_if_qualified(queue, backend_name(config.llm), prompt_version=version)
    put_items(queue, 1, text="a voucher")
    drained(queue, config, {})
    [request] = llm.requests()
    assert shown in request.options
    [item] = rows_of(queue)
    assert (item["code"], item["vote_label"]) == ("not_covered", "vouchers")
    assert item["vote_confidence"] > 0.5


def test_an_adoption_makes_another_prompt_which_no_earlier_qualification_covers(
    queue: sa.Engine, llm: ScriptedLlm
) -> None:
    config = drain_config(llm.url)
    llm.choose = lambda request: "delivery"
    as_if_qualified(queue, backend_name(config.llm))
    put_items(queue, 1)
    drained(queue, config, {})
    assert codes_of(queue) == {"k00000": "llm_vote"}
    adopt(queue, "vouchers")
    with transaction(queue) as connection:
        connection.execute(sa.text("UPDATE items SET state = 'pending', code = 'requeued', document_id = 'other'"))
    drained(queue, config, {})
    assert codes_of(queue) == {"k00000": "backend_unqualified"}
    assert ["vouchers" in request.options for request in llm.requests()] == [False, True]


def test_candidates_come_before_categories_and_the_newest_categories_before_older_ones() -> None:
    adopted = tuple((f"category {number:02}", "") for number in range(30))
    hints = Hints(adopted).masked(Masker(MaskingConfig()), TEXT)
    options = build_prompt(LlmConfig(), ["a", "b", "category 29"], TEXT, "seed", None, hints).options
    assert len(options) == 20
    assert sorted(options.values()) == ["", "a", "b", *(f"category {number:02}" for number in range(13, 30))]


@pytest.mark.parametrize("change", ["rows", "file", "column", "two"])
def test_examples_that_cannot_be_used_are_refused_before_anything_is_asked(
    source: ExamplesConfig, tmp_path: Path, change: str
) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": " ", "label": "x"}\n')
    configs, error = {
        "rows": ([replace(source, path=str(tmp_path / "empty.jsonl"), document_column="")], InputError),
        "file": ([replace(source, path=str(tmp_path / "gone.jsonl"))], InputError),
        "column": ([replace(source, label_column="gold")], ConfigError),
        "two": ([source, source], ConfigError),
    }[change]
    with pytest.raises(error):
        open_examples(configs)
    with pytest.raises(ConfigError, match=r"no \[\[examples\]\]"):
        DrainConfig(llm=LlmConfig("https://llm.example/v1", "m", examples=1))
