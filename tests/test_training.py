"""Training runs, on data small enough that a run takes less than a second once the kernels are compiled."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD, load_checkpoint
from minisqx.errors import CheckpointError, DataError, OptionError, TrainingError
from minisqx.machine.interrupt import SIGNALS, StopRequest
from minisqx.network import Network
from minisqx.report.content import best_epoch
from minisqx.training import resume, train
from minisqx.training.curves import draw_curves
from minisqx.training.data import CIFAR10_CLASSES, channel_statistics, open_training_data
from minisqx.training.options import TrainingOptions
from minisqx.training.progress import EpochBar
from minisqx.training.run_folder import COLUMNS, RunFolder
from minisqx.training.run_state import RunState
from minisqx.training.trainer import Trainer
from tests.training_runs import SMALL, bits, rows, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> RunFolder:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return RunFolder(train(TrainingOptions(**SMALL, data=data, out=folder), say=lambda line: None).folder)


@pytest.mark.parametrize("model", ["squeezenet-v1.1", "squeezenext-23-1x-v1"])
def test_a_named_network_learns_and_its_batches_lie_as_it_wants_them(model, tmp_path):
    """In a few steps the loss falls on colours that any network tells apart; a resumed run is the same network."""
    data = write_data(tmp_path / "colours.h5", images=64, side=20)
    options = TrainingOptions(model=model, data=data, epochs=2, batch_size=32, lr=0.01, validation=0, out=tmp_path / "run")
    lines: list[str] = []
    folder = RunFolder(train(options, lines.append).folder)
    history, last = rows(folder), load_checkpoint(folder.last)
    assert float(history[1]["train_loss"]) < float(history[0]["train_loss"]) and last.spec == options.network(3, (20, 20))
    assert any(model in line for line in lines) and f"--model {model}" in options.command()
    trainer = Trainer(options, open_training_data(options, lines.append), folder, "", lines.append)
    batch = next(trainer.loader.epoch(0))
    assert batch.layout.images_per_chunk == (8 if model == "squeezenet-v1.1" else 2)
    assert resume(folder.path, say=lines.append).folder == folder.path and "complete" in lines[-1]


@pytest.fixture(autouse=True)
def no_pictures(finished, monkeypatch):
    """Drawing takes longer than training here; the finished run has its picture."""

    def draw_nothing(*arguments):
        raise ImportError

    monkeypatch.setattr("minisqx.training.run_folder.draw_curves", draw_nothing)


def test_a_run_leaves_configuration_history_and_two_checkpoints(finished):
    assert {"config.json", "history.csv", "last.h5", "best.h5"} <= {file.name for file in finished.path.iterdir()}
    assert [row["epoch"] for row in rows(finished)] == ["1", "2", "3"]
    assert tuple(rows(finished)[0]) == COLUMNS
    config = json.loads(finished.config.read_text())
    assert TrainingOptions.from_dict(config["options"]).batch_size == 13
    assert config["data"]["images"] == {"train": 53, "validation": 7, "test": 20}


def test_a_network_that_trains_learns_the_colours(data, tmp_path):
    result = train(
        TrainingOptions(epochs=8, batch_size=16, validation=0, threads=1, data=data, out=tmp_path), say=lambda line: None
    )
    assert result.history[-1]["test_accuracy"] >= 0.9
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_checkpoints_say_what_they_are_and_where_they_come_from(finished):
    for path in (finished.last, finished.best):
        checkpoint = load_checkpoint(path)
        assert checkpoint.classes == ("red", "green", "blue")
        assert checkpoint.provenance["recipe"]["lr"] == 0.1
        assert checkpoint.provenance["command"].endswith("--epochs 3 --batch-size 13 --validation 7")
        assert checkpoint.provenance["data"] == "HDF5 file 'colours.h5'"
        assert 0 < min(checkpoint.std) < 1 and "test_accuracy" in checkpoint.metrics
    assert load_checkpoint(finished.last).optimizer is not None
    assert load_checkpoint(finished.best).optimizer is None and load_checkpoint(finished.best).training is None


def test_best_has_the_highest_validation_accuracy_and_of_these_the_lowest_loss(finished):
    results = [(float(row["validation_accuracy"]), -float(row["validation_loss"])) for row in rows(finished)]
    assert load_checkpoint(finished.best).metrics["epoch"] == 1 + results.index(max(results))
    history = [
        dict(zip(("validation_accuracy", "validation_loss"), row)) for row in ((0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8))
    ]
    assert [best_epoch(history[:count]) for count in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert best_epoch([dict.fromkeys(history[0])] * 3) == 3


def test_the_history_has_what_the_saved_network_gives_on_the_whole_test_part(finished, data):
    last = load_checkpoint(finished.last)
    network = Network(last.spec)
    network.load_state_dict(last.state)
    with h5py.File(data) as file:
        images, labels = file["test_images"][:], file["test_labels"][:]
    x = ((images / 255 - last.mean) / last.std).transpose(0, 3, 1, 2).astype(np.float32)
    logits = network.forward(x, training=False).astype(np.float64)
    loss = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(20), labels])
    assert float(rows(finished)[-1]["test_loss"]) == pytest.approx(loss, abs=2e-6)
    assert float(rows(finished)[-1]["test_accuracy"]) == np.mean(logits.argmax(axis=1) == labels)


def test_loss_and_accuracy_are_averages_over_images_not_over_batches():
    state = RunState()
    state.add_batch(loss=1.0, correct=3, samples=3, seconds=0.1)
    state.add_batch(loss=5.0, correct=0, samples=1, seconds=0.1)
    assert (state.loss_sum / state.samples, state.correct / state.samples) == (2.0, 0.75)


def test_the_smallest_images_train_unless_batch_norm_would_get_a_single_value(tmp_path):
    tiny = write_data(tmp_path / "tiny.h5", side=8)
    with pytest.raises(OptionError, match="choose another batch size"):
        train(TrainingOptions(**SMALL, data=tiny, out=tmp_path / "run"), say=lambda line: None)
    assert not (tmp_path / "run").exists()
    train(TrainingOptions(**SMALL | {"batch_size": 12}, data=tiny, out=tmp_path / "run"), say=lambda line: None)


def test_without_validation_images_best_is_the_last_epoch(data, tmp_path):
    folder = RunFolder(train(TrainingOptions(**SMALL | {"validation": 0}, data=data, out=tmp_path), say=lambda line: None).folder)
    last, best = load_checkpoint(folder.last), load_checkpoint(folder.best)
    assert best.metrics["epoch"] == 3 and all(np.array_equal(best.state[name], last.state[name]) for name in last.state)
    assert rows(folder)[0]["validation_accuracy"] == ""


def test_equal_options_give_equal_bits_on_any_threads_and_another_seed_others(finished, data, tmp_path):
    again = train(TrainingOptions(**SMALL | {"threads": 2}, data=data, out=tmp_path / "again"), say=lambda line: None)
    assert bits(RunFolder(again.folder)) == bits(finished)
    other = train(TrainingOptions(**SMALL, seed=1, data=data, out=tmp_path / "other"), say=lambda line: None)
    assert bits(RunFolder(other.folder))[0] != bits(finished)[0]


@pytest.mark.parametrize(
    "option",
    [
        {"lr": 0.05},
        {"momentum": 0.8},
        {"nesterov": False},
        {"weight_decay": 0.01},
        {"schedule": "one-cycle"},
        {"milestones": (1, 2)},
        {"gamma": 0.5},
        {"average": 0.5},
        {"augment": "none"},
        {"dropout": 0.0},
        {"batch_size": 14},
        {"blocks": (1, 1, 2, 1)},
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_option_of_the_recipe_makes_another_network(option, finished, data, tmp_path):
    other = train(TrainingOptions(**SMALL | option, data=data, out=tmp_path), say=lambda line: None)
    assert bits(RunFolder(other.folder))[0] != bits(finished)[0]


def test_the_learning_rate_follows_the_schedule(data, tmp_path):
    def rates(**options) -> list[float]:
        folder = tmp_path / options["schedule"]
        history = train(TrainingOptions(**SMALL, **options, lr=0.2, data=data, out=folder), say=lambda line: None).history
        return [row["lr"] for row in history]

    assert rates(schedule="step", milestones=(1, 2), gamma=0.5) == [0.2, 0.1, 0.05]
    # Five batches an epoch: the last one's middle lies 0.1 epochs before the epoch's end.
    assert rates(schedule="one-cycle") == pytest.approx([0.2 * (3 - 0.9) / 2.4, 0.2 * (3 - 1.9) / 2.4, 0.2 * 0.1 / 2.4], rel=1e-5)


def test_every_epoch_has_an_order_of_its_own(data, tmp_path, monkeypatch):
    seen, plain = [], Trainer._train_batch
    monkeypatch.setattr(Trainer, "_train_batch", lambda trainer, batch: (seen.extend(batch.indices), plain(trainer, batch))[1])
    train(TrainingOptions(**SMALL, data=data, out=tmp_path), say=lambda line: None)
    epochs = [tuple(seen[first : first + 53]) for first in (0, 53, 106)]
    assert len(seen) == 159 and len(set(epochs)) == 3
    assert all(sorted(epoch) == list(range(53)) for epoch in epochs)


def stop_after(monkeypatch, calls: int, method: str) -> None:
    """Makes Ctrl-C arrive during call number `calls` of a method of the trainer."""
    plain, count = getattr(Trainer, method), 0

    def counted(*arguments):
        nonlocal count
        count += 1
        if count == calls:
            signal.raise_signal(signal.SIGINT)
        return plain(*arguments)

    monkeypatch.setattr(Trainer, method, counted)


STOPS = [(1, "_train_batch", (0, 1)), (8, "_train_batch", (1, 3)), (10, "_train_batch", (1, 5)), (1, "_evaluate", (0, 5))]


@pytest.mark.parametrize("calls, method, saved", STOPS)
def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bits(calls, method, saved, finished, data, tmp_path, monkeypatch):
    said = []
    stop_after(monkeypatch, calls, method)
    with pytest.raises(KeyboardInterrupt):
        train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), said.append)
    monkeypatch.undo()
    assert "--resume" in said[-1]
    folder = RunFolder(tmp_path / "run")
    state = load_checkpoint(folder.last).training["state"]
    assert (state["epoch"], state["batch"]) == saved and len(rows(folder)) == saved[0]
    result = resume(tmp_path / "run", say=lambda line: None)
    assert bits(folder) == bits(finished)
    assert [row["lr"] for row in result.history] == [float(row["lr"]) for row in rows(finished)]


def test_a_moving_average_is_what_is_measured_saved_and_resumed(finished, data, tmp_path, monkeypatch):
    options = TrainingOptions(**SMALL, average=0.75, data=data, out=tmp_path / "run")
    trained, averages = [], []
    plain = Trainer._train_batch

    def followed(trainer, batch):
        found = plain(trainer, batch)
        trained.append(trainer.network.state_dict())
        return found

    monkeypatch.setattr(Trainer, "_train_batch", followed)
    folder = RunFolder(train(options, say=lambda line: None).folder)
    average = Network(options.network(3, (12, 12)), seed=0).state_dict()
    for steps, state in enumerate(trained):
        kept = min(0.75, (1 + steps) / (10 + steps))
        average = {name: kept * average[name] + (1 - kept) * state[name] for name in state}
        averages.append(average)
    last = load_checkpoint(folder.last)
    for name, values in averages[-1].items():
        assert last.state[name] == pytest.approx(values, rel=1e-4, abs=1e-6), name
    # The weights that training goes on from are those of a run without an average.
    own = load_checkpoint(finished.last)
    assert np.array_equal(last.optimizer["velocity"], own.optimizer["velocity"])
    assert all(np.array_equal(trained[-1][name], own.state[name]) for name in own.state)
    test = open_training_data(options, print).test
    network = Network(last.spec)
    network.load_state_dict(last.state)
    x = ((test.images / 255 - last.mean) / last.std).transpose(0, 3, 1, 2).astype(np.float32)
    correct = network.forward(x).argmax(axis=1) == test.labels
    assert float(rows(folder)[-1]["test_accuracy"]) == correct.mean()
    stop_after(monkeypatch, 8, "_train_batch")
    with pytest.raises(KeyboardInterrupt):
        train(replace(options, out=str(tmp_path / "stopped")), say=lambda line: None)
    monkeypatch.undo()
    resume(tmp_path / "stopped", say=lambda line: None)
    assert bits(RunFolder(tmp_path / "stopped")) == bits(folder)


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(finished, data, tmp_path, monkeypatch):
    """Nothing can be saved at the kill itself, and the files beside last.h5 may be newer than it or gone."""
    plain = Trainer._evaluate

    def killed(trainer, *arguments):
        if trainer.state.epoch == 1:
            raise MemoryError
        return plain(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_evaluate", killed)
    with pytest.raises(MemoryError):
        train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), say=lambda line: None)
    monkeypatch.undo()
    folder = RunFolder(tmp_path / "run")
    folder.history.unlink()
    resume(folder.path, say=lambda line: None)
    assert bits(folder) == bits(finished)


def test_within_an_epoch_a_checkpoint_is_written_again_and_again(data, tmp_path, monkeypatch):
    monkeypatch.setattr("minisqx.training.trainer.SAVE_EVERY", 0.0)
    saved = []
    plain = Trainer.save
    monkeypatch.setattr(Trainer, "save", lambda trainer: (saved.append(trainer.state.batch), plain(trainer)))
    train(TrainingOptions(**SMALL | {"epochs": 1}, data=data, out=tmp_path), say=lambda line: None)
    assert saved == [0, 1, 2, 3, 4, 5, 0]


def test_a_finished_run_has_nothing_to_resume(finished):
    before, said = finished.last.read_bytes(), []
    result = resume(finished.path, said.append)
    assert "complete" in said[-1] and len(result.history) == 3
    assert finished.last.read_bytes() == before


def test_a_run_is_resumed_with_moved_data_but_not_with_changed_data(finished, data, tmp_path, monkeypatch):
    moved = tmp_path / "colours.h5"
    moved.write_bytes(Path(data).read_bytes())
    stop_after(monkeypatch, 2, "_train_batch")
    with pytest.raises(KeyboardInterrupt):
        train(TrainingOptions(**SMALL, data=moved, out=tmp_path / "run"), say=lambda line: None)
    monkeypatch.undo()
    moved.unlink()
    with pytest.raises(DataError, match=r"^there is no file or folder '.*colours.h5'; .* give its new place with --data"):
        resume(tmp_path / "run", say=lambda line: None)
    with pytest.raises(DataError, match=r"or an HDF5 file$"):
        resume(tmp_path / "run", say=lambda line: None, data=str(tmp_path / "nowhere"))
    moved.mkdir()  # an empty folder, such as the place of a disk that is not there
    with pytest.raises(DataError, match="give its new place with --data"):
        resume(tmp_path / "run", say=lambda line: None)
    moved.rmdir()
    write_data(moved, seed=1)
    before = (tmp_path / "run" / "last.h5").read_bytes()
    with pytest.raises(TrainingError, match="is not the data"):
        resume(tmp_path / "run", say=lambda line: None)
    assert (tmp_path / "run" / "last.h5").read_bytes() == before
    resume(tmp_path / "run", say=lambda line: None, data=data)
    assert bits(RunFolder(tmp_path / "run")) == bits(finished)


def test_a_run_that_skips_bad_images_skips_the_same_ones_when_it_is_resumed(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))
    folder, generator = tmp_path / "photos", np.random.default_rng(0)
    for part, name, number in itertools.product(("train", "test"), ("cat", "dog"), range(13)):
        (folder / part / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (12, 12, 3), np.uint8)).save(folder / part / name / f"{number:02d}.png")
    whole = open_training_data(TrainingOptions(data=folder, validation=2), lambda line: None).digest
    (folder / "train" / "cat" / "03.png").write_text("no image")
    options = TrainingOptions(**SMALL | {"validation": 2}, data=folder, skip_bad_images=True, out=tmp_path / "run")
    with pytest.raises(DataError, match="03.png"):
        train(replace(options, skip_bad_images=False), say=lambda line: None)
    stop_after(monkeypatch, 3, "_train_batch")
    with pytest.raises(KeyboardInterrupt):
        train(options, say=lambda line: None)
    monkeypatch.undo()
    said = []
    resume(tmp_path / "run", said.append)
    assert sum(line.startswith("skipped: ") and "03.png" in line for line in said) == 1
    assert "--skip-bad-images" in RunFolder(tmp_path / "run").read_config()["command"]
    data = open_training_data(options, lambda line: None)
    assert len(data.train) + len(data.validation) == 25 and data.digest != whole


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_state(data, tmp_path):
    with pytest.raises(TrainingError, match="not finite.* in epoch 1, batch .* lower --lr") as refused:
        train(TrainingOptions(**SMALL | {"lr": 1e30}, data=data, out=tmp_path), say=lambda line: None)
    assert "\n" not in str(refused.value)
    assert all(np.isfinite(array).all() for array in load_checkpoint(tmp_path / "last.h5").state.values())


def test_out_is_the_run_folder_if_it_is_new_or_empty_and_else_holds_it(tmp_path):
    assert RunFolder.create(str(tmp_path / "new" / "deep"), "net").path == tmp_path / "new" / "deep"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    below = [RunFolder.create(str(tmp_path / "full"), "net").path for _ in range(3)]
    assert len(set(below)) == 3 and {path.parent for path in below} == {tmp_path / "full"}
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_without_out_the_run_folder_lies_in_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = RunFolder.create(None, "shallow-06-0.2x").path
    assert path.parent == Path("runs") and path.name.startswith("shallow-06-0.2x-")


def test_bad_data_leaves_no_run_folder_behind(tmp_path):
    (tmp_path / "empty").mkdir()
    for out in ("new/run", "empty"):
        with pytest.raises(DataError):
            train(TrainingOptions(**SMALL, data=tmp_path / "nothing.h5", out=tmp_path / out), say=lambda line: None)
    assert not (tmp_path / "new").exists() and not any((tmp_path / "empty").iterdir())


def test_a_share_for_validation_never_takes_the_only_training_image(tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["images"], file["labels"] = np.zeros((2, 12, 12, 3), np.uint8), np.zeros(2, int)
    data = open_training_data(TrainingOptions(data=tmp_path / "two.h5"), lambda line: None)
    assert (len(data.train), len(data.validation), len(data.test)) == (1, 0, 1)
    with pytest.raises(OptionError, match="a validation split of 1 images: expected 0 of 1 training image, so"):
        open_training_data(TrainingOptions(data=tmp_path / "two.h5", validation=1), lambda line: None)


def test_validation_images_of_the_data_choose_best_and_none_is_set_aside(data, finished, tmp_path):
    """With other pixels in it the run has another digest; without any it has the one that it had before they were read."""
    plain = open_training_data(TrainingOptions(data=data), lambda line: None)
    assert plain.digest == "321a183fff137948571cc43cfe3f928d5f67e364110e98d8058537b3c2c969db"
    digests = {plain.digest}
    for number in range(2):
        path = tmp_path / f"{number}.h5"
        path.write_bytes(Path(data).read_bytes())
        with h5py.File(path, "a") as file:
            file["val_images"], file["val_labels"] = np.full((5, 12, 12, 3), number, np.uint8), np.array([0, 1, 2, 0, 0])
        lines: list[str] = []
        options = TrainingOptions(**SMALL | {"epochs": 1}, data=path, out=tmp_path / f"run {number}")
        opened = open_training_data(options, lines.append)
        assert len(opened.train) == 60 and (opened.validation.images == number).all() and len(opened.validation) == 5
        assert sum("5 validation images of the data set; no training images are set aside" in line for line in lines) == 1
        digests.add(opened.digest)
    assert len(digests) == 3
    folder = RunFolder(train(options, lines.append).folder)
    assert folder.read_config()["data"]["images"] == {"train": 60, "validation": 5, "test": 20}
    assert float(rows(folder)[0]["validation_accuracy"]) in (0.6, 0.2) and any("best on 5 validation" in line for line in lines)


def test_a_validation_split_that_leaves_nothing_to_train_on_is_refused(data, tmp_path):
    with pytest.raises(OptionError, match="60"):
        train(TrainingOptions(**SMALL | {"validation": 60}, data=data, out=tmp_path / "run"), say=lambda line: None)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"options": {"lr": 1}}'])
def test_resuming_a_damaged_run_folder_is_refused_in_one_line(content, finished, tmp_path):
    folder = RunFolder(tmp_path)
    folder.last.write_bytes(finished.last.read_bytes())
    if content is not None:
        folder.config.write_text(content)
    with pytest.raises(TrainingError) as refused:
        resume(tmp_path, say=lambda line: None)
    assert "config.json" in str(refused.value) and "\n" not in str(refused.value)


def test_resuming_with_a_damaged_checkpoint_is_refused(finished, tmp_path):
    folder = RunFolder(tmp_path)
    folder.config.write_bytes(finished.config.read_bytes())
    folder.last.write_bytes(finished.last.read_bytes()[:-1000])
    with pytest.raises(CheckpointError):
        resume(tmp_path, say=lambda line: None)
    folder.last.write_bytes(finished.best.read_bytes())
    with pytest.raises(TrainingError, match="no training state"):
        resume(tmp_path, say=lambda line: None)


def test_normalisation_is_measured_on_the_training_part_except_for_cifar10(data, tmp_path):
    prepared = open_training_data(TrainingOptions(**SMALL, data=data), say=lambda line: None)
    pixels = prepared.train.images.reshape(-1, 3) / 255
    assert prepared.mean == pytest.approx(pixels.mean(axis=0)) and prepared.std == pytest.approx(pixels.std(axis=0))
    like_cifar10 = write_data(tmp_path / "ten.h5", classes=CIFAR10_CLASSES)
    prepared = open_training_data(TrainingOptions(**SMALL, data=like_cifar10), say=lambda line: None)
    assert (prepared.mean, prepared.std) == (CIFAR10_MEAN, CIFAR10_STD)


def test_a_colour_that_never_changes_has_a_standard_deviation_to_divide_by():
    images = np.full((2, 3, 3, 3), 137, np.uint8)
    assert channel_statistics(images) == ((137 / 255,) * 3, (1.0,) * 3)


def test_the_validation_part_is_a_count_or_a_share_of_the_training_part(data):
    for validation, count in ((0, 0), (7, 7), (0.25, 15), (0.001, 1)):
        prepared = open_training_data(TrainingOptions(**SMALL | {"validation": validation}, data=data), say=lambda line: None)
        assert (len(prepared.train), len(prepared.validation)) == (60 - count, count)


def test_curves_are_a_picture_and_without_matplotlib_a_line(finished, data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    assert finished.curves.read_bytes().startswith(b"\x89PNG")
    said = []
    monkeypatch.setattr("minisqx.training.run_folder.draw_curves", draw_curves)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    folder = RunFolder(train(TrainingOptions(**SMALL | {"epochs": 1}, data=data, out=tmp_path), said.append).folder)
    assert not folder.curves.exists() and folder.best.exists()
    assert [line for line in said if "no curves.png without matplotlib: pip install 'minisqx[train]'" in line]


def test_a_terminal_gets_a_bar_with_speed_loss_and_accuracy(monkeypatch):
    pytest.importorskip("tqdm")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = EpochBar("epoch 2/3", images=100, done=40)
    time.sleep(0.2)  # tqdm draws at most every 0.1 s
    bar.update(60, loss=1.25, accuracy=0.5)
    bar.close()
    assert "epoch 2/3: 100%" in terminal.getvalue() and "images/s" in terminal.getvalue()
    assert "loss 1.250, accuracy 50.0 %" in terminal.getvalue()


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "minisqx.train", *map(str, words)]


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_real_run_after_the_batch_with_a_checkpoint(name, code, data, tmp_path):
    words = ("--data", data, "--width", 0.125, "--epochs", 10000, "--batch-size", 13, "--threads", 1, "--out", tmp_path / "run")
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith("epoch 1/"):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(getattr(signal, name))
        out, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "--resume" in out.splitlines()[-1] and "Traceback" not in errors
    state = load_checkpoint(tmp_path / "run" / "last.h5").training["state"]
    assert state["epoch"] >= 1 and len(rows(RunFolder(tmp_path / "run"))) == state["epoch"]


@pytest.mark.parametrize("number, error, words", [("SIGINT", KeyboardInterrupt, "^$"), ("SIGTERM", SystemExit, "^143$")])
def test_a_second_signal_ends_what_is_running_at_once_and_python_goes_on(number, error, words):
    with pytest.raises(error, match=words), StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.cause == signal.SIGINT
        signal.raise_signal(getattr(signal, number))
        pytest.fail("still running")


def test_a_second_ctrl_c_ends_a_run_in_its_batch_and_what_was_saved_stays(data, tmp_path, monkeypatch):
    def train_batch(trainer, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("still running")

    monkeypatch.setattr(Trainer, "_train_batch", train_batch)
    said: list[str] = []
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(KeyboardInterrupt):
        train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), said.append)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert not any("stopped and saved" in line for line in said)
    monkeypatch.undo()
    assert resume(tmp_path / "run", said.append).history  # the folder is free, and last.h5 is whole


def test_signals_are_as_before_once_a_run_is_over(data, tmp_path):
    def mine(number, frame):
        pass

    before = {number: signal.signal(number, mine) for number in SIGNALS}
    try:
        train(TrainingOptions(**SMALL | {"epochs": 1}, data=data, out=tmp_path / "run"), say=lambda line: None)
        assert [signal.getsignal(number) for number in SIGNALS] == [mine] * len(SIGNALS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


BAD = [
    ("--width 0", 2),
    ("--blocks 1,1,1", 2),
    ("--batch-size 0", 2),
    ("--epochs -1", 2),
    ("--lr nan", 2),
    ("--milestones 9,3", 2),
    ("--data nowhere", 3),
    ("--data DATA --out FILE", 6),
    ("--resume .", 6),
    ("--resume FINISHED --lr 0.2", 2),
]


@pytest.mark.parametrize("words, code", BAD, ids=[words for words, _ in BAD])
def test_a_bad_command_gets_one_line_and_its_exit_code(words, code, data, finished, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    words = words.replace("DATA", data).replace("FILE", str(tmp_path / "file")).replace("FINISHED", str(finished.path))
    done = subprocess.run(
        command(*words.split()), cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"}
    )
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1 and "expected" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
