"""Distillation: the teacher's logits of a batch, runs with a teacher, and teachers that don't fit."""

from dataclasses import replace

import numpy as np
import pytest

import minisqx
from minisqx.checkpoint import Checkpoint, save_checkpoint
from minisqx.data import Loader
from minisqx.errors import CheckpointError, OptionError, TrainingError
from minisqx.inference.model import load
from minisqx.machine.ranks import Ranks
from minisqx.training import resume, train
from minisqx.training.data import open_training_data
from minisqx.training.distillation import Teacher, digest, load_teacher
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import RunFolder
from minisqx.training.trainer import Trainer
from tests import mpi_runs
from tests.training_runs import SMALL, bits, run, stopped_and_resumed, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5"))


def write_teacher(path, classes=("blue", "red", "green"), side=12, seed=5) -> str:
    """Another network, with the classes in another order and another normalisation."""
    network = minisqx.Network(
        minisqx.spec.zoo.network("shallow-06-0.2x", num_classes=len(classes), input_size=(side, side)), seed
    )
    save_checkpoint(path, Checkpoint(network.spec, network.state_dict(), classes, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)))
    return str(path)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    return write_teacher(tmp_path_factory.mktemp("teacher") / "large.h5")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_teacher_answers_for_a_batch_as_it_infers_its_images(data, teacher, count):
    options = TrainingOptions(**SMALL, data=data)
    opened, model = open_training_data(options, lambda line: None), load(teacher)
    images, labels = opened.train.images[:13], opened.train.labels[:13]
    whole = list(Loader(images, labels, 13, mean=opened.mean, std=opened.std, augment="none", seed=0, shuffle=False).epoch(0))[0]
    parts = []
    for number in range(count):
        ranks = Ranks()
        ranks.number, ranks.count = number, count
        ranks.everyones = lambda found: parts.append(found) or [found]
        Teacher(load_teacher(teacher), opened, print, ranks).logits(whole)
    raw = model.network.plan().run_images(
        ((images / 255 - np.array(model.mean)) / np.array(model.std)).transpose(0, 3, 1, 2).astype(np.float32)
    )
    expected = raw[:, [model.classes.index(name) for name in opened.classes]]
    assert np.concatenate(parts) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_run_with_a_teacher_has_its_bits_on_any_threads_and_after_a_kill(data, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("minisqx.training.run_folder.draw_curves", lambda *arguments: b"")
    monkeypatch.setattr(Trainer, "_report", lambda trainer: None)
    straight, without = run(data, tmp_path / "straight", distill=teacher), run(data, tmp_path / "without")
    resumed = stopped_and_resumed(data, tmp_path / "resumed", monkeypatch, distill=teacher)
    assert bits(straight) == bits(resumed) != bits(without)
    kept = load(straight.last).provenance
    assert kept["recipe"]["distill"] == "large.h5" and kept["teacher"]["sha256"] == digest(load(teacher).checkpoint)


@pytest.mark.skipif(bool(mpi_runs.missing()), reason=mpi_runs.missing() or "there is MPI")
def test_two_ranks_learn_from_a_teacher_to_the_bits_of_one_process(data, teacher, tmp_path):
    options = TrainingOptions(**SMALL | {"epochs": 1}, data=data, distill=teacher)
    alone = train(replace(options, out=tmp_path / "alone"), say=lambda line: None).folder
    words = [*options.words(), "--distributed", "--threads", "1", "--out", str(tmp_path / "ranks")]
    done = mpi_runs.finish((2, words))
    assert done.returncode == 0, done.stderr
    assert bits(RunFolder(tmp_path / "ranks")) == bits(RunFolder(alone))


def test_a_teacher_that_does_not_fit_is_refused_in_one_line_and_nothing_is_left(data, tmp_path):
    whole = load(write_teacher(tmp_path / "large.h5")).checkpoint
    broken, bare = str(tmp_path / "broken.h5"), str(tmp_path / "bare.h5")
    save_checkpoint(broken, replace(whole, state=whole.state | {"classifier.bias": np.full(3, np.nan, np.float32)}))
    save_checkpoint(bare, replace(whole, classes=None))
    lines = {
        write_teacher(
            tmp_path / "digits.h5", classes=("red", "green", "9", "ten")
        ): "it lacks 'blue', and it has '9', 'ten' beside",
        write_teacher(tmp_path / "wide.h5", side=16): "its images are of 16 x 16 pixels, those of the data of 12 x 12 pixels",
        str(tmp_path / "none.h5"): "there is no model .*the run learns from this model: put the file there, or give its place",
        bare: "has no class names",
        broken: "its weights are not all finite numbers",
    }
    for path, line in lines.items():
        with pytest.raises((OptionError, CheckpointError), match=f"^distill '.*{line}"):
            train(TrainingOptions(**SMALL, data=data, distill=path, out=tmp_path / "run"), say=lambda line: None)
    assert not (tmp_path / "run").exists()
    with pytest.raises(OptionError, match=r"distill 3: expected a path or a name"):
        TrainingOptions(distill=3)


def test_classes_that_differ_in_unicode_form_or_case_alone_are_the_same(data, tmp_path, capsys):
    path = write_teacher(tmp_path / "large.h5", classes=("Blue", "green", "RED"))
    found = open_training_data(TrainingOptions(**SMALL, data=data), lambda line: None)
    Teacher(load_teacher(path), found, print)
    assert "classes matched with those of the teacher 'large.h5'" in capsys.readouterr().out


def begun(data, path, folder, monkeypatch) -> None:
    """A run with a teacher that was killed in its first batch."""
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_batch", lambda trainer, batch: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            train(TrainingOptions(**SMALL, data=data, distill=path, out=folder), say=lambda line: None)


def test_a_run_goes_on_only_with_the_teacher_that_it_began_with(data, tmp_path, monkeypatch):
    path = write_teacher(tmp_path / "large.h5")
    begun(data, path, tmp_path / "run", monkeypatch)
    first = load(path).checkpoint
    others = [replace(first, mean=(0.4, 0.5, 0.5)), replace(first, classes=first.classes[::-1])]
    others.append(replace(first, state=first.state | {"classifier.bias": np.ones(3, np.float32)}))
    for other in others:
        save_checkpoint(path, other)
        with pytest.raises(TrainingError, match="not the teacher that the run began with: put that one back, or start a new run"):
            resume(tmp_path / "run", say=lambda line: None)


def test_a_run_whose_teacher_was_moved_goes_on_from_its_new_place(data, tmp_path, monkeypatch):
    path, moved = write_teacher(tmp_path / "large.h5"), str(tmp_path / "moved.h5")
    begun(data, path, tmp_path / "run", monkeypatch)
    (tmp_path / "large.h5").rename(moved)
    with pytest.raises(CheckpointError, match="give its place with --distill"):
        resume(tmp_path / "run", say=lambda line: None)
    monkeypatch.chdir(tmp_path)
    resume(tmp_path / "run", say=lambda line: None, distill="moved.h5")
    assert RunFolder(tmp_path / "run").read_config()["options"]["distill"] == moved
    straight = train(TrainingOptions(**SMALL, data=data, distill=moved, out=tmp_path / "straight"), say=lambda line: None).folder
    assert bits(RunFolder(tmp_path / "run")) == bits(RunFolder(straight))


def test_a_run_that_began_without_a_teacher_goes_on_without_one(data, teacher, tmp_path, monkeypatch):
    begun(data, None, tmp_path / "run", monkeypatch)
    with pytest.raises(TrainingError, match="the run began without a teacher: resume it without --distill"):
        resume(tmp_path / "run", say=lambda line: None, distill=teacher)


def test_a_file_with_the_name_of_shipped_weights_does_not_take_their_place(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shallow-06-0.2x").mkdir()
    with pytest.raises(OptionError, match="expected a model with the classes of the data"):
        train(TrainingOptions(**SMALL, data=data, distill="shallow-06-0.2x", out="run"), say=lambda line: None)
