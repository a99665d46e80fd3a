"""The configuration of `docyard queue`: the queue and its LLM; one TOML file, or flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from schemas.configuration import DatabaseUrl, FolderText, IsoDate, Within, load_values, validated
from schemas.examples_config import ExamplesConfig
from schemas.watching_config import WatchingConfig

EMBEDDED = "embedded"
MASKED_KINDS = ("email", "phone", "iban", "card", "national_id")
NATIONAL_IDS = (
    *("us.ssn", "gb.nhs", "ca.sin", "au.tfn", "de.idnr", "fr.nir", "es.dni", "es.nie", "it.codicefiscale"),
    *("nl.bsn", "be.nn", "ch.ssn", "pl.pesel", "se.personnummer", "dk.cpr", "fi.hetu", "br.cpf", "in_.aadhaar"),
)


def _one_of(allowed: tuple[str, ...]) -> AfterValidator:
    def checked(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"expected {', '.join(allowed)}, found {value!r}")
        return value

    return AfterValidator(checked)


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one line of text, found a line break or control character")
    return text


def _label(text: str) -> str:
    if not text:
        raise ValueError("expected the name of a label, found an empty string")
    return text


def _function(text: str) -> str:
    module, colon, function = text.partition(":")
    if text and not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"expected module:function, such as our_names:find, found {text!r}")
    return text


def _endpoint(url: str) -> str:
    """The URL is never quoted whole: it may hold a password."""
    if url == EMBEDDED:
        return url
    expected = 'expected "embedded" or a URL such as https://llm.example/v1'
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is not a number
        raise ValueError(f"{expected}, found one that is malformed") from None
    if not usable or parts.username or parts.password or parts.query or parts.fragment or not url.isprintable():
        raise ValueError(
            f"{expected}, without user, password or query, found {parts.scheme}://{parts.hostname or ''}; the key "
            "belongs into DOCYARD_LLM_API_KEY"
        )
    return url


OneLine = Annotated[str, AfterValidator(_one_line)]
Price = Annotated[float, Within("[0, 1000000]")]


@validated
class QueueConfig:
    """The queue's place, and its patience."""

    database: DatabaseUrl = ""
    """`sqlite:///FILE` or `postgresql://USER@HOST/NAME`; `""` for `queue.sqlite` in the warehouse."""
    lease_seconds: Annotated[float, Within("(0, 86400]")] = 300.0
    """Longest time a worker may hold an item; at least 1.5 times `llm.timeout_seconds`."""
    max_attempts: Annotated[int, Within("[1, 100]")] = 5
    """Calls without a valid answer after which people take over."""
    max_losses: Annotated[int, Within("[1, 100]")] = 5
    """Workers lost with an item after which it is dead."""
    retry_seconds: Annotated[float, Within("(0, 3600]")] = 2.0
    """First wait after a failure; doubles with each, give or take a half."""
    max_retry_seconds: Annotated[float, Within("(0, 86400]")] = 300.0
    """Longest wait, also if the endpoint asks for a longer one."""
    batch_hours: Annotated[float, Within("(0, 720]")] = 26.0
    """Longest time a batch may take before its items are pending again."""
    reuse_decisions: bool = True
    """A decision of people also settles later items of the same document and text."""
    reuse_days: Annotated[float, Within("[0, 36500]")] = 0.0
    """Greatest age of such a decision; 0 for any age."""


@validated
class LabelConfig:
    """A label as the LLM reads it."""

    label: Annotated[str, AfterValidator(_label)]
    """Its name in the small model."""
    description: OneLine
    """Its meaning, shown to the LLM after the label."""


@validated
class LlmConfig:
    """The LLM, and the way it is asked."""

    base_url: Annotated[str, AfterValidator(_endpoint)] = EMBEDDED
    """The OpenAI-compatible endpoint, up to where `/chat/completions` follows; `"embedded"` for the embedded model."""
    model: str = ""
    """The model's name at the endpoint; required with one, ignored without."""
    answer: Literal["letter", "schema", "json"] = "letter"
    """`letter`: one token with its probabilities; `schema`: JSON held to a schema, which the embedded model always
    uses; `json`: JSON that is only asked for."""
    thinking: bool = False
    """The model thinks before it answers: it gets room for that and no temperature, and answers by schema where
    `answer` is `letter`, because such models give no probabilities."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The endpoint's name for the bound on the answer's tokens; OpenAI's models since GPT-5 want
    `max_completion_tokens`."""
    max_tokens: Annotated[int, Within("[0, 1000000]")] = 0
    """Most tokens of an answer, thoughts included; 0 for 1 (a letter), 16 (a schema), 64 (JSON) or 4,096 (a model that
    thinks). The spending cap counts them all before a call."""
    send_temperature: bool = True
    """Ask for a temperature of 0; `false` for models that refuse it."""
    context: OneLine = ""
    """A sentence for every prompt, such as the origin of the documents; one line."""
    labels: tuple[LabelConfig, ...] = ()
    """`[[llm.labels]]`: descriptions of labels whose names do not say enough."""
    timeout_seconds: Annotated[float, Within("(0, 3600]")] = 60.0
    """Longest time of a whole call."""
    max_text_chars: Annotated[int, Within("[1, 10000000]")] = 8000
    """Most characters of a text that are sent."""
    examples: Annotated[int, Within("[0, 8]")] = 0
    """Nearest labelled examples in every prompt, of those in `[[examples]]`, masked like the document; 0 for none."""
    max_error: Annotated[float, Within("(0, 1)")] = 0.05
    """Largest share of errors among the items that a qualified vote may settle."""
    breaker_failures: Annotated[int, Within("[1, 10000]")] = 10
    """Failures in a row after which calls pause."""
    breaker_seconds: Annotated[float, Within("(0, 3600]")] = 5.0
    """First pause; doubles with each further failure."""
    max_outage_seconds: Annotated[float, Within("(0, 86400]")] = 600.0
    """Time without any success after which the drain ends."""
    trial_calls: Annotated[int, Within("[1, 1000]")] = 5
    """Refused calls in a row, without any success, after which the set-up is at fault, not the documents."""

    def __post_init__(self) -> None:
        if self.base_url != EMBEDDED and not self.model:
            raise ValueError(".model: name the model, as the endpoint calls it")
        if len({label.label for label in self.labels}) < len(self.labels):
            raise ValueError(".labels: a label has two descriptions; remove one")


@validated
class PriceConfig:
    """A model's price, and the date it was known on."""

    model: str
    """As `llm.model`."""
    as_of: IsoDate
    """The date the price was looked up."""
    input_per_million: Price
    """Price of a million tokens sent, in the budget's currency."""
    output_per_million: Price
    """Price of a million tokens received."""
    batch_share: Annotated[float, Within("[0, 1]")] = 0.5
    """A batch's share of these prices."""


@validated
class BudgetConfig:
    """Limits of spending."""

    max_spend: Annotated[float | None, Within("[0, inf)")] = None
    """Cap for the period, for all drains of the queue together; without it there is no cap."""
    period: Literal["day", "month", "ever"] = "day"
    """`day` or `month` in UTC, or `ever`."""
    currency: str = "USD"
    """Currency of all prices."""
    prices: tuple[PriceConfig, ...] = ()
    """`[[budget.prices]]`: prices of the models."""

    def __post_init__(self) -> None:
        if len({price.model for price in self.prices}) < len(self.prices):
            raise ValueError(".prices: a model has two prices; remove one")


@validated
class MaskingConfig:
    """Masking of a text before it leaves the machine."""

    enabled: bool = True
    """`false` sends texts as they are, and records that in the audit trail."""
    kinds: tuple[Annotated[str, _one_of(MASKED_KINDS)], ...] = MASKED_KINDS
    """Kinds of values to look for."""
    phone_regions: tuple[str, ...] = ("US", "GB", "DE", "FR")
    """Countries whose phone numbers are found without a country code."""
    national_ids: tuple[Annotated[str, _one_of(NATIONAL_IDS)], ...] = NATIONAL_IDS
    """National ids to look for, by country and name; a subset of the default."""
    names: Annotated[str, AfterValidator(_function)] = ""
    """A recogniser of names, as `module:function`; `""` leaves names as they are."""


@validated
class PriorityConfig:
    """The cost of a mistake on a document of one type, relative to others."""

    document_type: str
    """The kind of document."""
    weight: Annotated[float, Within("[0, 1000000000]")] = 1.0
    """Factor of the cost."""
    value_field: str = ""
    """A metadata field whose number multiplies the cost, such as an amount."""


@validated
class AuditsConfig:
    """Accepted answers that are drawn from each run for people to judge."""

    per_run: Annotated[int, Within("[0, 100000]")] = 50
    """Answers drawn among all accepted ones of a run and document type."""
    per_label: Annotated[int, Within("[0, 10000]")] = 2
    """Fewest answers drawn with each accepted label, as far as there are so many."""
    confidence: Annotated[float, Within("(0, 1)")] = 0.95
    """Probability that all bounds of a bundle hold at every moment."""


@validated
class DrainConfig:
    """Everything that decides what a drain does."""

    warehouse: FolderText = "warehouse"
    """Folder or URI of the published tables."""
    queue: QueueConfig = QueueConfig()
    """The queue."""
    llm: LlmConfig = LlmConfig()
    """The LLM."""
    budget: BudgetConfig = BudgetConfig()
    """Limits of spending."""
    masking: MaskingConfig = MaskingConfig()
    """Masking."""
    audits: AuditsConfig = AuditsConfig()
    """Audits of accepted answers."""
    priorities: tuple[PriorityConfig, ...] = ()
    """`[[priorities]]`: the cost of a mistake, by document type."""
    examples: tuple[ExamplesConfig, ...] = ()
    """`[[examples]]`: labelled texts to draw `llm.examples` from, a file for each document type."""
    watching: WatchingConfig = WatchingConfig()
    """The monitoring of a drain."""

    def __post_init__(self) -> None:
        queue, llm, budget = self.queue, self.llm, self.budget
        if llm.examples and not self.examples:
            raise ValueError(".llm.examples: no [[examples]] says where they come from; add one, or set it to 0")
        if queue.lease_seconds < llm.timeout_seconds * 1.5:
            raise ValueError(
                f".queue.lease_seconds: expected at least 1.5 times llm.timeout_seconds ({llm.timeout_seconds:g}), "
                f"found {queue.lease_seconds:g}; a lease must outlast a call"
            )
        known = llm.base_url == EMBEDDED or any(price.model == llm.model for price in budget.prices)
        if budget.max_spend is not None and not known:
            raise ValueError(
                f".budget.max_spend: the price of {llm.model!r} is unknown, so that the cap cannot be enforced; add "
                "[[budget.prices]] for it"
            )


def load_drain_config(path: Path | None, overrides: dict[str, Any]) -> DrainConfig:
    """Reads the TOML file at `path`, if any, and lays `overrides` (same nesting, flags given) over it.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown or missing, or a value cannot be used.
    """
    return load_values(DrainConfig, path, overrides)
