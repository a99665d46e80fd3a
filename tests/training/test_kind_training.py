"""Making a bundle of kinds: rows and their variations, thresholds that keep their promise, the whole command."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from models.kind import NONE, KindModel, KindPolicy, load_kinds
from models.training import kind as training
from models.training.kind import KindRows, KindTraining, certificate, choose_policy, fit, misread, read_rows
from models.training.letters import SENTENCES, letter_of_customer, made_up_letters
from models.training.strange_texts import folder_texts
from schemas.errors import ConfigError

KINDS = ("receipt", "ticket")
PROSE = ["The river rises in the hills. It flows to the sea past many towns. Boats carry coal and timber on it."]


def made_up_rows(number: int, seed: int) -> pd.DataFrame:
    random = Random(seed)
    words = {
        "receipt": ["total", "cash", "change", "gst", "qty", "coffee", "cake", "subtotal", "tax", "card"],
        "ticket": ["please", "my", "account", "help", "why", "charged", "refund", "where", "when", "password"],
        NONE: ["river", "mountain", "def", "return", "import", "stone", "painted", "century", "north", "lake"],
    }
    texts = [
        (" ".join(random.choices(words[kind], k=random.randint(3, 9))), kind) for kind in words for _ in range(number)
    ]
    rows = pd.DataFrame(texts, columns=["text", "kind"])
    return rows.assign(source=rows["kind"] + " rows", group=rows.index.astype(str))


@pytest.fixture(scope="module")
def model() -> KindModel:
    words = fit(made_up_rows(80, 1), KINDS, 1024)
    policy = KindPolicy(temperature=1.0, min_probability=dict.fromkeys(KINDS, 0.0), min_doubtful=0.0, certificate={})
    return KindModel(KINDS, words, policy)


def configuration(**changes: object) -> KindTraining:
    config = KindTraining(name="kinds", rows=(KindRows("ticket", "tickets"),), fingerprint=("a text",))
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def test_the_chosen_thresholds_keep_the_shares_they_were_chosen_for(model: KindModel) -> None:
    rows = made_up_rows(100, 2)
    config = configuration(right_share=0.9, most_rejected=0.02)
    chosen = dataclasses.replace(model, policy=choose_policy(model, rows, config))
    for source in training.by_source(chosen, rows):
        if source["kind"] != NONE:
            assert source["right"] >= 0.9
            assert source["none"] <= 0.02
    generous = choose_policy(model, rows, dataclasses.replace(config, right_share=1.0, most_rejected=0.0))
    for kind, threshold in chosen.policy.min_probability.items():
        assert threshold >= generous.min_probability[kind] >= 0.5
    assert chosen.policy.min_doubtful >= generous.min_doubtful


def test_the_chosen_thresholds_allow_no_more_wrong_answers_without_doubt_than_they_may(model: KindModel) -> None:
    rows = made_up_rows(100, 2)
    rows.loc[:9, "kind"] = "ticket"  # receipts called tickets, which nothing can tell
    found = {}
    for most_wrong in (0.0, 1.0):
        config = configuration(right_share=0.9, most_wrong=most_wrong)
        chosen = dataclasses.replace(model, policy=choose_policy(model, rows, config))
        found[most_wrong] = certificate(chosen, rows, config)["wrong_of_undoubted"]["count"]
    assert found[0.0] == 0
    assert found[1.0] > 5


def test_what_is_rejected_is_counted_without_the_kinds_that_have_no_bundle(model: KindModel) -> None:
    rows, config = made_up_rows(50, 3), configuration(without_bundle=("receipt",))
    strict = dataclasses.replace(model, policy=dataclasses.replace(model.policy, min_doubtful=1.0))
    assert certificate(strict, rows, config)["rejected_of_known"]["rows"] == 50
    everything = choose_policy(model, rows, dataclasses.replace(config, most_rejected=0.0))
    assert everything.min_doubtful > 0


def test_a_certificate_counts_one_row_of_each_group(model: KindModel) -> None:
    rows = made_up_rows(50, 3)
    single = certificate(model, rows, configuration())
    assert single["kinds"]["ticket"]["not_right_of_all"]["rows"] == 50
    assert single["wrong_of_undoubted"]["count"] <= single["wrong_of_undoubted"]["at_most"] * 100
    assert certificate(model, pd.concat([rows, rows]), configuration()) == single
    fewer = certificate(model, rows.assign(group=["one"] * 75 + ["two"] * 75), configuration())
    assert fewer["rejected_of_known"]["rows"] == 3
    assert fewer["rejected_of_known"]["at_most"] > single["rejected_of_known"]["at_most"]


def test_letters_are_always_the_same_and_those_of_validation_have_sentences_of_their_own() -> None:
    train, validation = (made_up_letters(70, split, PROSE) for split in ("train", "validation"))
    assert train == made_up_letters(70, "train", PROSE)
    assert len(set(train)) == len(train)
    assert "{" not in "".join([*train, *validation])
    sorts = tomllib.loads(SENTENCES.read_text())["sorts"].values()
    whole = [sentence for sort in sorts for sentence in sort["sentences"] if "{" not in sentence]
    in_both = [sentence for sentence in whole if sentence in "".join(train) and sentence in "".join(validation)]
    assert len(whole) > 80
    assert in_both == []
    assert any("rises in the hills" in letter for letter in train)


def test_letters_of_customers_hold_their_concern_and_those_of_validation_have_sentences_of_their_own() -> None:
    concern = "where is the money that I paid in"
    letters = {
        split: [letter_of_customer(concern, split, number) for number in range(60)] for split in ("train", "validation")
    }
    assert letters["train"] == [letter_of_customer(concern, "train", number) for number in range(60)]
    assert len(set(letters["train"])) == 60
    assert all(f"{concern}." in letter and "{" not in letter for part in letters.values() for letter in part)
    sentences = tomllib.loads(SENTENCES.read_text())["customers"]["sentences"]
    whole = {sentence for sentence in sentences if "{" not in sentence}
    found = [{sentence for sentence in whole if sentence in "".join(part)} for part in letters.values()]
    assert found[0]
    assert found[1]
    assert not found[0] & found[1]


def test_misread_text_keeps_its_lines_and_most_of_its_signs() -> None:
    text = "SUBTOTAL 10.50\nGST 0.63\nTOTAL 11.13\n" * 20
    found = misread(text, Random(5))
    assert found == misread(text, Random(5))
    assert found != text
    assert found.count("\n") == text.count("\n")
    assert abs(len(found) - len(text)) < 0.1 * len(text)


def test_texts_of_a_folder_are_pieces_of_its_files_and_always_the_same(tmp_path: Path) -> None:
    (tmp_path / "clone" / "docs").mkdir(parents=True)
    (tmp_path / "clone" / "docs" / "guide.md").write_text("A guide to the lake and all its boats.\n" * 40)
    (tmp_path / "clone" / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing more")
    (tmp_path / "clone" / "picture.png").write_bytes(b"\x89PNG")
    found = list(folder_texts(tmp_path / "clone"))
    assert found == list(folder_texts(tmp_path / "clone"))
    assert {origin for origin, _, _ in found} == {"clone/docs/guide.md"}
    assert all("boats" in text for _, _, text in found)


def test_the_command_makes_a_bundle_that_loads_and_the_same_data_give_the_same_one(tmp_path: Path) -> None:
    tables = {"train": made_up_rows(60, 4), "validation": made_up_rows(40, 5)}
    for split, rows in tables.items():
        for kind in KINDS:
            folder = tmp_path / "data" / kind
            folder.mkdir(parents=True, exist_ok=True)
            part = rows[rows["kind"] == kind].reset_index(drop=True)
            part.assign(id=part.index.astype(str), label="any").to_parquet(folder / f"{split}.parquet")
        strange = tmp_path / "strange"
        strange.mkdir(exist_ok=True)
        part = rows[rows["kind"] == NONE]
        part.assign(origin=part["group"]).to_parquet(strange / f"{split}.parquet")
    config = tmp_path / "kinds.toml"
    config.write_text(
        'name = "small"\nbuckets = 1024\nletters = 30\nfragments = 7\nmade_up_strangers = 3\n'
        'fingerprint = ["my account", "total cash"]\n'
        '[[rows]]\nkind = "ticket"\ndata = "ticket"\nvariations = 1\n'
        '[[rows]]\nkind = "receipt"\ndata = "receipt"\nnoisy = 1\npieces = 1\nleast_characters = 5\nmost = 50\n'
    )
    digests = []
    for name in ("a", "b"):
        arguments = [str(config), "--data", str(tmp_path / "data"), "--strange", str(tmp_path / "strange")]
        result = CliRunner().invoke(training.main, [*arguments, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        made = load_kinds(tmp_path / name)
        digests.append(made.digest)
    assert digests[0] == digests[1]
    assert made.kinds == ("letter", "receipt", "ticket")
    answers = made.detect(["please help, where is my refund", "subtotal cash change total"])
    assert [made.kinds[kind_id] for kind_id in answers.kind_ids] == ["ticket", "receipt"]
    assert "| ticket | ticket | 40 |" in (tmp_path / "a" / "card.md").read_text()


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tickets.train\.parquet: no such file; see docs/kinds\.md"):
        read_rows(configuration(), tmp_path, tmp_path, "train")


def test_half_of_the_validation_texts_become_letters_where_training_texts_do(tmp_path: Path) -> None:
    folder = tmp_path / "tickets"
    folder.mkdir()
    table = pd.DataFrame({"id": list("abcd"), "text": ["a slow card", "a lost card", "no cash", "no money"]})
    strange = pd.DataFrame({"text": PROSE, "source": "books", "origin": "river"})
    for split in ("train", "validation"):
        table.assign(label="in").to_parquet(folder / f"{split}.parquet")
        strange.to_parquet(tmp_path / f"{split}.parquet")
    config = configuration(rows=(KindRows("ticket", "tickets", letters=2),))
    train, found = (read_rows(config, tmp_path, tmp_path, split) for split in ("train", "validation"))
    assert (train["source"] == "tickets").sum() == 4 + 2 * 4
    assert found["source"].tolist() == ["tickets", "tickets, as letters"] * 2 + ["books"]
    assert found["group"].tolist() == [*"abcd", "river"]
    assert found["text"][0] == "a slow card"
    assert "a lost card." in found["text"][1]


def test_rows_are_chosen_by_label_and_length_and_grouped(tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    rows = {"id": list("abcd"), "text": ["a long text", "short", "a text apart", "another one"], "of": list("xxyy")}
    table = pd.DataFrame({**rows, "label": ["in", "in", "oos", "in"]})
    strange = pd.DataFrame({"text": PROSE, "source": "books", "origin": "river"})
    for split in ("train", "validation"):
        table.to_parquet(tmp_path / "tickets" / f"{split}.parquet")
        strange.to_parquet(tmp_path / f"{split}.parquet")
    chosen = KindRows("ticket", "tickets", group_column="of", without_label="oos", least_characters=6)
    others = KindRows("none", "tickets", only_label="oos")
    found = read_rows(configuration(rows=(chosen, others)), tmp_path, tmp_path, "validation")
    assert found[["text", "kind", "group"]].to_numpy().tolist() == [
        ["a long text", "ticket", "x"],
        ["another one", "ticket", "y"],
        ["a text apart", "none", "c"],
        [PROSE[0], "none", "river"],
    ]
    assert np.array_equal(found["source"], ["tickets", "tickets", "tickets", "books"])
