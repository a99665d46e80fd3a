"""`docyard train` and `docyard bundle`: from labelled data, or a trained network, to a bundle in its place."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.system import expand_path

DATA_VARIABLE = "DOCYARD_DATA"


def train(
    config_path: Path,
    data: Path | None,
    work: Path | None,
    out: Path | None,
    check_only: bool = False,
    checkpoint: Path | None = None,
) -> list[str]:
    """Makes a bundle of labelled data, or only inspects the data; returns the lines to print at the end.

    Args:
        config_path: TOML file.
        data: folder that the data's paths start from; None for $DOCYARD_DATA, else the folder of the configuration.
        work: folder of what is kept for the next try; None for build/NAME.
        out: folder of the bundle; None for bundles/NAME.
        check_only: True to stop after the report on the data.
        checkpoint: folder of a trained network to make the bundle of; None to train one.
    """
    started = time.monotonic()
    try:
        from models.training.build import HYGIENE_NAME, Job
        from models.training.config import read_training_config
        from models.training.data_sheet import describe_provenance, provenance, read_data_sources
        from models.training.work_folder import hold_work_folder
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}, which is not installed; see docs/training.md") from None

    with _spoken():
        config = read_training_config(config_path)
        job = Job(
            config=config,
            card=config_path.parent / config.card.file if config.card.file else None,
            data=data or Path(expand_path(os.environ.get(DATA_VARIABLE, ""), DATA_VARIABLE) or config_path.parent),
            work=work or Path("build") / config.name,
            out=out or Path("bundles") / config.name,
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            sources=read_data_sources(config_path.parent / config.data.sources if config.data.sources else None),
        )
        job.check_out()
        with hold_work_folder(job.work):
            inspected = job.inspect()
            report = [*describe_hygiene(inspected.report), *describe_provenance(provenance(config, job.sources))]
            if check_only:
                job.check_trainable(inspected)
                job.check_teachers(inspected)
                return [*report, f"full report: {job.work / HYGIENE_NAME}", "nothing was trained"]
            for line in report:
                logging.getLogger("models.training").info(line)
            job.check_trainable(inspected)
            if checkpoint is None:
                job.check_teachers(inspected)
            bundle, result, parity = job.build_bundle(inspected, checkpoint or job.train(inspected))
    return _describe(bundle, result, parity, time.monotonic() - started)


def describe_hygiene(report: dict[str, Any]) -> list[str]:
    """The report on the data in a few lines; rows are counted, hygiene.json names them."""
    rows = report["rows"]
    origin = "held out" if rows["validation_held_out"] else "given"
    if report["cross_fitted"]:
        origin = "too few to calibrate with: cross-fitting does" if rows["validation"] else "cross-fitting instead"
    lines = [
        f"{rows['train']:,} rows to learn from, {rows['validation']:,} to validate with ({origin}), "
        f"{len(report['labels'])} labels, {rows['out_of_scope_train'] + rows['out_of_scope_validation']:,} out of scope"
    ]
    leaks, long_texts = report["leaks"], report["long_texts"]
    suspected = report["likely_mislabelled"]
    findings = {
        "rows without text, left out": sum(map(len, report["empty_texts"].values())),
        "rows that repeat the text of another one": _repeated(report["duplicates"]),
        "rows that repeat another one but for figures and punctuation": _repeated(report["near_duplicates"]),
        "texts with several labels": len(report["conflicting_labels"]),
        f"training rows that validation has too, {'left out' if leaks['dropped'] else 'kept'}": len(leaks["train_ids"]),
        "training rows that validation has too but for figures and punctuation, kept": report["near_leaks"],
        "of them names or descriptions of labels": rows["descriptions"],
        "votes on rows that are learned from": report["votes"]["used"],
        "votes that name no row, left out": report["votes"]["unknown"],
        "labels with few training rows": len(report["small_labels"]),
        "labels without a validation row": len(report["labels_without_validation"]),
        f"rows longer than {long_texts['max_tokens']} tokens": len(long_texts["train"]) + len(long_texts["validation"]),
        "training rows that are likely mislabelled": len(suspected or ()),
    }
    return lines + [f"  {count:>7,}  {name}" for name, count in findings.items() if count]


def _repeated(groups: list[list[str]]) -> int:
    return sum(len(ids) - 1 for ids in groups)


def _describe(bundle: Any, result: dict[str, Any], parity: Any, seconds: float) -> list[str]:
    from models.evaluation.report import describe_evaluation

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024)
    megabytes = sum(record.bytes for record in bundle.manifest.files.values()) / 1e6
    flips = f"{parity.label_flips} labels and {parity.route_flips} routes of {parity.rows:,} changed"
    return [
        f"{bundle.folder}: {bundle.name}, {len(bundle.labels)} labels, {megabytes:.1f} MB, digest {bundle.digest[:12]}",
        ("by cross-fitting, " if result["cross_fitted"] else "on the validation rows, ") + describe_evaluation(result),
        f"  int8 against float    {flips}",
        f"done in {seconds:.0f} s, at most {peak / 2**30:.1f} GiB of memory",
    ]


@contextlib.contextmanager
def _spoken() -> Iterator[None]:
    """Shows the training's own INFO lines on standard error, and no warning of the libraries it calls."""
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it tells at length which weights are not needed
    logger = logging.getLogger("models.training")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
