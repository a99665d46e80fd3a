"""Docyard from Python, for scripts and notebooks: everything that another program may import.

The names and signatures in `__all__` are kept; every other module may change from one version to the next. Each call
that cannot be done raises a `DocyardError` whose text is the line that the command would print.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from models import bundle, classifier
from pipelines.metrics import metrics_file
from schemas.codes import Route
from schemas.errors import DocyardError
from schemas.system import settle_home
from schemas.tables import CLASSIFICATIONS, RESOLUTIONS, Table

if TYPE_CHECKING:
    from warehouse.interface import Warehouse
    from warehouse.manifest import Manifest

__all__ = ["Classifier", "DocyardError", "classify", "load_bundle", "read_decisions"]

_SETTLED_BY = ["llm", "person"]  # the second supersedes the first
_DOCUMENT = ["document_type", "document_id", "run_date", "content_hash"]


class Classifier:
    """A bundle's model and policy in this process; safe to use from several threads at once.

    Attributes:
        labels: every label that it can give.
        reference: name@digest, as it stands in the published column `bundle`.
    """

    def __init__(self, loaded: bundle.ModelBundle) -> None:
        self.labels: tuple[str, ...] = tuple(loaded.labels)
        self.reference: str = loaded.reference
        self._classifier = classifier.Classifier(loaded)

    def classify(self, texts: Sequence[str]) -> pd.DataFrame:
        """The answers of the model, routed by the bundle's policy as in a run.

        Args:
            texts: any number of strings; all their answers are held at once.

        Returns:
            One row per text, in their order: `label`, `confidence`, `route` (accepted or escalated) and
            `route_reason`, as in the published tables; nulls where the model failed on a text.

        Example:
            >>> from pipelines.api import load_bundle
            >>> classifier = load_bundle("models/bundles/tickets")
            >>> answers = classifier.classify(["please refund my card payment twice", "where is my parcel"])
            >>> list(answers["label"])
            ['billing', 'delivery']
        """
        scores = self._classifier.classify(list(texts))
        routing = self._classifier.bundle.policy.route(scores)
        answered = ~scores.failed
        routes = np.where(routing.accepted, Route.ACCEPTED.value, Route.ESCALATED.value)
        return pd.DataFrame(
            {
                "label": pd.Series(np.array(self.labels, dtype=object)[scores.label_ids]).where(answered),
                "confidence": scores.confidence,
                "route": pd.Series(routes).where(answered),
                "route_reason": pd.Series(routing.reasons).where(answered),
            }
        )


def load_bundle(path: str | os.PathLike[str]) -> Classifier:
    """Loads a bundle and checks it against its hashes and its fingerprint, as a run does.

    Args:
        path: folder of the bundle.

    Raises:
        DocyardError: the bundle is missing or incomplete, or does not answer on this machine as recorded.

    Example:
        >>> from pipelines.api import load_bundle
        >>> load_bundle("models/bundles/tickets").labels
        ('billing', 'delivery', 'account', 'technical')
    """
    return Classifier(bundle.load_bundle(Path(path)))


def classify(
    config: str | os.PathLike[str] | None = None, *, beam_options: Sequence[str] = (), **settings: Any
) -> Manifest:
    """Runs `docyard classify`, and returns the manifest of what it published.

    Args:
        config: TOML file; None where `settings` say everything.
        beam_options: what the command takes after `--`.
        settings: keys of the configuration, which override those of the file: `run_date`, `warehouse`, `inputs`.

    Raises:
        DocyardError: the run cannot be done; nothing was published.

    Example:
        >>> from pipelines.api import classify
        >>> tickets = {"paths": ["tickets.jsonl"], "document_type": "ticket", "bundle": "models/bundles/tickets"}
        >>> manifest = classify(run_date="2026-11-22", warehouse="warehouse", inputs=[tickets])
        >>> manifest.counts["read"] == manifest.counts["classified"] + manifest.counts["rejected"]
        True
    """
    from pipelines.classify import classify as run  # Beam is loaded where it is needed
    from pipelines.run_metrics import run_samples
    from schemas.run_config import load_config

    settle_home()
    loaded = load_config(None if config is None else Path(config), settings)
    with metrics_file("run", loaded.watching.metrics_file) as metrics:
        manifest = run(loaded, beam_options)
        metrics.samples = run_samples(manifest)
    return manifest


def read_decisions(warehouse: str | os.PathLike[str]) -> pd.DataFrame:
    """The current decision on every classified document, as the view `decisions` that `docyard resolve` writes has it.

    A person supersedes the LLM, the LLM the model, a later word of the same standing an earlier one. A resolution
    counts only for the text that was classified.

    Args:
        warehouse: folder or URI of the published tables.

    Returns:
        One row per document and run date: `document_type`, `document_id`, `run_date`, `content_hash`, `label` (null
        where nobody decided yet), `decided_by` (model, llm, person or nobody), `decider`, `reason`, `model_label`,
        `model_confidence` and `decided_on`.

    Raises:
        DocyardError: the folder holds no warehouse.

    Example:
        >>> from pipelines.api import read_decisions
        >>> decisions = read_decisions("warehouse")
        >>> sorted(set(decisions["decided_by"]))
        ['model', 'nobody']
    """
    from pipelines.runs import existing_warehouse

    found = existing_warehouse(os.fspath(warehouse))
    said = _read(found, CLASSIFICATIONS, [*_DOCUMENT, "label", "confidence", "route", "bundle"])
    of_settled = ["label", "resolved_by", "resolver", "reason", "resolved_at", "item_key", "resolved_date"]
    settled = _read(found, RESOLUTIONS, [*_DOCUMENT, *of_settled])
    settled["standing"] = settled["resolved_by"].map(_SETTLED_BY.index)
    last = settled.sort_values(["standing", "resolved_at", "item_key"]).drop_duplicates(_DOCUMENT, keep="last")
    rows = said.merge(last, on=_DOCUMENT, how="left", suffixes=("_model", ""))
    by_model, open_ = rows["route"] == Route.ACCEPTED.value, rows["resolved_by"].isna()
    decided_by = rows["resolved_by"].mask(open_, np.where(by_model, "model", "nobody"))
    return rows[_DOCUMENT].assign(
        label=rows["label"].mask(open_, rows["label_model"].where(by_model)),
        decided_by=decided_by,
        decider=rows["resolver"].mask(open_, rows["bundle"].where(by_model)),
        reason=rows["reason"],
        model_label=rows["label_model"],
        model_confidence=rows["confidence"],
        decided_on=rows["resolved_date"].mask(open_, rows["run_date"]),
    )


def _read(warehouse: Warehouse, table: Table, columns: list[str]) -> pd.DataFrame:
    """The columns of a published table, those of its path among them; no row where nothing was published."""
    parts = []
    for name in warehouse.files(table):
        in_path = dict(part.split("=", 1) for part in name.split("/")[1:-1])
        in_path = {column: unquote(value) for column, value in in_path.items()}
        with warehouse.open(name) as content:
            read = pq.ParquetFile(content).read([column for column in columns if column not in in_path])
        parts.append(read.to_pandas().assign(**{column: in_path[column] for column in columns if column in in_path}))
    if not parts:
        return pd.DataFrame(columns=columns, dtype=object).astype({"run_date": "datetime64[ns]"})
    frame = pd.concat(parts, ignore_index=True)[columns]
    dates = {"run_date", table.partition_date}
    typed: pd.DataFrame = frame.assign(**{name: pd.to_datetime(frame[name]).astype("datetime64[ns]") for name in dates})
    return typed
