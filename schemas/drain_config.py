"""The configuration of `docyard queue`: one TOML file as frozen dataclasses."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from schemas.errors import ConfigError
from schemas.paths import DatabaseUrl, PathText
from schemas.run_config import build, check_ranges, merge, read_toml

EMBEDDED = "embedded"
ANSWER_KINDS = ("letter", "schema", "json")
MAX_TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")
PERIODS = ("day", "month", "ever")
MASKED_KINDS = ("email", "phone", "iban", "card", "national_id")
NATIONAL_IDS = (
    *("us.ssn", "gb.nhs", "ca.sin", "au.tfn", "de.idnr", "fr.nir", "es.dni", "es.nie", "it.codicefiscale"),
    *("nl.bsn", "be.nn", "ch.ssn", "pl.pesel", "se.personnummer", "dk.cpr", "fi.hetu", "br.cpf", "in_.aadhaar"),
)


@dataclass(frozen=True)
class QueueConfig:
    """The queue's place and its patience.

    Attributes:
        database: URL of SQLite or PostgreSQL; "" for queue.sqlite in the warehouse.
        lease_seconds: longest time a worker may hold an item.
        max_attempts: calls without a valid answer after which people take over.
        max_losses: vanished workers after which an item is dead.
        retry_seconds: shortest wait after a failure; doubles with each.
        max_retry_seconds: longest wait, whatever the endpoint asks for.
        batch_hours: longest time an exported batch may take.
        reuse_decisions: True where a decision of people also settles later items of the same document and text.
        reuse_days: greatest age of such a decision; 0 for any age.
    """

    database: DatabaseUrl = ""
    lease_seconds: float = 300.0
    max_attempts: int = 5
    max_losses: int = 5
    retry_seconds: float = 2.0
    max_retry_seconds: float = 300.0
    batch_hours: float = 26.0
    reuse_decisions: bool = True
    reuse_days: float = 0.0


@dataclass(frozen=True)
class LabelConfig:
    """A label as the LLM reads it.

    Attributes:
        label: as the small model has it.
        description: its meaning.
    """

    label: str
    description: str


@dataclass(frozen=True)
class LlmConfig:
    """The LLM that is asked, and the way it is asked.

    Attributes:
        base_url: of an OpenAI-compatible API, up to where /chat/completions follows; "embedded" for the one that
            comes along.
        model: its name there.
        answer: "letter" for one token with its probabilities, "schema" for JSON held to a schema, "json" for JSON that
            is only asked for.
        thinking: True for a model that thinks before it answers: it gets room for that, no temperature, and answers by
            schema, because such models give no probabilities.
        max_tokens_field: the endpoint's name for the bound on the answer's tokens.
        max_tokens: most tokens of an answer, thoughts included; 0 for as many as the kind of answer needs.
        send_temperature: True to ask for a temperature of 0; some models refuse it.
        context: a sentence for every prompt, on where the documents come from.
        labels: descriptions of label names that do not say enough.
        timeout_seconds: for a whole call.
        max_text_chars: most characters of a text that are sent.
        max_error: largest share of errors among the items that a qualified vote may settle.
        breaker_failures: failures in a row after which calls pause.
        breaker_seconds: the first pause; doubles with each failure that follows.
        max_outage_seconds: time without any success after which the drain ends.
        trial_calls: refused calls without any success after which the set-up is at fault, not the documents.
    """

    base_url: str = EMBEDDED
    model: str = ""
    answer: str = "letter"
    thinking: bool = False
    max_tokens_field: str = "max_tokens"
    max_tokens: int = 0
    send_temperature: bool = True
    context: str = ""
    labels: tuple[LabelConfig, ...] = ()
    timeout_seconds: float = 60.0
    max_text_chars: int = 8000
    max_error: float = 0.05
    breaker_failures: int = 10
    breaker_seconds: float = 5.0
    max_outage_seconds: float = 600.0
    trial_calls: int = 5


@dataclass(frozen=True)
class PriceConfig:
    """A model's price, and the date it was known on.

    Attributes:
        model: its name at the endpoint.
        as_of: the date the price was looked up.
        input_per_million: for a million tokens sent, in the budget's currency.
        output_per_million: for a million tokens received.
        batch_share: a batch's share of those prices.
    """

    model: str
    as_of: str
    input_per_million: float
    output_per_million: float
    batch_share: float = 0.5


@dataclass(frozen=True)
class BudgetConfig:
    """Limits of spending.

    Attributes:
        max_spend: cap on the whole queue for a period; none without it.
        period: "day" or "month" in UTC, or "ever".
        currency: of every price.
        prices: of the models.
    """

    max_spend: float | None = None
    period: str = "day"
    currency: str = "USD"
    prices: tuple[PriceConfig, ...] = ()


@dataclass(frozen=True)
class MaskingConfig:
    """Masking of a text before it leaves.

    Attributes:
        enabled: False sends texts as they are, and says so in the audit trail.
        kinds: kinds of values to look for.
        phone_regions: countries whose phone numbers are known without a country code.
        national_ids: those to look for, by country and name.
        names: a recogniser of names, as `module:function`; "" for none.
    """

    enabled: bool = True
    kinds: tuple[str, ...] = MASKED_KINDS
    phone_regions: tuple[str, ...] = ("US", "GB", "DE", "FR")
    national_ids: tuple[str, ...] = NATIONAL_IDS
    names: str = ""


@dataclass(frozen=True)
class PriorityConfig:
    """The cost of a mistake on a document of one type, relative to others.

    Attributes:
        document_type: the kind of document.
        weight: factor of the cost.
        value_field: a metadata field with a number that it counts times, such as an amount.
    """

    document_type: str
    weight: float = 1.0
    value_field: str = ""


@dataclass(frozen=True)
class DrainConfig:
    """Everything that decides what a drain does."""

    warehouse: PathText = "warehouse"
    queue: QueueConfig = field(default_factory=QueueConfig)
    llm: LlmConfig = field(default_factory=LlmConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    priorities: tuple[PriorityConfig, ...] = ()

    def __post_init__(self) -> None:
        _check(self)


def load_drain_config(path: Path | None, overrides: dict[str, Any]) -> DrainConfig:
    """Reads the TOML file at `path`, if any, and lays `overrides` (same nesting, flags given) over it.

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown, or a value cannot be used.
    """
    values = {} if path is None else read_toml(path)
    return build(DrainConfig, merge(values, overrides), where="")


def _check(config: DrainConfig) -> None:
    if not config.warehouse:
        raise ConfigError("warehouse: expected a folder, found an empty string")
    check_ranges(
        "queue",
        config.queue,
        lease_seconds="(0, 86400]",
        max_attempts="[1, 100]",
        max_losses="[1, 100]",
        retry_seconds="(0, 3600]",
        max_retry_seconds="(0, 86400]",
        batch_hours="(0, 720]",
        reuse_days="[0, 36500]",
    )
    check_ranges(
        "llm",
        config.llm,
        timeout_seconds="(0, 3600]",
        max_text_chars="[1, 10000000]",
        max_error="(0, 1)",
        breaker_failures="[1, 10000]",
        breaker_seconds="(0, 3600]",
        max_outage_seconds="(0, 86400]",
        trial_calls="[1, 1000]",
        max_tokens="[0, 1000000]",
    )
    if config.queue.lease_seconds < config.llm.timeout_seconds * 1.5:
        raise ConfigError(
            f"queue.lease_seconds: expected at least 1.5 times llm.timeout_seconds ({config.llm.timeout_seconds:g}), "
            f"found {config.queue.lease_seconds:g}; a lease must outlast a call"
        )
    _one_of("llm.answer", config.llm.answer, ANSWER_KINDS)
    _one_of("llm.max_tokens_field", config.llm.max_tokens_field, MAX_TOKENS_FIELDS)
    _one_of("budget.period", config.budget.period, PERIODS)
    for kind in config.masking.kinds:
        _one_of("masking.kinds", kind, MASKED_KINDS)
    for name in config.masking.national_ids:
        _one_of("masking.national_ids", name, NATIONAL_IDS)
    _check_names(config.masking.names)
    _check_endpoint(config.llm)
    _check_labels(config.llm)
    _check_money(config)


def _check_names(names: str) -> None:
    module, colon, function = names.partition(":")
    if names and not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ConfigError(f"masking.names: expected module:function, such as our_names:find, found {names!r}")


def _check_endpoint(llm: LlmConfig) -> None:
    if llm.base_url == EMBEDDED:
        return
    try:
        parts = urlsplit(llm.base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        found = f"{parts.scheme}://{parts.hostname or ''}"
    except ValueError:  # brackets that do not close, a port that is not a number
        raise ConfigError(
            'llm.base_url: expected "embedded" or a URL such as https://llm.example/v1, found one that is malformed'
        ) from None
    if (
        not usable
        or parts.username
        or parts.password
        or parts.query
        or parts.fragment
        or not llm.base_url.isprintable()
    ):
        raise ConfigError(
            'llm.base_url: expected "embedded" or a URL such as https://llm.example/v1, without user, password or '
            f"query, found {found}; the key belongs into DOCYARD_LLM_API_KEY"
        )
    if not llm.model:
        raise ConfigError("llm.model: name the model, as the endpoint calls it")


def _check_labels(llm: LlmConfig) -> None:
    for text, where in [(llm.context, "llm.context"), *((label.description, "llm.labels") for label in llm.labels)]:
        if not text.isprintable():
            raise ConfigError(f"{where}: expected one line of text, found a line break or control character")
    if len({label.label for label in llm.labels}) < len(llm.labels):
        raise ConfigError("llm.labels: a label has two descriptions; remove one")
    if any(not label.label for label in llm.labels):
        raise ConfigError("llm.labels: expected the name of a label, found an empty string")


def _check_money(config: DrainConfig) -> None:
    budget = config.budget
    if budget.max_spend is not None and not (0 <= budget.max_spend < math.inf):
        raise ConfigError(f"budget.max_spend: expected 0 or more, found {budget.max_spend}")
    for price in budget.prices:
        try:
            datetime.date.fromisoformat(price.as_of)
        except ValueError:
            raise ConfigError(f"budget.prices: as_of: expected a date as YYYY-MM-DD, found {price.as_of!r}") from None
        check_ranges(
            "budget.prices",
            price,
            input_per_million="[0, 1000000]",
            output_per_million="[0, 1000000]",
            batch_share="[0, 1]",
        )
    if len({price.model for price in budget.prices}) < len(budget.prices):
        raise ConfigError("budget.prices: a model has two prices; remove one")
    known = config.llm.base_url == EMBEDDED or any(price.model == config.llm.model for price in budget.prices)
    if budget.max_spend is not None and not known:
        raise ConfigError(
            f"budget.max_spend: the price of {config.llm.model!r} is unknown, so that no cap can be kept; add "
            "[[budget.prices]] for it"
        )
    for priority in config.priorities:
        check_ranges("priorities", priority, weight="[0, 1000000000]")


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{where}: expected {', '.join(allowed)}, found {value!r}")
