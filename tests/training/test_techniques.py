"""The techniques of the model factory, each on a tiny random encoder."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoModel  # noqa: E402

from models.training import fine_tuning as loop  # noqa: E402
from models.training.config import (  # noqa: E402
    Distillation,
    FineTuning,
    Lora,
    Pruning,
    Recipe,
    TeacherTraining,
)
from models.training.data import UNLABELLED  # noqa: E402
from models.training.fine_tuning import Targets, fine_tune, length_bucketed  # noqa: E402
from models.training.mixtures import mixtures  # noqa: E402
from models.training.network import (  # noqa: E402
    TrainedNetwork,
    cut_long_words,
    load_network,
    load_tokenizer,
    prune_feed_forward,
    prune_vocabulary,
)
from models.training.recipe import Training, ask_linear_teacher  # noqa: E402
from schemas.errors import ConfigError  # noqa: E402
from tests.support.tiny_base import made_up_rows, write_tiny_base  # noqa: E402

TEXTS, GOLD = made_up_rows(240)
LABELS = sorted(set(GOLD))
LABEL_IDS = np.array([LABELS.index(label) for label in GOLD], dtype=np.int64)
TUNING = FineTuning(epochs=3, batch_documents=16, encoder_learning_rate=2e-3, head_learning_rate=1e-2, max_tokens=32)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedNetwork, Path]:
    work = tmp_path_factory.mktemp("work")
    return train(base, work), work


def train(
    base: Path,
    work: Path,
    label_ids: np.ndarray = LABEL_IDS,
    soft_labels: np.ndarray | None = None,
    n_labels: int = len(LABELS),
    **recipe: Any,
) -> TrainedNetwork:
    full = Recipe(**({"fine_tuning": TUNING} | recipe))
    return Training(full, base, TEXTS, label_ids, n_labels, work, soft_labels).run()


def answers(trained: TrainedNetwork, texts: list[str] = TEXTS) -> np.ndarray:
    return trained.network.infer(trained.encode(texts, 32))[1]


def right_share(trained: TrainedNetwork) -> float:
    return float((answers(trained).argmax(axis=1) == LABEL_IDS).mean())


def test_full_fine_tuning_learns_the_labels(trained: tuple[TrainedNetwork, Path]) -> None:
    assert right_share(trained[0]) > 0.95


def test_further_right_labels_come_second_and_cost_the_first_answer_nothing(base: Path, tmp_path: Path) -> None:
    """Every document of the first label has the second as well."""
    both = LABEL_IDS == 0
    shares = np.eye(len(LABELS), dtype=np.float32)[LABEL_IDS]
    shares[both, 0], shares[both, 1] = 0.7, 0.3
    full = Recipe(fine_tuning=TUNING)
    network = Training(full, base, TEXTS, LABEL_IDS, len(LABELS), tmp_path, shares=shares).run()
    order = np.argsort(-answers(network), axis=1)
    assert (order[:, 0] == LABEL_IDS).mean() > 0.95
    assert (order[both, 1] == 1).mean() > 0.95


def test_shares_change_nothing_where_every_row_has_one_label(
    trained: tuple[TrainedNetwork, Path], base: Path, tmp_path: Path
) -> None:
    shares = np.eye(len(LABELS), dtype=np.float32)[LABEL_IDS]
    full = Recipe(fine_tuning=TUNING)
    network = Training(full, base, TEXTS, LABEL_IDS, len(LABELS), tmp_path, shares=shares).run()
    np.testing.assert_allclose(answers(network), answers(trained[0]), atol=0.05)


def test_a_finished_training_is_used_again_and_not_repeated(
    trained: tuple[TrainedNetwork, Path], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, work = trained
    monkeypatch.setattr("models.training.recipe.fine_tune", None)
    np.testing.assert_array_equal(answers(train(base, work)), answers(first))


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    trained: tuple[TrainedNetwork, Path], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_save = loop._Progress.save_now_and_then
    monkeypatch.setattr(loop._Progress, "save_now_and_then", lambda self, step: plain_save(self, step, 0.0))
    plain_pad, calls = loop.pad, itertools.count()

    def dies_at_step_20(*arguments: object) -> object:
        if next(calls) == 20:
            raise KeyboardInterrupt
        return plain_pad(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "pad", dies_at_step_20)
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path)
    assert (tmp_path / "progress.pt").is_file()
    n_before = next(calls)
    again = train(base, tmp_path)
    assert next(calls) - n_before - 1 == 45 - 20, "only the steps that were left"
    assert not (tmp_path / "progress.pt").exists()
    for name, value in trained[0].network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_lora_trains_few_weights_and_merging_changes_no_answer(
    base: Path, trained: tuple[TrainedNetwork, Path]
) -> None:
    network = load_network(trained[1] / "network")
    network.add_lora(Lora(rank=4, dropout=0.0), seed=1)
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert trainable < 0.5 * sum(parameter.numel() for parameter in network.parameters())
    token_ids = trained[0].encode(TEXTS, 32)
    recipe = dataclasses.replace(TUNING, epochs=1)
    fine_tune(network, token_ids, Targets(LABEL_IDS), recipe, trained[1] / "lora.pt")
    before = network.infer(token_ids)[1]
    network.merge_lora()
    merged = network.infer(token_ids)[1]
    assert not any("lora" in name for name in network.state_dict())
    np.testing.assert_allclose(merged, before, atol=1e-4)
    assert np.abs(before - answers(trained[0])).max() > 1e-3, "the additions were trained"


def test_lora_is_saved_as_a_plain_network(base: Path, tmp_path: Path) -> None:
    tuning = dataclasses.replace(TUNING, encoder_learning_rate=1e-2, epochs=5)
    lora = train(base, tmp_path, fine_tuning=tuning, lora=Lora(rank=8))
    assert right_share(lora) > 0.9
    np.testing.assert_array_equal(answers(train(base, tmp_path)), answers(lora))


def test_a_student_with_fewer_layers_learns_from_its_teacher(
    base: Path, trained: tuple[TrainedNetwork, Path], tmp_path: Path
) -> None:
    taught = Distillation(teachers=(str(trained[1] / "network"),), weight=1.0)
    student = train(base, tmp_path, distillation=taught, pruning=Pruning(layers=(1,)))
    assert student.network.config.num_hidden_layers == 1
    assert (answers(student).argmax(axis=1) == answers(trained[0]).argmax(axis=1)).mean() > 0.9


def test_an_ensemble_of_teachers_is_trained_first_and_kept(base: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TUNING, epochs=1)
    train(base, tmp_path, fine_tuning=recipe, distillation=Distillation(train_teachers=(TeacherTraining(count=2),)))
    weights = [torch.load(path) if path.suffix == ".pt" else path.read_bytes() for path in
               sorted(tmp_path.glob("teacher-*/model.safetensors"))]  # fmt: skip
    assert len(weights) == 2
    assert weights[0] != weights[1], "other seeds"


def test_a_taught_teacher_learns_from_those_before_it(base: Path, tmp_path: Path) -> None:
    weights = {}
    for taught in (False, True):
        teams = Distillation(train_teachers=(TeacherTraining(), TeacherTraining(taught=taught)))
        train(base, tmp_path / str(taught), fine_tuning=dataclasses.replace(TUNING, epochs=1), distillation=teams)
        weights[taught] = [
            (tmp_path / str(taught) / f"teacher-{number}" / "model.safetensors").read_bytes() for number in (1, 2)
        ]
    assert weights[False][0] == weights[True][0]
    assert weights[False][1] != weights[True][1]


def test_a_student_may_start_from_its_last_teacher(base: Path, tmp_path: Path) -> None:
    still = dataclasses.replace(TUNING, epochs=1, encoder_learning_rate=1e-12)
    distillation = Distillation(train_teachers=(TeacherTraining(encoder_learning_rate=1e-3),), start_from_teacher=True)
    student = train(base, tmp_path, fine_tuning=still, distillation=distillation)
    teacher = load_network(tmp_path / "teacher-1")
    for own, taught in zip(student.network.encoder.parameters(), teacher.encoder.parameters(), strict=True):
        assert torch.allclose(own, taught, atol=1e-6)


def test_a_student_may_keep_a_share_of_the_network_it_started_from(base: Path, tmp_path: Path) -> None:
    tuning = dataclasses.replace(TUNING, epochs=1)
    trained = {}
    for share in (0.0, 0.25):
        distillation = Distillation(train_teachers=(TeacherTraining(),), start_from_teacher=True, start_share=share)
        trained[share] = train(base, tmp_path / str(share), fine_tuning=tuning, distillation=distillation)
    start = load_network(tmp_path / "0.25" / "teacher-1").state_dict()
    alone, mean = (trained[share].network.state_dict() for share in (0.0, 0.25))
    assert not torch.equal(alone["head.weight"], start["head.weight"])
    for name, value in mean.items():
        assert torch.allclose(value, 0.75 * alone[name] + 0.25 * start[name], atol=1e-6), name


def test_a_wider_teacher_of_another_kind_teaches_a_smaller_student(base: Path, tmp_path: Path) -> None:
    mpnet = write_tiny_base(tmp_path / "mpnet", layers=3, kind="mpnet", width=48)
    team = (TeacherTraining(base_model=str(mpnet), epochs=4, max_tokens=24), TeacherTraining(epochs=1))
    small = Pruning(layers=(0,), feed_forward=32)
    student = train(base, tmp_path / "work", distillation=Distillation(train_teachers=team, weight=1.0), pruning=small)
    wide, same = (TrainedNetwork.load(tmp_path / "work" / f"teacher-{number}") for number in (1, 2))
    assert (wide.network.config.model_type, wide.network.config.num_hidden_layers) == ("mpnet", 3)
    assert (same.network.config.model_type, same.network.config.num_hidden_layers) == ("bert", 2)
    assert (student.network.config.num_hidden_layers, student.network.config.intermediate_size) == (1, 32)
    assert right_share(wide) > 0.9
    assert right_share(student) > 0.9


def test_a_student_starts_from_the_first_teacher_that_is_like_its_base(
    base: Path, trained: tuple[TrainedNetwork, Path], tmp_path: Path
) -> None:
    wide = write_tiny_base(tmp_path / "wide", width=48)
    train(wide, tmp_path / "wide-work", fine_tuning=dataclasses.replace(TUNING, epochs=1))
    folders = [tmp_path / "wide-work" / "network", trained[1] / "network"]
    full = Recipe(fine_tuning=TUNING, pruning=Pruning(layers=(1,)))
    student = Training(full, base, TEXTS, LABEL_IDS, len(LABELS), tmp_path)
    assert student._start(folders) == folders[1]
    assert student._start(folders[:1]) is None
    assert dataclasses.replace(student, recipe=Recipe(fine_tuning=TUNING))._start(folders) is None


def test_teachers_that_are_finished_are_not_trained_or_asked_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {
        "fine_tuning": dataclasses.replace(TUNING, epochs=1),
        "distillation": Distillation(train_teachers=(TeacherTraining(count=2),)),
    }
    plain, seen = fine_tune, []

    def dies_at_the_student(network: Any, token_ids: Any, *rest: Any) -> None:
        seen.append(rest[-1].name)
        if seen.count("progress.pt") == 1 and seen[-1] == "progress.pt":
            raise KeyboardInterrupt
        plain(network, token_ids, *rest)

    monkeypatch.setattr("models.training.recipe.fine_tune", dies_at_the_student)
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path, **recipe)
    monkeypatch.setattr(TrainedNetwork, "load", None)  # what reads a teacher
    train(base, tmp_path, **recipe)
    assert seen == ["teacher-1.pt", "teacher-2.pt", "progress.pt", "progress.pt"]


def test_a_student_learns_from_answers_to_texts_without_labels(
    base: Path, trained: tuple[TrainedNetwork, Path], tmp_path: Path
) -> None:
    few = np.arange(0, 24)
    taught = Distillation(teachers=(str(trained[1] / "network"),), weight=1.0)
    rows = ([TEXTS[row] for row in few], LABEL_IDS[few], len(LABELS))
    agreements = []
    for name, unlabelled in (("without", []), ("with", TEXTS[24:])):
        recipe = Recipe(fine_tuning=dataclasses.replace(TUNING, epochs=2), distillation=taught)
        student = Training(recipe, base, *rows, tmp_path / name, unlabelled=unlabelled).run()
        new = made_up_rows(300, seed=9)[0]
        agreements.append(float((answers(student, new).argmax(1) == answers(trained[0], new).argmax(1)).mean()))
    assert agreements[1] > max(0.9, agreements[0])


def test_feed_forward_neurons_that_move_nothing_are_left_out_first(trained: tuple[TrainedNetwork, Path]) -> None:
    network = load_network(trained[1] / "network")
    idle = np.random.default_rng(0).permutation(64)[:40]
    with torch.no_grad():
        for layer in network.encoder.encoder.layer:
            layer.output.dense.weight[:, torch.from_numpy(idle)] = 0.0
    token_ids = trained[0].encode(TEXTS, 32)
    before = network.infer(token_ids)[1]
    narrow = prune_feed_forward(network, token_ids[:20], 24)
    assert narrow.config.intermediate_size == 24
    np.testing.assert_allclose(narrow.infer(token_ids)[1], before, atol=1e-5)
    with pytest.raises(ConfigError, match=r"pruning\.feed_forward: expected at most 64, found 65"):
        prune_feed_forward(network, token_ids, 65)


def test_frozen_layers_keep_the_weights_of_the_base_encoder(base: Path, tmp_path: Path) -> None:
    kept = train(base, tmp_path, fine_tuning=dataclasses.replace(TUNING, frozen_layers=1, dropout=0.0))
    before = AutoModel.from_pretrained(base, add_pooling_layer=False).state_dict()
    same = {name for name, value in kept.network.encoder.state_dict().items() if torch.equal(value, before[name])}
    assert "embeddings.word_embeddings.weight" in same
    assert "encoder.layer.0.intermediate.dense.weight" in same
    assert "encoder.layer.1.intermediate.dense.weight" not in same
    assert right_share(kept) > 0.9


def test_a_text_has_mixtures_of_its_words_and_those_of_others() -> None:
    made = mixtures(["one two three four five six", "seven eight nine", "ten"], 6, seed=3)
    assert len(made) == 18
    assert made == mixtures(["one two three four five six", "seven eight nine", "ten"], 6, seed=3)
    assert all(made)
    shorter, swapped, joined = made[0].split(), made[1].split(), made[2].split()
    assert set(shorter) < {"one", "two", "three", "four", "five", "six"}
    assert sorted(swapped) == sorted(["one", "two", "three", "four", "five", "six"])
    assert swapped[0] != "one"
    assert joined[0] == "one"
    assert joined[-1] in {"six", "nine", "ten"}


def test_the_linear_teacher_does_not_repeat_a_wrong_label() -> None:
    wrong = LABEL_IDS.copy()
    wrong[:9] = (wrong[:9] + 1) % 3
    soft = ask_linear_teacher(TEXTS, np.append(wrong[:-1], UNLABELLED), 4, temperature=1.0, seed=1)
    assert (soft[:9].argmax(axis=1) == LABEL_IDS[:9]).mean() > 0.8
    np.testing.assert_allclose(soft[:-1].sum(axis=1), 1.0, rtol=1e-5)
    assert np.isnan(soft[-1]).all(), "a row nobody labelled"
    assert (soft[:-1, 3] == 0.0).all(), "a label without rows"


def test_a_student_learns_from_the_linear_teacher_alone(base: Path, tmp_path: Path) -> None:
    wrong = (LABEL_IDS + 1) % 3
    swapped = dataclasses.replace(Distillation(), linear_teacher=True, weight=1.0)
    student = train(base, tmp_path, wrong, distillation=swapped)
    assert (answers(student).argmax(axis=1) == wrong).mean() > 0.9


def test_a_teacher_of_another_taxonomy_is_refused(
    base: Path, trained: tuple[TrainedNetwork, Path], tmp_path: Path
) -> None:
    other = Distillation(teachers=(str(trained[1] / "network"),))
    with pytest.raises(ConfigError, match="the teacher has 3 labels, the data 4"):
        train(base, tmp_path, n_labels=4, distillation=other)


def test_rows_without_a_label_learn_from_soft_labels_alone(base: Path, tmp_path: Path) -> None:
    soft = np.full((len(TEXTS), 3), np.nan, dtype=np.float32)
    unlabelled = np.arange(len(TEXTS)) >= 30
    soft[unlabelled] = np.eye(3, dtype=np.float32)[(LABEL_IDS[unlabelled] + 1) % 3]  # somebody swaps the labels
    label_ids = np.where(unlabelled, UNLABELLED, LABEL_IDS)
    taught = train(base, tmp_path, label_ids, soft)
    assert (answers(taught).argmax(axis=1) == (LABEL_IDS + 1) % 3)[unlabelled].mean() > 0.9


def test_a_pruned_vocabulary_keeps_every_text_readable(base: Path) -> None:
    content = (base / "tokenizer.json").read_bytes()
    whole = Tokenizer.from_str(content.decode())
    single = sum(len(piece.removeprefix("##")) == 1 or piece.startswith("[") for piece in whole.get_vocab())
    pruned, kept = prune_vocabulary(content, TEXTS[:50], single + 20)
    tokenizer = Tokenizer.from_str(pruned.decode())
    assert tokenizer.get_vocab_size() == len(kept) == single + 20 < whole.get_vocab_size()
    for piece, index in tokenizer.get_vocab().items():
        assert whole.token_to_id(piece) == kept[index]
    for text in TEXTS:
        pieces = tokenizer.encode(text).tokens
        assert pieces[0] == "[CLS]"
        assert pieces[-1] == "[SEP]"
        assert "[UNK]" not in pieces
        assert "".join(piece.removeprefix("##") for piece in pieces[1:-1]) == text.replace(" ", "")


@pytest.mark.parametrize("size", [3, 10**6])
def test_an_impossible_vocabulary_size_is_refused(base: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=r"pruning\.vocabulary"):
        prune_vocabulary((base / "tokenizer.json").read_bytes(), TEXTS, size)


def test_a_layer_that_does_not_exist_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pruning\.layers: expected rising numbers among \[0, 1\], found \[1, 5\]"):
        train(base, tmp_path, pruning=Pruning(layers=(1, 5)))


def test_a_network_with_pruned_vocabulary_learns(base: Path, tmp_path: Path) -> None:
    pruned = train(base, tmp_path, pruning=Pruning(vocabulary=120))
    assert pruned.network.config.vocab_size == 120
    assert len(json.loads(pruned.tokenizer)["model"]["vocab"]) == 120
    assert right_share(pruned) > 0.95


def test_class_weighting_raises_the_share_of_a_rare_label(base: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    label_ids = np.where(rng.random(len(TEXTS)) < 0.9, 0, 1)  # of no use to predict: only the prior counts
    shares = []
    for weighting in (0.0, 1.0):
        recipe = dataclasses.replace(TUNING, epochs=4, class_weighting=weighting, encoder_learning_rate=1e-5)
        network = train(base, tmp_path / str(weighting), label_ids, n_labels=2, fine_tuning=recipe)
        shares.append(float((answers(network).argmax(axis=1) == 1).mean()))
    assert shares[1] > shares[0] + 0.1


def test_every_row_is_in_exactly_one_batch() -> None:
    lengths = np.random.default_rng(0).integers(3, 90, size=5000)
    batches = list(length_bucketed(lengths, 64, np.random.default_rng(1)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))
    assert len(batches) == -(-5000 // 64)
    assert np.mean([np.ptp(lengths[rows]) for rows in batches]) < 10


def test_rows_that_only_teachers_label_are_enough(base: Path, tmp_path: Path) -> None:
    soft = np.eye(len(LABELS), dtype=np.float32)[LABEL_IDS]
    nobody = np.full(len(TEXTS), UNLABELLED, dtype=np.int64)
    trained = train(base, tmp_path, nobody, soft)
    assert (answers(trained).argmax(axis=1) == LABEL_IDS).mean() > 0.9


def test_a_vocabulary_that_is_impossible_is_refused_before_any_teacher_is_trained(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pruning\.vocabulary"):
        train(
            base,
            tmp_path,
            distillation=Distillation(train_teachers=(TeacherTraining(),)),
            pruning=Pruning(vocabulary=10**6),
        )
    assert not (tmp_path / "teacher-1").exists()


def test_words_that_wordpiece_gives_up_are_read_in_parts(base: Path) -> None:
    plain = (base / "tokenizer.json").read_bytes()
    cutting = load_tokenizer(cut_long_words(plain))
    unknown = cutting.token_to_id("[UNK]")
    word = "red" * 50
    assert unknown in load_tokenizer(plain).encode(word).ids
    pieces = [cutting.id_to_token(number) for number in cutting.encode(word).ids[1:-1]]
    assert "".join(pieces).replace("##", "") == word
    for text in (*TEXTS, "a-b " * 60):
        assert cutting.encode(text).ids == load_tokenizer(plain).encode(text).ids
