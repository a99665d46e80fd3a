"""Makes a bundle of kinds: `python -m models.training.kind models/training/kinds.toml`.

The weights are those of the words beside an encoder, learned on groups of characters. Half of the validation rows
choose the thresholds, the others test them.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any

import click
import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd

from models.evaluation.intervals import exact_upper_bound
from models.kind import CHARACTERS, NO_KIND, NONE, KindModel, KindPolicy, groups, write_kinds
from models.labelled import text_of
from models.trained_rows import same_text, unit_hash
from models.training.calibrate import fit_temperature
from models.training.config import AtLeast0, ProperShare, Share, Variations, WordsTraining
from models.training.data_sheet import DataSource, read_data_sources, sources_of
from models.training.letters import letter_of_customer, made_up_letters
from models.training.strangers import made_up_strangers
from models.training.variations import vary
from models.training.words import fit_words
from models.words import Words
from schemas.configuration import DocumentType, Matching, PathText, Within, read_toml, read_values, validated
from schemas.errors import ConfigError, DocyardError
from schemas.fields import parse_text_template
from schemas.run_config import Count, Template

CARD = Path(__file__).with_name("kind_card.md.jinja")
LETTER = "letter"
_MISREAD = {
    "0": "O", "O": "0", "1": "l", "l": "1", "I": "l", "5": "S", "S": "5", "8": "B", "B": "8", "6": "G", "2": "Z",
    "e": "c", "a": "o", "n": "r", "m": "rn", "t": "f", ".": ",", ",": ".", ":": ";", "-": "~",
}  # fmt: skip
_STEPS = 1000  # of a threshold
_MIN_PROBABILITY = 0.5  # of an answer without doubt


@validated
class KindRows:
    """Rows of one kind."""

    kind: DocumentType
    """The kind, or "none"."""
    data: PathText
    """Folder of train.parquet and validation.parquet."""
    template: Template = ""
    """Makes a text of several columns instead of the column `text`."""
    group_column: str = ""
    """Equal for rows that stand or fall together; by default each row is its own group."""
    only_label: str = ""
    """Only the rows of this label."""
    without_label: str = ""
    """All rows but those of this label."""
    least_characters: AtLeast0 = 1
    """Shorter texts are left out."""
    most: Count = 100_000
    """Training rows at most, evenly spread."""
    variations: AtLeast0 = 0
    """Of each training text: in a letter, a mail or a chat, and typed in a hurry."""
    noisy: AtLeast0 = 0
    """Copies of each training text with the mistakes of OCR."""
    pieces: AtLeast0 = 0
    """Further pieces of each training text, as if they were pages of it."""
    letters: AtLeast0 = 0
    """Copies of each training text in the form of a letter. If any, half of the validation texts become letters too."""


@validated
class KindTraining:
    """The making of a bundle of kinds."""

    name: Annotated[str, Matching("[a-z0-9][a-z0-9_.-]{0,62}", "lower-case letters, digits, _, . and -")]
    rows: tuple[KindRows, ...]
    fingerprint: tuple[str, ...]
    buckets: Annotated[int, Within("[1, 1048576]")] = 16384
    letters: AtLeast0 = 0
    """Made-up training letters."""
    fragments: AtLeast0 = 0
    """Made-up texts that are too short to be of a kind."""
    made_up_strangers: Count = 100
    """Made-up training texts of each other sort."""
    without_bundle: tuple[DocumentType, ...] = ()
    """Kinds that no included bundle answers: their documents may be called none of the kinds."""
    most_wrong: Share = 0.002
    """Share of the choosing rows called a kind without doubt that may be of another one."""
    right_share: Share = 0.98
    """Share of the choosing rows of each source that get their kind without doubt, unless that makes too many wrong."""
    most_rejected: Share = 0.01
    """Share of the choosing rows of each source that may be called none of the kinds."""
    confidence: ProperShare = 0.95
    """Of each bound."""
    sources: PathText = ""
    """File beside the configuration that names licence and origin of the data."""
    validation_most: Count = 1000
    """Validation rows of a source at most, evenly spread."""


def read_rows(config: KindTraining, data: Path, strange: Path, split: str) -> pd.DataFrame:
    """The rows of a split: text, kind, source and group. Training rows come with their variations.

    Args:
        config: names the rows.
        data: folder of the labelled data.
        strange: folder that `models.training.strange_texts` wrote.
        split: "train" or "validation".
    """
    parts = [_labelled(rows, config, data, split) for rows in config.rows]
    found = pd.read_parquet(_existing(strange / f"{split}.parquet"))
    if config.letters:
        number = config.letters if split == "train" else min(config.letters, config.validation_most)
        prose = found.loc[found["source"] != "source code", "text"].tolist()
        parts.append(_frame(made_up_letters(number, split, prose), LETTER, "made-up letters"))
    for source, rows in found.groupby("source"):
        parts.append(_frame(rows["text"].tolist(), NONE, str(source), rows["origin"].tolist()))
    if split == "train":
        fragments = made_up_fragments(found["text"].tolist(), config.fragments)
        parts.append(_frame(fragments, NONE, "made up: fragments"))
        texts = [text for part in parts[: len(config.rows)] for text in part["text"].head(50)]
        for source, made in made_up_strangers(texts, config.made_up_strangers).items():
            parts.append(_frame(made, NONE, source))
    return pd.concat(parts, ignore_index=True)


def made_up_fragments(prose: Sequence[str], number: int) -> list[str]:
    """So many texts that are too short to be of a kind: a few words, a number, marks, one sign again and again.

    Args:
        prose: texts that lend their words; the same ones give the same fragments.
        number: of fragments.
    """
    fragments = []
    for place in range(number):
        random = Random(place)
        words = random.choice(prose).split() or [""]
        start = random.randrange(len(words))
        figures = str(random.randrange(10 ** random.randint(1, 9)))
        signs = "".join(random.choices("-_=.*#~|/\\\0\1\2", k=random.randint(1, 30)))
        again = random.choice("abcdefghijklmnopqrstuvwxyz.-_ ") * random.randint(1, CHARACTERS)
        few = " ".join(words[start : start + random.randint(1, 3)])
        fragments.append(("", few, few, f"{few} {figures}", figures, signs, again)[place % 7])
    return fragments


def _labelled(rows: KindRows, config: KindTraining, data: Path, split: str) -> pd.DataFrame:
    path = _existing(data / rows.data / f"{split}.parquet")
    table = pd.read_parquet(path)
    if rows.only_label:
        table = table[table["label"] == rows.only_label]
    if rows.without_label:
        table = table[table["label"] != rows.without_label]
    if rows.template:
        template = parse_text_template(rows.template)
        records: list[Any] = table[list(template.fields)].to_dict("records")
        texts = [text_of(record, "", template, str(path)) for record in records]
    else:
        texts = table["text"].tolist()
    names = table[rows.group_column or "id"].astype(str).tolist()
    kept = [place for place, text in enumerate(texts) if len(text) >= rows.least_characters]
    most = rows.most if split == "train" else config.validation_most
    if len(kept) > most:
        kept = [kept[place] for place in np.linspace(0, len(kept) - 1, most).astype(int)]
    chosen = _frame([texts[place] for place in kept], rows.kind, rows.data, [names[place] for place in kept])
    if split == "train":
        return _augmented(chosen, rows)
    if rows.letters:
        half = chosen.index % 2 == 1
        chosen.loc[half, "text"] = [letter_of_customer(text, split) for text in chosen.loc[half, "text"]]
        chosen.loc[half, "source"] += ", as letters"
    return chosen


def _augmented(chosen: pd.DataFrame, rows: KindRows) -> pd.DataFrame:
    texts = chosen["text"].tolist()
    more = vary(texts, Variations(each=rows.variations))
    for text in texts:
        random = Random(text)
        more += [misread(text[:CHARACTERS], random) for _ in range(rows.noisy)]
        more += [_page(text, random) for _ in range(rows.pieces)]
        more += [letter_of_customer(text, "train", number) for number in range(rows.letters)]
    return pd.concat([chosen, _frame(more, rows.kind, rows.data)], ignore_index=True)


def _frame(texts: Sequence[str], kind: str, source: str, named: Sequence[str] | None = None) -> pd.DataFrame:
    groups_ = list(named) if named is not None else [same_text(text) for text in texts]
    return pd.DataFrame({"text": list(texts), "kind": kind, "source": source, "group": groups_})


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; see docs/kinds.md for the data that a bundle of kinds is made of")
    return path


def misread(text: str, random: Random) -> str:
    """The text with some of the mistakes that OCR makes: letters like others, lost signs, lost and added spaces."""
    share = random.choice((0.01, 0.03, 0.08))
    signs = []
    for sign in text:
        draw = random.random() / share
        if draw >= 1:
            signs.append(sign)
        elif draw < 0.6:
            signs.append(_MISREAD.get(sign, sign))
        elif draw < 0.8:
            signs.append("" if sign != "\n" else sign)
        else:
            signs.append(sign + " ")
    return "".join(signs)


def _page(text: str, random: Random) -> str:
    start = random.randrange(max(1, len(text) - CHARACTERS))
    return text[start : start + random.choice((400, 1000, CHARACTERS))]


def fit(rows: pd.DataFrame, kinds: Sequence[str], buckets: int) -> Words:
    """Learns the weights of each kind, and of none of them in the last column."""
    names = [*kinds, NONE]
    label_ids = rows["kind"].map(names.index).to_numpy(dtype=np.int64)
    return fit_words(list(map(groups, rows["text"])), label_ids, len(names), WordsTraining(buckets=buckets))


def choose_policy(model: KindModel, rows: pd.DataFrame, config: KindTraining) -> KindPolicy:
    """The temperature, and the thresholds that the shares of the configuration allow on rows that trained nothing."""
    names = [*model.kinds, NONE]
    gold = rows["kind"].map(names.index).to_numpy(dtype=np.int64)
    logits = model.words.read(list(map(groups, rows["text"]))).logits
    temperature = fit_temperature(logits.astype(np.float32), gold)
    model = dataclasses.replace(model, policy=dataclasses.replace(model.policy, temperature=temperature))
    chances = model.probabilities(rows["text"].tolist())
    best = chances.argmax(axis=1)
    answered = chances[:, [place for place, kind in enumerate(model.kinds) if kind not in config.without_bundle]]
    least_doubtful, least = 1.0, {}
    for kind_id, kind in enumerate(model.kinds):
        lowest = 1.0
        for _, part in rows[rows["kind"] == kind].groupby("source"):
            places = part.index.to_numpy()
            right = np.sort(np.where(best[places] == kind_id, chances[places, kind_id], 0.0))
            lowest = min(lowest, _below(right[int((1 - config.right_share) * len(places))]))
            if kind not in config.without_bundle:
                likeliest = np.sort(answered[places].max(axis=1))
                least_doubtful = min(least_doubtful, _below(likeliest[int(config.most_rejected * len(places))]))
        called = (best == kind_id) & (gold < len(model.kinds))
        wrong = np.sort(chances[called & (gold != kind_id), kind_id])[::-1]
        allowed = int(config.most_wrong * called.sum())
        highest_wrong = _above(wrong[allowed]) if allowed < len(wrong) else 0.0
        least[kind] = max(lowest, highest_wrong, _MIN_PROBABILITY)
    return KindPolicy(temperature=temperature, min_probability=least, min_doubtful=least_doubtful, certificate={})


def _above(value: float) -> float:
    return min(math.floor(float(value) * _STEPS + 1) / _STEPS, 1.0)


def _below(value: float) -> float:
    return math.floor(float(value) * _STEPS) / _STEPS


def certificate(model: KindModel, rows: pd.DataFrame, config: KindTraining) -> dict[str, Any]:
    """Counts and exact upper bounds on rows that chose nothing: one row of each group."""
    rows = rows.drop_duplicates(["kind", "group"]).reset_index(drop=True)
    answers = model.detect(rows["text"].tolist())
    gold = rows["kind"].map([*model.kinds, NONE].index).to_numpy()
    strange = gold == len(model.kinds)
    answered = [kind for kind in model.kinds if kind not in config.without_bundle]
    rejected = model.detect(rows["text"].tolist(), answered).kind_ids == NO_KIND
    undoubted = (answers.kind_ids != NO_KIND) & ~answers.doubtful
    wrong = undoubted & (answers.kind_ids != gold)

    def share(counted: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> dict[str, Any]:
        errors, n_rows = int((counted & among).sum()), int(among.sum())
        bound = exact_upper_bound(errors, n_rows, 1 - config.confidence) if n_rows else 1.0
        return {"rows": n_rows, "count": errors, "at_most": round(bound, 5)}

    return {
        "confidence": config.confidence,
        "method": "exact binomial upper bounds (Clopper and Pearson, 1934)",
        "wrong_of_undoubted": share(wrong, undoubted & ~strange),
        "rejected_of_known": share(rejected, rows["kind"].isin(answered).to_numpy()),
        "strangers_undoubted": share(undoubted, strange),
        "kinds": {
            kind: {
                "not_right_of_all": share(~(undoubted & (answers.kind_ids == kind_id)), gold == kind_id),
                "wrong_of_undoubted": share(wrong, undoubted & (answers.kind_ids == kind_id) & ~strange),
            }
            for kind_id, kind in enumerate(model.kinds)
        },
    }


def by_source(model: KindModel, rows: pd.DataFrame, answered: Collection[str] | None = None) -> list[dict[str, Any]]:
    """For each source: rows, and the shares that are right without doubt, doubtful, none, and of another kind.

    Args:
        model: tells the kinds.
        rows: text, kind and source.
        answered: kinds that there are bundles for; None for all.
    """
    answers = model.detect(rows["text"].tolist(), answered)
    gold = rows["kind"].map([*model.kinds, NONE].index).to_numpy()
    none = answers.kind_ids == NO_KIND
    right = (answers.kind_ids == gold) & ~answers.doubtful
    figures = pd.DataFrame(
        {
            "kind": rows["kind"], "source": rows["source"], "right": right, "doubtful": answers.doubtful, "none": none,
            "wrong": ~(right | answers.doubtful | none),
        }
    )  # fmt: skip
    table = figures.groupby(["kind", "source"], sort=False)
    return [
        {"kind": kind, "source": source, "rows": len(part)}
        | {name: float(part[name].mean()) for name in ("right", "doubtful", "none", "wrong")}
        for (kind, source), part in table
    ]


def card(config: KindTraining, facts: Mapping[str, Any], data_sets: Sequence[DataSource]) -> str:
    """The content of card.md."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(CARD.parent), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["counted"] = lambda row: f"{row['rows']:,} | {row['count']:,} | {row['at_most']:.2%}"
    return environment.get_template(CARD.name).render(
        name=config.name, characters=f"{CHARACTERS:,}", buckets=f"{config.buckets:,}", data_sets=data_sets, **facts
    )


def _data_sets(config: KindTraining, folder: Path) -> list[DataSource]:
    described = read_data_sources(folder / config.sources if config.sources else None)
    return list(dict.fromkeys(source for rows in config.rows for source in sources_of(rows.data, described)))


def _counts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "source": source, "rows": len(part)}
        for (kind, source), part in rows.groupby(["kind", "source"], sort=False)
    ]


def _beginnings(rows: pd.DataFrame) -> pd.Series[str]:
    return rows["text"].str[:CHARACTERS].map(same_text)


def make(config_path: Path, data: Path, strange: Path, out: Path) -> KindModel:
    """Makes a bundle of kinds; takes about a minute of one core. The same files give the same bundle."""
    config = read_values(KindTraining, read_toml(config_path), str(config_path))
    train, validation = (read_rows(config, data, strange, split) for split in ("train", "validation"))
    train = train[~_beginnings(train).isin(set(_beginnings(validation)))].reset_index(drop=True)
    kinds = tuple(sorted(set(train["kind"]) - {NONE}))
    started = time.monotonic()
    words = fit(train, kinds, config.buckets)
    click.echo(f"learned {len(train):,} rows in {time.monotonic() - started:.0f} s")
    open_policy = KindPolicy(
        temperature=1.0, min_probability=dict.fromkeys(kinds, 0.0), min_doubtful=0.0, certificate={}
    )
    model = KindModel(kinds, words, open_policy)
    choosing = validation["group"].map(lambda group: unit_hash(f"kinds:{group}")) < 0.5
    policy = choose_policy(model, validation[choosing].reset_index(drop=True), config)
    model = dataclasses.replace(model, policy=policy)
    proof = certificate(model, validation[~choosing], config)
    model = dataclasses.replace(model, policy=dataclasses.replace(policy, certificate=proof))
    facts = {
        "kinds": kinds, "rows": f"{len(train):,}", "sources": by_source(model, validation), "certificate": proof,
        "trained": _counts(train), "without_bundle": config.without_bundle,
    }  # fmt: skip
    training = {
        "configuration": dataclasses.asdict(config),
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(strange.glob("*.parquet"))
        },
        "rows": _counts(train),
    }
    return write_kinds(
        out,
        model,
        name=config.name,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        card=card(config, facts, _data_sets(config, config_path.parent)),
        training=training,
        fingerprint=config.fingerprint,
    )


_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("config", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=_FOLDER, envvar="DOCYARD_DATA", required=True, help="Labelled data.")
@click.option("--strange", type=_FOLDER, required=True, help="Folder that models.training.strange_texts wrote.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the bundle goes.")
def main(config: Path, data: Path, strange: Path, out: Path) -> None:
    """Make a bundle of kinds as CONFIG (TOML) says."""
    try:
        model = make(config, data, strange, out)
    except DocyardError as error:
        raise click.ClickException(str(error)) from None
    wrong = model.policy.certificate["wrong_of_undoubted"]
    click.echo(f"{out}: {model.reference}, {', '.join(model.kinds)}")
    click.echo(
        f"  {wrong['count']} of {wrong['rows']:,} answers without doubt are wrong: at most {wrong['at_most']:.2%}"
    )


if __name__ == "__main__":
    main()
