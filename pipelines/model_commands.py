"""The commands around bundles: train, build, measure and examine them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pipelines.options import PATH, PATH_TEXT, json_option
from pipelines.terminal import answer, report
from schemas.codes import FIRST_TIER_CHOICES
from schemas.errors import BundleError, ConfigError, StorageError, system_error

_config = click.argument("config", type=PATH)
_data = click.option(
    "--data",
    type=PATH,
    metavar="DIR",
    help="Where the paths of the data start.  [default: $DOCYARD_DATA, else the folder of CONFIG]",
)
_work = click.option("--work", type=PATH, metavar="DIR", help="Where work is kept.  [default: build/NAME]")
_out = click.option("--out", type=PATH, metavar="DIR", help="Where the bundle goes.  [default: bundles/NAME]")


@click.command()
@_config
@_data
@_work
@_out
@click.option("--check", is_flag=True, help="Only check the data; train nothing.")
def train(config: Path, data: Path | None, work: Path | None, out: Path | None, check: bool) -> None:
    """Train a bundle on labelled data as CONFIG (TOML) says.

    A training that was killed continues where it was.
    """
    from pipelines.train import train as make

    for line in make(config, data, work, out, check_only=check):
        report(line)


@click.command()
@_config
@click.argument("checkpoint", type=PATH)
@_data
@_work
@_out
def bundle(config: Path, checkpoint: Path, data: Path | None, work: Path | None, out: Path | None) -> None:
    """Make a bundle of the network, or bundle, in CHECKPOINT.

    Quantizes a network; calibrates, certifies and measures. A bundle keeps its int8 model.
    """
    from pipelines.train import train as make

    for line in make(config, data, work, out, checkpoint=checkpoint):
        report(line)


@click.command()
@click.argument("bundle", type=PATH)
@click.argument("data", type=PATH)
@json_option
@click.option("--html", "html_path", type=PATH, metavar="FILE", help="Write a page with tables and plots here.")
@click.option("--text-column", metavar="NAME", help="With the text.  [default: text, or as the bundle's template says]")
@click.option("--label-column", default="label", show_default=True, metavar="NAME", help="With the right label.")
@click.option("--labels-column", metavar="NAME", help="With a JSON list of all right labels, where a row has several.")
@click.option(
    "--slice-column", "slice_columns", multiple=True, metavar="NAME", help="Measure by its values; may be repeated."
)
@click.option("--none-label", metavar="LABEL", help="The label for none of these; measure the other rows apart.")
@click.option("--positive-label", metavar="LABEL", help="The label to look for; give its average precision.")
@click.option(
    "--first-tier",
    type=click.Choice(FIRST_TIER_CHOICES),
    default="strict",
    show_default=True,
    help="When a bundle's first tier answers instead of its encoder.",
)
def evaluate(
    bundle: Path,
    data: Path,
    as_json: bool,
    html_path: Path | None,
    text_column: str | None,
    label_column: str,
    labels_column: str | None,
    slice_columns: tuple[str, ...],
    none_label: str | None,
    positive_label: str | None,
    first_tier: str,
) -> None:
    """Measure BUNDLE on labelled DATA (Parquet, CSV, JSON Lines)."""
    from models.evaluation.report import describe_evaluation
    from models.labelled import Columns
    from pipelines.evaluate import evaluate_file

    result: dict[str, Any] = evaluate_file(
        bundle,
        data,
        Columns(text_column or "", label_column, labels_column or "", slice_columns),
        none_label=none_label or "",
        positive_label=positive_label or "",
        first_tier=first_tier,
        html_path=html_path,
    )
    text = json.dumps(result, indent=1, allow_nan=False) if as_json else describe_evaluation(result)
    (report if html_path else answer)(text)


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--text-file", required=True, type=PATH, metavar="FILE", help="With the text, in UTF-8.")
@click.option("--label", metavar="LABEL", help="To explain.  [default: the encoder's best one]")
@json_option
def explain(bundle: Path, text_file: Path, label: str | None, as_json: bool) -> None:
    """Show the words of a text that moved BUNDLE's label."""
    from pipelines.explain import describe_explanation, explain_file, explanation_figures

    text, found = explain_file(bundle, text_file, label)
    answer(json.dumps(explanation_figures(text, found)) if as_json else describe_explanation(text, found))


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--data", "paths", type=PATH, multiple=True, metavar="FILE", help="Labelled rows; may be repeated.")
@click.option(
    "--ocr-data", "ocr_paths", type=PATH, multiple=True, metavar="FILE", help="Labelled rows that OCR read, likewise."
)
@click.option("--min-ocr-confidence", default=0.9, show_default=True, help="From which on such rows may be accepted.")
@click.option("--max-error", type=float, metavar="SHARE", help="Largest share of wrong answers among the accepted.")
@click.option(
    "--min-recall", type=float, metavar="SHARE", help="Instead, least share of --positive-label that is escalated."
)
@click.option(
    "--confidence", type=float, default=0.95, show_default=True, metavar="SHARE", help="Probability that it holds."
)
@click.option(
    "--per",
    type=click.Choice(("all", "label", "group", "slice")),
    default="all",
    show_default=True,
    help="Prove it for all answers together, each label, each group of labels, or each slice of the rows.",
)
@click.option(
    "--json",
    "json_path",
    type=PATH,
    is_flag=False,
    flag_value=Path("-"),
    metavar="[OUT]",
    help="Write the certificate to this file as well; without one, print it instead of its summary.",
)
@click.option("--text-column", metavar="NAME", help="With the text.  [default: text, or as the bundle's template says]")
@click.option("--label-column", default="label", show_default=True, metavar="NAME", help="With the right label.")
@click.option("--labels-column", metavar="NAME", help="With all right labels of a row.  [default: as trained]")
@click.option("--id-column", default="id", show_default=True, metavar="NAME", help="With the id.")
@click.option("--cluster-column", metavar="NAME", help="With what rows that stand or fall together share.")
@click.option("--date-column", metavar="NAME", help="With the date in ISO 8601.")
@click.option("--since", metavar="DATE", help="Certify by rows of this date and later; needs --date-column.")
@click.option(
    "--slice-column", "slice_columns", multiple=True, metavar="NAME", help="For --per slice; may be repeated."
)
@click.option(
    "--none-label", metavar="LABEL", help="For --per group: the label for none of these, apart from the others."
)
@click.option("--positive-label", metavar="LABEL", help="The label that must not be missed.")
@click.option("--check", is_flag=True, help="Only prove the bundle's certificate again; write nothing.")
def certify(
    bundle: Path,
    paths: tuple[Path, ...],
    ocr_paths: tuple[Path, ...],
    min_ocr_confidence: float,
    max_error: float | None,
    min_recall: float | None,
    confidence: float,
    per: Any,
    json_path: Path | None,
    text_column: str | None,
    label_column: str,
    labels_column: str | None,
    id_column: str,
    cluster_column: str | None,
    date_column: str | None,
    since: str | None,
    slice_columns: tuple[str, ...],
    none_label: str | None,
    positive_label: str | None,
    check: bool,
) -> None:
    """Prove a bound on the error of what BUNDLE accepts.

    Writes the policy that keeps it and the certificate into the bundle, or refuses and says how many rows would do.
    """
    from models.certification import Target
    from pipelines.certify import LabelledRows, certify_bundle, describe_certificate

    if (max_error is None) == (min_recall is None):
        raise ConfigError("give one of --max-error and --min-recall")
    if (min_recall is None) != (positive_label is None):
        raise ConfigError("--min-recall and --positive-label need each other")
    if since and not date_column:
        raise ConfigError("--since needs --date-column")
    if (per == "slice") != bool(slice_columns):
        raise ConfigError("--per slice and --slice-column need each other")
    share = max_error if max_error is not None else 1 - (min_recall or 0.0)
    rows = LabelledRows(
        paths,
        text_column or "",
        label_column,
        id_column,
        cluster_column or "",
        date_column or "",
        since or "",
        slice_columns,
        labels_column,
        ocr_paths,
        min_ocr_confidence,
    )
    target = Target(round(share, 12), confidence, per, none_label or "", positive_label or "")
    certificate = certify_bundle(bundle, rows, target, check)
    content = certificate.to_bytes().decode()
    if json_path is not None and str(json_path) != "-":
        try:
            json_path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise system_error(error, json_path) from None
    answer(content if str(json_path) == "-" else "\n".join(describe_certificate(certificate)))


@click.command()
@click.argument("places", nargs=-1, type=PATH_TEXT)
@json_option
def doctor(places: tuple[str, ...], as_json: bool) -> None:
    """Check this machine, and PLACES: bundles, URIs of warehouses.

    Says what the machine offers, whether int8 is exact on it, whether the bundles answer as recorded, and whether the
    object stores keep the promises that publishing rests on.
    """
    from pipelines.doctor import describe_diagnosis, diagnose
    from warehouse.objects import is_uri

    stores = [place for place in places if is_uri(place)]
    diagnosis = diagnose([Path(place) for place in places if place not in stores], stores)
    answer(json.dumps(diagnosis.figures(), sort_keys=True) if as_json else describe_diagnosis(diagnosis))
    if diagnosis.unsound:
        raise BundleError(f"a run here would refuse {', '.join(diagnosis.unsound)}; what is wrong stands in the report")
    if diagnosis.unsound_stores:
        raise StorageError(
            f"no warehouse can be kept safely at {', '.join(diagnosis.unsound_stores)}; what is wrong stands in the "
            "report"
        )
