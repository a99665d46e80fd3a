"""The logs of the commands: lines of text for people, or JSON for programs, on standard error."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

from schemas.log_context import current_log_context

OWN = ("pipelines", "escalation", "transforms", "warehouse", "models", "data_quality", "extraction")
JSON, TEXT = "json", "text"


class JsonFormatter(logging.Formatter):
    """One JSON object per line.

    Of an exception only the type is there, and of other libraries' messages only the first line: what follows may quote
    a document.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name.split(".")[0] not in OWN:
            message = message.partition("\n")[0]
        facts: dict[str, Any] = {}
        if record.exc_info and record.exc_info[0]:
            facts["exception"] = record.exc_info[0].__name__
        return json_line(record.levelname.lower(), message, record.created, logger=record.name, **facts)


def json_line(level: str, message: str, at: float | None = None, **facts: Any) -> str:
    """A log line; `at` is in Unix time, now without it."""
    time = datetime.datetime.now(datetime.UTC) if at is None else datetime.datetime.fromtimestamp(at, datetime.UTC)
    entry = {"time": time.isoformat(timespec="milliseconds"), "level": level, "message": message}
    return json.dumps({**entry, **current_log_context(), **facts}, ensure_ascii=False)


def logs_are_json() -> bool:
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def set_up_logs(log_format: str, verbose: bool) -> None:
    """Sends log records to standard error: warnings, and with `verbose` every shard and Beam's own messages."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL)
    formatter = JsonFormatter() if log_format == JSON else logging.Formatter("%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setLevel(level)  # some libraries raise their own level
        handler.setFormatter(formatter)
    logging.getLogger().addFilter(_is_news)
    logging.captureWarnings(log_format == JSON)
    if not verbose:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its tracebacks come back as one error
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # dozens of lines for every check
    for own in OWN:
        logging.getLogger(own).setLevel(level)


def _is_news(record: logging.LogRecord) -> bool:
    """False for the warning that importing Beam gives wherever its client of BigQuery, which no run needs, is absent.

    A filter of the root logger sees only what is logged there itself.
    """
    return not record.getMessage().startswith("apitools not found")
