"""Options for data of one's own: recipes, class weights, first weights, frozen stages, patience, a finished run made longer."""

import json
from dataclasses import replace

import numpy as np
import pytest

import minisqx
from minisqx.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minisqx.cli import commands as cli
from minisqx.errors import OptionError
from minisqx.report.content import is_over
from minisqx.spec import zoo
from minisqx.training import resume, train
from minisqx.training.data import open_training_data
from minisqx.training.optim import balanced_weights
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import COLUMNS, RunFolder
from minisqx.training.run_state import RunState
from minisqx.training.schedule import cycle
from minisqx.training.trainer import Trainer
from tests.training_runs import SMALL, bits, rows, run, stopped_and_resumed, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5"))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("minisqx.training.run_folder.draw_curves", lambda *arguments: b"")
    monkeypatch.setattr(Trainer, "_report", lambda trainer: None)


@pytest.fixture(scope="module")
def first_weights(tmp_path_factory) -> str:
    """A network for other classes, with the normalisation that it was trained with."""
    network = minisqx.ShallowSqueezeNext(width=0.125, num_classes=7, seed=5)
    path = tmp_path_factory.mktemp("init") / "seven.h5"
    classes = tuple("abcdefg")
    save_checkpoint(path, Checkpoint(network.spec, network.state_dict(), classes, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)))
    return str(path)


@pytest.mark.parametrize(
    "options",
    [
        {"class_weights": "balanced"},
        {"init": "FIRST"},
        {"init": "FIRST", "freeze": "stage2", "average": 0.5},
        {"restarts": (1,), "schedule": "one-cycle"},
        {"recipe": "modern", "epochs": 3},
    ],
    ids=lambda options: "-".join(options),
)
def test_each_option_gives_its_own_bits_on_any_threads_and_after_a_kill(options, data, first_weights, tmp_path, monkeypatch):
    uneven = write_uneven(tmp_path / "uneven.h5") if "class_weights" in options else data
    options = {name: first_weights if value == "FIRST" else value for name, value in options.items()}
    straight = run(uneven, tmp_path / "straight", **options)
    assert bits(straight)[0] != bits(run(uneven, tmp_path / "without"))[0]
    assert bits(stopped_and_resumed(uneven, tmp_path / "resumed", monkeypatch, **options)) == bits(straight)


def write_uneven(path):
    """Three classes of 40, 15 and 5 training images."""
    import h5py

    write_data(path, images=120)
    with h5py.File(path, "a") as file:
        labels = file["labels"][:]
        kept = np.concatenate([np.flatnonzero(labels == label)[:count] for label, count in enumerate((40, 15, 5))])
        images = file["images"][:][kept]
        del file["images"], file["labels"]
        file["images"], file["labels"] = images, labels[kept]
    return str(path)


def test_balanced_weights_let_each_class_count_the_same(data, tmp_path):
    labels = np.repeat([0, 1, 3], [40, 15, 5])
    weights = balanced_weights(labels, 4)
    assert weights == pytest.approx([60 / 120, 60 / 45, 1, 60 / 15])
    assert weights[labels].mean() == pytest.approx(1)
    trainer_data = open_training_data(TrainingOptions(**SMALL, data=write_uneven(tmp_path / "u.h5")), lambda line: None)
    options = TrainingOptions(**SMALL, class_weights="balanced", data="u.h5")
    trainer = Trainer(options, trainer_data, RunFolder(tmp_path), "", print)
    assert np.array_equal(trainer.class_weights, balanced_weights(trainer_data.train.labels, 3))


def test_the_history_has_the_recall_of_each_class_and_their_mean(data, tmp_path):
    folder = run(data, tmp_path / "run")
    last = rows(folder)[-1]
    recall = json.loads(last["test_recall"])
    checkpoint = load_checkpoint(folder.last)
    test = open_training_data(TrainingOptions(**SMALL, data=data), lambda line: None).test
    predictions = minisqx.load(folder.last).infer(list(test.images))
    right = np.array([prediction.index for prediction in predictions]) == test.labels
    assert recall == [round(float(right[test.labels == label].mean()), 4) for label in range(3)]
    assert float(last["test_balanced_accuracy"]) == pytest.approx(np.mean(recall), abs=1e-4)
    assert checkpoint.training["state"]["history"][-1]["test_recall"] == recall
    assert checkpoint.metrics["test_balanced_accuracy"] == float(last["test_balanced_accuracy"])


def test_a_run_from_before_recall_was_kept_goes_on_without_it(data, tmp_path):
    folder = run(data, tmp_path / "run")
    state = load_checkpoint(folder.last).training["state"]
    for row in state["history"]:
        for name in COLUMNS[-4:]:
            del row[name]
    assert RunState.from_dict(state).history[0]["test_recall"] is None


def test_first_weights_are_taken_where_shapes_fit_and_the_rest_is_named(data, first_weights, tmp_path, monkeypatch):
    lines: list[str] = []
    options = TrainingOptions(**SMALL, init=first_weights, data=data, out=tmp_path / "run")
    begun = {}
    plain = Trainer.begin_with

    def begin_with(trainer, model):
        plain(trainer, model)
        begun.update(trainer.network.state_dict())

    monkeypatch.setattr(Trainer, "begin_with", begin_with)
    folder = train(options, lines.append).folder
    first, fresh = load_checkpoint(first_weights), minisqx.ShallowSqueezeNext(width=0.125, num_classes=3)
    for name, values in begun.items():
        expected = fresh.state_dict()[name] if name.startswith("classifier") else first.state[name]
        assert np.array_equal(values, expected), name
    [line] = [line for line in lines if line.startswith("init: ")]
    assert "'seven.h5'" in line and line.endswith("new, since their shapes differ: 'classifier'")
    last = load_checkpoint(folder / "last.h5")
    assert (last.mean, last.std) == (first.mean, first.std) and last.provenance["recipe"]["init"] == "seven.h5"
    with pytest.raises(OptionError, match="no layer of shallow-06-0.125x fits shallow-06-0.5x"):
        train(replace(options, width=0.5), lines.append)
    assert [file.name for file in tmp_path.iterdir()] == ["run"] and len(list((tmp_path / "run").glob("*/"))) == 0


def test_a_frozen_stage_keeps_its_weights_and_statistics_through_a_run(data, first_weights, tmp_path):
    folder = run(data, tmp_path / "run", init=first_weights, freeze="stage2")
    first, last = load_checkpoint(first_weights), load_checkpoint(folder.last)
    for name, values in last.state.items():
        frozen = name.startswith(("stem", "stage1", "stage2"))
        assert name.startswith("classifier") or np.array_equal(values, first.state[name]) == frozen, name


def test_patience_ends_a_run_and_a_resume_knows_that_it_ended(data, tmp_path, monkeypatch):
    plain = Trainer._evaluate

    def measured(trainer, name, part, kept=None):
        """The validation accuracy rises for two epochs and never after."""
        found = plain(trainer, name, part, kept)
        accuracy = [0.2, 0.5][min(trainer.state.epoch, 1)]
        return found | ({"validation_accuracy": accuracy, "validation_loss": 1.0} if name == "validation" else {})

    monkeypatch.setattr(Trainer, "_evaluate", measured)
    lines: list[str] = []
    options = TrainingOptions(**SMALL | {"epochs": 30}, patience=3, data=data, out=tmp_path / "run")
    result = train(options, lines.append)
    assert (len(result.history), result.best_epoch) == (5, 2)
    assert any(line == "stopped early: 3 epochs without a better validation result" for line in lines)
    assert len(resume(result.folder, lines.append).history) == 5 and "complete" in lines[-1]
    assert len(resume(result.folder, lines.append, extend=9).history) == 8, "its patience begins anew, too"
    with pytest.raises(OptionError, match="patience 3 without validation images"):
        train(replace(options, validation=0, out=str(tmp_path / "other")), lines.append)


def test_a_run_is_over_at_its_end_or_when_its_patience_is():
    def history(*accuracies):
        return [{"validation_accuracy": accuracy, "validation_loss": 1.0} for accuracy in accuracies]

    assert is_over({"epochs": 2}, history(None, None)) and not is_over({"epochs": 3}, history(None, None))
    options = {"epochs": 9, "patience": 2, "restarts": [4]}
    assert not is_over(options, []) and not is_over(options, history(0.5, 0.4)) and is_over(options, history(0.5, 0.4, 0.5))
    assert not is_over(options, history(0.1, 0.2, 0.3, 0.2, 0.2)) and is_over(options, history(0.1, 0.2, 0.3, 0.2, 0.2, 0.1))


def test_a_finished_run_made_longer_is_the_run_that_was_planned_so(data, tmp_path, monkeypatch):
    for options in ({"schedule": "one-cycle", "lr": 0.2}, {"average": 0.5}):
        planned = run(data, tmp_path / f"planned{len(options)}", **options, epochs=5, restarts=(3,))
        folder = run(data, tmp_path / f"longer{len(options)}", **options)
        assert len(rows(folder)) == 3
        plain, killed = Trainer._train_batch, []

        def kill_once(trainer, batch, plain=plain, killed=killed):
            if trainer.state.epoch == 4 and not killed:
                killed.append(True)
                raise MemoryError
            return plain(trainer, batch)

        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "_train_batch", kill_once)
            with pytest.raises(MemoryError):
                resume(folder.path, lambda line: None, extend=2)
        resume(folder.path, lambda line: None, threads=2)
        assert bits(folder) == bits(planned)
        assert rows(folder)[3]["lr"] != rows(folder)[2]["lr"]


def test_only_a_finished_run_is_made_longer(data, tmp_path, monkeypatch, capsys):
    def killed(trainer, batch):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_batch", killed)
        with pytest.raises(MemoryError):
            run(data, tmp_path / "run")
    with pytest.raises(OptionError, match="extend 2: the run has 0 of its 3 epochs"):
        resume(tmp_path / "run", lambda line: None, extend=2)
    folder = run(data, tmp_path / "finished")
    with pytest.raises(OptionError, match="extend 0: expected epochs from 1 to 9997|extend 0"):
        resume(folder.path, lambda line: None, extend=0)
    assert cli.main(["train", "--extend", "3"]) == OptionError.exit_code
    assert "--extend 3 without --resume" in capsys.readouterr().err


def test_a_schedule_begins_anew_at_each_restart():
    assert [cycle(epoch, 9, (2, 5)) for epoch in (0, 1, 2, 4, 5, 8)] == [(0, 2), (0, 2), (2, 3), (2, 3), (5, 4), (5, 4)]
    assert cycle(7, 9, ()) == (0, 9)


def test_own_images_take_the_modern_recipe_and_explicit_options_win(data, tmp_path):
    own = TrainingOptions(data=data, epochs=7)
    assert own.recipe is None and own.lr is None and own.command() == f"minisqx train --data {data} --epochs 7"
    few, many = own.settled(500, own=True), replace(own, epochs=None).settled(40_000, own=True)
    assert (few.recipe, few.epochs, few.schedule, few.augment) == ("modern", 7, "one-cycle", str(few.augment))
    assert few.batch_size < many.batch_size and few.lr == many.lr and "flip" not in few.augment
    assert replace(own, epochs=None).settled(500, own=True).epochs > many.epochs
    assert few.settled(9, own=False) == few, "a settled run stays what it is"
    paper = TrainingOptions(data=data, recipe="paper", epochs=7)
    assert (paper.epochs, paper.lr, paper.schedule, paper.batch_size) == (7, 0.1, "step", 128)
    assert own.settled(50_000, own=False) == replace(paper, recipe="paper")
    steps = TrainingOptions(data=data, milestones=(2, 3)).settled(500, own=True)
    assert (steps.schedule, steps.lr) == ("step", 0.1)
    assert own.settled(500, own=True, network=zoo.network("squeezenet-v1.1")).lr == 0.02
    assert [replace(own, width=width).settled(40_000, own=True).augment for width in (0.2, 0.5)] == ["none", few.augment]
    lines: list[str] = []
    train(TrainingOptions(data=data, width=0.125, epochs=1, validation=7, out=tmp_path / "own"), lines.append)
    [line] = [line for line in lines if line.startswith("recipe: ")]
    assert line.startswith(
        "recipe: modern, for 53 training images of your own; --recipe paper takes the paper's: epochs 1, batch size 32"
    )
    config = json.loads((tmp_path / "own" / "config.json").read_text())["options"]
    assert (config["recipe"], config["schedule"]) == ("modern", "one-cycle")
