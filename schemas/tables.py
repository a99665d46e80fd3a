"""The published tables, defined once: from here come the Parquet schemas, the data dictionary and the checks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from schemas.codes import (
    AuditStatus,
    CategoryStatus,
    DriftFigure,
    Reason,
    Route,
    RouteReason,
    RunStatus,
    Stage,
    TextSource,
)

SCHEMA_VERSION = "3"


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, what it means, and what must hold for every value.

    Attributes:
        unit: of the values, or "" where they have none.
        nullable: True where a value may be missing.
        values: the closed set of values, or () where the set is open.
        minimum: the least value allowed, or None.
        maximum: the greatest value allowed, or None.
        unique: True where no value may occur twice in a partition.
    """

    name: str
    type: pa.DataType
    description: str
    unit: str = ""
    nullable: bool = False
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unique: bool = False

    def field(self) -> pa.Field:
        """The Arrow field, with description and unit as metadata."""
        metadata = {"description": self.description} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, self.nullable, metadata)


@dataclass(frozen=True)
class Table:
    """One table, partitioned by a date and `document_type`, or in one file.

    Attributes:
        partition_date: the column in the path that holds the date; "" for a table in one file.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    partition_date: str = "run_date"

    @property
    def flat_columns(self) -> tuple[Column, ...]:
        """The columns that hold one plain value a row, which are those that checks can judge."""
        return tuple(column for column in self.columns if not pa.types.is_nested(column.type))

    def schema(self) -> pa.Schema:
        """The Arrow schema of the table's files."""
        metadata = {
            "docyard.table": self.name,
            "docyard.schema_version": SCHEMA_VERSION,
            "description": self.description,
        }
        return pa.schema([column.field() for column in self.columns], metadata)


# A dictionary, because that is what readers infer for a column that is also in the path: the two then agree.
_PARTITION_STRING = pa.dictionary(pa.int32(), pa.string())

TOP_LABELS_TYPE = pa.list_(
    pa.struct([pa.field("label", pa.string(), False), pa.field("confidence", pa.float32(), False)])
)

CUTS_TYPE = pa.list_(pa.struct([pa.field("page", pa.int32(), False), pa.field("probability", pa.float32(), False)]))

PARTS_TYPE = pa.list_(
    pa.struct(
        [
            *(pa.field(name, pa.int32(), False) for name in ("first_page", "last_page")),
            *(pa.field(name, pa.string(), False) for name in ("document_type", "label")),
        ]
    )
)

_DOCUMENT_ID = Column(
    "document_id",
    pa.string(),
    "The id the source gave the document; with a # and its number, if it is a paragraph of one.",
    unique=True,
)
_DOCUMENT_TYPE = Column("document_type", _PARTITION_STRING, "The kind of document, as configured for its input.")
_SOURCE_URI = Column("source_uri", pa.string(), "The file the document was read from.")
_SOURCE_OFFSET = Column(
    "source_offset",
    pa.int64(),
    "Where its record starts in that file: a byte of the decompressed content, or a row of a Parquet file.",
    unit="bytes (JSON Lines, CSV) or rows (Parquet)",
    minimum=0,
)
_RECEIVED_AT = Column(
    "received_at",
    pa.timestamp("us", "UTC"),
    "When the company received the document, if mapped.",
    unit="UTC",
    nullable=True,
)
_METADATA = Column("metadata", pa.string(), "The mapped further fields, as a JSON object.", nullable=True)
_CONTENT_HASH = Column("content_hash", pa.string(), "SHA-256 of the text in UTF-8, in hexadecimal.")
_LABEL = Column("label", pa.string(), "The label the model gives; on an escalated document, only its best guess.")
_LABELS = Column(
    "labels",
    pa.list_(pa.string()),
    "All labels the model gives: `label` first, then the further ones, likeliest first, where the bundle learned that "
    "documents have several; else `label` by itself.",
)
_CONFIDENCE = Column(
    "confidence",
    pa.float32(),
    "Calibrated probability that the label is right, from all signals where the bundle weighs them.",
    unit="probability",
    minimum=0.0,
    maximum=1.0,
)
_FAMILIARITY = Column(
    "familiarity",
    pa.float32(),
    "How much the text resembles the training texts: the log-sum-exp of its label scores. Higher is more familiar.",
    unit="nats",
)
_ROUTE_REASON = Column(
    "route_reason",
    pa.string(),
    "Why the document took its route.",
    values=tuple(reason.value for reason in RouteReason),
)
_THRESHOLD = Column(
    "threshold",
    pa.float32(),
    "The least confidence the policy accepts for this label; 1, with the reason `uncertified`, where it accepts none.",
    unit="probability",
    minimum=0.0,
    maximum=1.0,
)
_TOP_LABELS = Column(
    "top_labels", TOP_LABELS_TYPE, "The most probable labels with their softmax probability, best first."
)
_TIER = Column("tier", pa.string(), "Which model of the bundle answered.", values=("encoder", "first_tier"))
_BUNDLE = Column(
    "bundle", pa.string(), "The ModelBundle that answered: its name, an @, the first 12 digits of its digest."
)
_N_TOKENS = Column("n_tokens", pa.int32(), "Length of the text for the model.", unit="tokens", minimum=1)
_N_CHARACTERS = Column(
    "n_characters", pa.int32(), "Length of the text.", unit="characters (Unicode code points)", minimum=1
)
_TRUNCATED = Column(
    "truncated", pa.bool_(), "Whether the model read only the beginning of the text; such documents are escalated."
)
_N_WINDOWS = Column(
    "n_windows",
    pa.int32(),
    "How many overlapping windows the model read the text in; the answer is their mean.",
    minimum=1,
)
_PARENT_ID = Column(
    "parent_id",
    pa.string(),
    "The id of the document that this paragraph was cut from. Null where nothing was split.",
    nullable=True,
)
_PARENT_START = Column(
    "parent_start",
    pa.int32(),
    "Where the paragraph starts in that document's text, the first character being 0. Null where nothing was split.",
    unit="characters (Unicode code points)",
    nullable=True,
    minimum=0,
)
_PARENT_END = Column(
    "parent_end",
    pa.int32(),
    "The character after its last one, counted likewise. Null where nothing was split.",
    unit="characters (Unicode code points)",
    nullable=True,
    minimum=1,
)
_MEDIA_TYPE = Column(
    "media_type",
    pa.string(),
    "The format that the document came in, by its content. Null for records and text files.",
    nullable=True,
)
_CONTENT_SHA256 = Column(
    "content_sha256",
    pa.string(),
    "SHA-256 of the document's bytes, in hexadecimal. Null for records and text files.",
    nullable=True,
)
_PAGES = Column(
    "pages",
    pa.int32(),
    "Pages of the file, or of the member, that the document is in. Null where the format has none.",
    nullable=True,
    minimum=0,
)
_CONTAINER_ID = Column(
    "container_id",
    pa.string(),
    "The id of the mail, the archive or the packet that the document came in. Null where it came by itself.",
    nullable=True,
)
_EXTRACTED = (
    _MEDIA_TYPE,
    _CONTENT_SHA256,
    Column("text_source", pa.string(), "The source of the text.", values=tuple(source.value for source in TextSource)),
    _PAGES,
    Column("pages_ocr", pa.int32(), "Pages read by OCR. Null likewise.", nullable=True, minimum=0),
    Column(
        "pages_unread",
        pa.int32(),
        "Pages whose text could not be read; such documents are escalated. Null likewise.",
        nullable=True,
        minimum=0,
    ),
    Column(
        "ocr_confidence",
        pa.float32(),
        "Mean confidence of the lines that OCR read, weighted by their characters. Null without OCR.",
        nullable=True,
        minimum=0.0,
        maximum=1.0,
    ),
    Column(
        "page_ends",
        pa.list_(pa.int32()),
        "The character of the text after the last one of each page. Null without pages, and for paragraphs.",
        unit="characters (Unicode code points)",
        nullable=True,
    ),
    Column("first_page", pa.int32(), "The page the text begins on, from 1. Null without pages.", nullable=True,
           minimum=1),
    Column("last_page", pa.int32(), "The page the text ends on. Null without pages.", nullable=True, minimum=1),
    Column(
        "text_cut_at",
        pa.int32(),
        "Length of a mail's text where its quoted history was left out behind it. Null where nothing was left out.",
        unit="characters (Unicode code points)",
        nullable=True,
        minimum=0,
    ),
    _CONTAINER_ID,
    Column(
        "proposed_cuts",
        CUTS_TYPE,
        "Pages, from 1, on which another document may begin, with the probability. Such a document is escalated as "
        "`doubtful_pages`. Null where no page is in doubt.",
        nullable=True,
    ),
    Column(
        "kind_confidence",
        pa.float32(),
        "Probability that the document is of its type. Null where the input names the type.",
        nullable=True,
        minimum=0.0,
        maximum=1.0,
    ),
)  # fmt: skip

CLASSIFICATIONS = Table(
    "classifications",
    "Every document the model answered, accepted or escalated.",
    (
        _DOCUMENT_ID,
        _DOCUMENT_TYPE,
        _LABEL,
        _LABELS,
        _CONFIDENCE,
        Column("route", pa.string(), "Whether the answer holds (accepted) or must be settled elsewhere (escalated).",
               values=tuple(route.value for route in Route)),
        _ROUTE_REASON,
        _THRESHOLD,
        _FAMILIARITY,
        _TIER,
        _BUNDLE,
        _TOP_LABELS,
        _N_TOKENS,
        _N_CHARACTERS,
        _TRUNCATED,
        _N_WINDOWS,
        _PARENT_ID,
        _PARENT_START,
        _PARENT_END,
        _CONTENT_HASH,
        *_EXTRACTED,
        _RECEIVED_AT,
        _METADATA,
        _SOURCE_URI,
        _SOURCE_OFFSET,
    ),
)  # fmt: skip

ESCALATIONS = Table(
    "escalations",
    "The classified documents the model must not answer alone, with their text, for the fallback queue.",
    (
        _DOCUMENT_ID,
        _DOCUMENT_TYPE,
        Column("text", pa.string(), "The document's text, unmasked: restrict access to this table."),
        _LABEL,
        _LABELS,
        _CONFIDENCE,
        _ROUTE_REASON,
        _THRESHOLD,
        _FAMILIARITY,
        _TIER,
        _BUNDLE,
        _TOP_LABELS,
        _N_TOKENS,
        _TRUNCATED,
        _N_WINDOWS,
        _PARENT_ID,
        _PARENT_START,
        _PARENT_END,
        _CONTENT_HASH,
        *_EXTRACTED,
        _RECEIVED_AT,
        _METADATA,
        _SOURCE_URI,
        _SOURCE_OFFSET,
    ),
)

REJECTIONS = Table(
    "rejections",
    "What could not be processed, and why; each row can be replayed from its source.",
    (
        Column("document_id", pa.string(), "The id the source gave, where it could be read.", nullable=True),
        _DOCUMENT_TYPE,
        Column("stage", pa.string(), "The step that rejected it.", values=tuple(stage.value for stage in Stage)),
        Column("reason_code", pa.string(), "Why, from a closed list.", values=tuple(reason.value for reason in Reason)),
        Column("detail", pa.string(), "What was found and what was expected; never the text.", nullable=True),
        _MEDIA_TYPE,
        _CONTENT_SHA256,
        _PAGES,
        _CONTAINER_ID,
        _SOURCE_URI,
        Column("source_offset", pa.int64(), _SOURCE_OFFSET.description + " Null where the whole file is meant.",
               unit=_SOURCE_OFFSET.unit, nullable=True, minimum=0),
    ),
)  # fmt: skip

DRIFT = Table(
    "drift",
    "The distances between a run's documents and the rows that certified the bundle; none without a certificate.",
    (
        _DOCUMENT_TYPE,
        Column("run_id", pa.string(), "The run."),
        _BUNDLE,
        Column("figure", pa.string(), "The distance.", values=tuple(figure.value for figure in DriftFigure),
               unique=True),
        Column("value", pa.float64(), "The distance; about 0 where the run is like the certifying rows."),
        Column("limit", pa.float64(), "The largest value that is no drift: chance in so few documents, or a floor."),
        Column("drifted", pa.bool_(), "Whether the value exceeds the limit."),
        Column("stale", pa.bool_(), "Whether the certificate is stale, for a figure's sake or by its date."),
        Column("rows", pa.int64(), "The run's classified documents.", unit="documents", minimum=1),
        Column("reference_rows", pa.int64(), "The certifying rows.", unit="rows", minimum=1),
    ),
)  # fmt: skip

RESOLUTIONS = Table(
    "resolutions",
    "What the LLM or people settled of the escalated documents. A later settlement of the same item replaces its row.",
    (
        Column("item_key", pa.string(), "The item of the fallback queue, as the audit trail names it.", unique=True),
        replace(_DOCUMENT_ID, unique=False),
        _DOCUMENT_TYPE,
        Column("run_date", pa.date32(), "The run date of the classification that was escalated."),
        Column(
            "label",
            pa.string(),
            "The label that holds; where people found several documents in it, their pages, types and labels.",
        ),
        Column(
            "parts",
            PARTS_TYPE,
            "The documents that people found in it: pages of the file, from 1, document type and label. Null where it "
            "is one document.",
            nullable=True,
        ),
        Column("resolved_by", pa.string(), "Who settled it.", values=("llm", "person")),
        Column("resolver", pa.string(), "The LLM's backend, or the name of the person who judged last."),
        Column("resolved_at", pa.timestamp("us", "UTC"), "When it was settled.", unit="UTC"),
        Column(
            "rests_on",
            pa.string(),
            "The item that people judged, where the same document was decided before; null where this one was decided.",
            nullable=True,
        ),
        Column(
            "decided_at",
            pa.timestamp("us", "UTC"),
            "When the LLM or people decided; earlier than `resolved_at` where the decision was reused.",
            unit="UTC",
        ),
        Column("reason", pa.string(), "Why the person said so, from a closed list; null for an LLM.", nullable=True),
        Column(
            "judgements",
            pa.int32(),
            "How many people judged it, or the item that it rests on.",
            unit="people",
            minimum=0,
        ),
        Column("overrides", pa.bool_(), "Whether the label is another one than the small model's best guess."),
        Column("model_label", pa.string(), "The small model's best guess."),
        Column("model_confidence", pa.float32(), "How sure it was.", unit="probability", minimum=0.0, maximum=1.0),
        _BUNDLE,
        Column("llm_backend", pa.string(), "The LLM that gave a valid answer, if one did.", nullable=True),
        Column("llm_label", pa.string(), "Its answer; empty for none of the candidates.", nullable=True),
        Column("prompt_version", pa.string(), "Of the prompt it answered.", nullable=True),
        Column("cost", pa.float64(), "What all calls for the item cost, where the price was known.",
               unit="currency of the budget", nullable=True, minimum=0.0),
        _PARENT_ID,
        _CONTENT_HASH,
        _SOURCE_URI,
        Column(
            "taxonomy_version",
            pa.int32(),
            "How many categories had been adopted for the document type when it was settled; 0 is the bundles' labels.",
            minimum=0,
        ),
    ),
    partition_date="resolved_date",
)  # fmt: skip

CATEGORIES = Table(
    "categories",
    "The categories that were proposed for documents which no label fits, and what people decided of them.",
    (
        Column("category_id", pa.string(), "The category, as the audit trail names it.", unique=True),
        _DOCUMENT_TYPE,
        Column("name", pa.string(), "Its name; a label of the document type once it is adopted."),
        Column("description", pa.string(), "What it is, in one line; may be empty."),
        Column("status", pa.string(), "What became of it.", values=tuple(status.value for status in CategoryStatus)),
        Column("taxonomy_version", pa.int32(), "The version of the taxonomy that began with it; null unless adopted.",
               nullable=True, minimum=1),
        Column("volume", pa.int32(), "The documents of its cluster; null where it was proposed for a single document.",
               unit="documents", nullable=True, minimum=1),
        Column("cohesion", pa.float32(), "How alike they are: their mean cosine with their centre; null likewise.",
               nullable=True, minimum=-1.0, maximum=1.0),
        Column("words", pa.list_(pa.string()), "The words that set them apart, best first."),
        Column("asked_again", pa.int32(), "Of its documents, those that were asked about again once it was adopted.",
               unit="documents", minimum=0),
        Column("proposed_by", pa.string(), "The first of the two people; null until one has approved it.",
               nullable=True),
        Column("decided_by", pa.string(), "The adjudicator of an adopted category, or who rejected it; else null.",
               nullable=True),
        Column("proposed_at", pa.timestamp("us", "UTC"), "When it was first proposed.", unit="UTC"),
        Column("decided_at", pa.timestamp("us", "UTC"), "When it was adopted or rejected; else null.", unit="UTC",
               nullable=True),
    ),
    partition_date="proposed_date",
)  # fmt: skip

AUDITS = Table(
    "audits",
    "Bounds on the error of accepted answers as of a day, from people who judged them without seeing the answer.",
    (
        _BUNDLE,
        _DOCUMENT_TYPE,
        Column("label", pa.string(), "The accepted label; null for all accepted answers together.", nullable=True),
        Column("runs", pa.int64(), "Runs from which answers were drawn.", minimum=1),
        Column("drawn", pa.int64(), "Answers drawn from them.", minimum=0),
        Column("audited", pa.int64(), "Those that count: judged, and so is every one drawn before them.", minimum=0),
        Column("wrong", pa.int64(), "Those of `audited` for which people gave another label.", minimum=0),
        Column("lower", pa.float64(), "Lower bound on the error.", unit="probability", minimum=0.0, maximum=1.0),
        Column("upper", pa.float64(), "Upper bound on the error.", unit="probability", minimum=0.0, maximum=1.0),
        Column("max_error", pa.float64(), "The error that the bundle's certificate promises; null without one.",
               unit="probability", nullable=True, minimum=0.0, maximum=1.0),
        Column("confidence", pa.float64(), "Of all bounds of the bundle together.", unit="probability",
               minimum=0.0, maximum=1.0),
        Column("status", pa.string(), "What follows.", values=tuple(status.value for status in AuditStatus)),
    ),
    partition_date="as_of",
)  # fmt: skip

RUN_STEPS = ("read", "extract", "validate", "detect", "split", "classify", "route", "stage", "commit")

_RUN_ID = Column("run_id", pa.string(), "The run.")
_RUN_DATE = Column("run_date", pa.date32(), "The date whose partitions the run replaces.")


def _of_run(name: str, description: str, unit: str = "rows") -> Column:
    return Column(name, pa.int64(), description + "; null unless published.", unit=unit, nullable=True, minimum=0)


RUNS = Table(
    "runs",
    "Every run of the warehouse, published or not.",
    (
        replace(_RUN_ID, unique=True),
        _RUN_DATE,
        Column("document_types", pa.list_(pa.string()), "Every document type of the run."),
        Column("bundles", pa.list_(pa.string()), "Its bundles."),
        Column("status", pa.string(), "As its manifest has it.", values=tuple(status.value for status in RunStatus)),
        Column("started_at", pa.timestamp("us", "UTC"), "When it started.", unit="UTC"),
        Column("finished_at", pa.timestamp("us", "UTC"), "When it ended; null where it never did.", unit="UTC",
               nullable=True),
        Column("error", pa.string(), "The error's name, of a failed run; else null.", nullable=True),
        _of_run("read", "Records that were read"),
        _of_run("unpacked", "Rows that came on top when mails and archives were unpacked"),
        _of_run("split_off", "Rows that came on top when documents were cut into paragraphs"),
        _of_run("classified", "Rows that the model answered"),
        _of_run("accepted", "Rows whose answer stands"),
        _of_run("escalated", "Rows to be settled elsewhere"),
        _of_run("rejected", "Rows that could not be processed"),
        _of_run("cached", "Rows whose answer came from the cache"),
        _of_run("tokens", "Length of the classified documents for the model", "tokens"),
        _of_run("text_bytes", "Size of their texts in UTF-8", "bytes"),
        _of_run("published_bytes", "Size of the published files", "bytes"),
        Column("stale", pa.list_(pa.string()), "Document types whose certificate is stale."),
        Column("wall_seconds", pa.float64(), "From start to end; null unless published.", unit="seconds",
               nullable=True, minimum=0.0),
        *(
            Column(f"{step}_seconds", pa.float64(), f"Worker time of the step {step}; null unless published.",
                   unit="seconds", nullable=True, minimum=0.0)
            for step in RUN_STEPS
        ),
        Column("llm_calls", pa.int64(), "LLM calls for its escalations; null where the queue has none of them.",
               nullable=True, minimum=0),
        Column("llm_cost", pa.float64(), "Cost of these calls, where the price was known; null likewise.",
               unit="currency of the budget", nullable=True, minimum=0.0),
    ),
    partition_date="",
)  # fmt: skip

RUN_COUNTS = Table(
    "run_counts",
    "The counts of every published run, by document type.",
    (
        _RUN_ID,
        _RUN_DATE,
        Column("document_type", pa.string(), "The kind of document."),
        Column("holds", pa.bool_(), "Whether no later run has replaced these rows; sum only rows that hold."),
        Column("kind", pa.string(), "What is counted: all rows by outcome, rejected ones by reason code, classified "
               "ones by route reason or by bin of confidence (its lower end), accepted ones by label.",
               values=("outcome", "reason", "route_reason", "label", "confidence_accepted", "confidence_escalated")),
        Column("name", pa.string(), "The outcome, code, bin or label."),
        Column("rows", pa.int64(), "Their number.", unit="rows", minimum=0),
    ),
    partition_date="",
)  # fmt: skip

RUN_QUALITY = Table(
    "run_quality",
    "Every check of the data contracts of every run that came as far as its checks.",
    (
        _RUN_ID,
        _RUN_DATE,
        Column("suite", pa.string(), "The table that was checked; documents for the counts by document type."),
        Column("check", pa.string(), "Its name in Great Expectations."),
        Column("column", pa.string(), "The column, or several; empty where the whole table is meant."),
        Column("requires", pa.string(), "What it requires."),
        Column("passed", pa.bool_(), "Whether it held."),
        Column("unexpected", pa.float64(), "Values that broke it; null where it does not count values.", nullable=True,
               minimum=0.0),
    ),
    partition_date="",
)  # fmt: skip

RUN_TABLES: tuple[Table, ...] = (RUNS, RUN_COUNTS, RUN_QUALITY)
"""The tables that `docyard report --tables` writes."""

DOCUMENT_TABLES: tuple[Table, ...] = (CLASSIFICATIONS, ESCALATIONS, REJECTIONS)
"""The tables whose rows are a run's documents."""

PUBLISHED_TABLES: tuple[Table, ...] = (*DOCUMENT_TABLES, DRIFT)
"""The tables that a run publishes."""

DOCUMENTED_TABLES: tuple[Table, ...] = (*PUBLISHED_TABLES, RESOLUTIONS, CATEGORIES, AUDITS)


def data_dictionary() -> str:
    """Every table, column, reason code and route reason, in Markdown."""
    lines = [
        "# Data dictionary",
        "",
        "Generated by `docyard dictionary`; each Parquet file's metadata holds the same descriptions.",
        "Every table is partitioned by a date (YYYY-MM-DD) and `document_type`, as folders `name=value`. The date is",
        "`run_date`; of `resolutions` the day it was settled on, `resolved_date`; of `categories` the day it was first",
        "proposed on, `proposed_date`; and of `audits` the day they are `as_of`; the latter three in UTC.",
        "",
    ]
    for table in DOCUMENTED_TABLES:
        lines += _described(table)
    lines += ["## Tables of runs", "", "`docyard report --tables DIR` writes them, one file each.", ""]
    for table in RUN_TABLES:
        lines += _described(table)
    lines += ["## Reason codes", "", "| reason_code | stage | meaning | what probably mends it |", "|---|---|---|---|"]
    lines += [
        f"| `{reason.value}` | {reason.stage.value} | {reason.description} | {reason.remedy} |" for reason in Reason
    ]
    lines += ["", "## Route reasons", "", "| route_reason | meaning |", "|---|---|"]
    lines += [f"| `{reason.value}` | {reason.description} |" for reason in RouteReason]
    lines += ["", "## Drift figures", "", "| figure | meaning |", "|---|---|"]
    lines += [f"| `{figure.value}` | {figure.description} |" for figure in DriftFigure]
    return "\n".join(lines) + "\n"


def _described(table: Table) -> list[str]:
    lines = [
        f"## {table.name}",
        "",
        table.description,
        "",
        "| column | type | null | unit | meaning |",
        "|---|---|---|---|---|",
    ]
    return [*lines, *(_row(column) for column in table.columns), ""]


def _row(column: Column) -> str:
    kind = str(column.type).replace("dictionary<values=string, indices=int32, ordered=0>", "string (dictionary)")
    meaning = column.description
    if column.values:
        meaning += " One of " + ", ".join(f"`{value}`" for value in column.values) + "."
    if column.minimum is not None:
        meaning += f" At least {column.minimum:g}" + (
            f", at most {column.maximum:g}." if column.maximum is not None else "."
        )
    if column.unique:
        meaning += " Unique in a partition."
    return f"| `{column.name}` | {kind} | {'yes' if column.nullable else 'no'} | {column.unit} | {meaning} |"
