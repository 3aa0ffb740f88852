"""Distillation: the loss, the teacher's logits of a batch, runs with a teacher, and teachers that don't fit."""

from dataclasses import replace

import numpy as np
import pytest

import minisqx
from minisqx.checkpoint import Checkpoint, save_checkpoint
from minisqx.data import Loader
from minisqx.errors import OptionError, TrainingError
from minisqx.gradcheck import relative_difference
from minisqx.inference.model import load
from minisqx.kernels.layout import Layout
from minisqx.machine.ranks import Ranks
from minisqx.training import resume, train
from minisqx.training.data import open_training_data
from minisqx.training.distillation import Teacher, distillation
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import RunFolder
from minisqx.training.trainer import Trainer
from tests import mpi_runs
from tests.training_runs import SMALL, bits, write_data

LOGITS = np.array([[0.5, -1.25, 2.0], [3.0, 0.25, -0.5], [-2.0, 1.0, 0.75], [0.0, 0.0, 4.0]])
TEACHER = np.array([[1.5, -0.25, 4.0], [0.0, 2.25, -3.5], [-1.0, 1.0, 0.5], [0.5, -2.0, 1.0]])
LABELS = np.array([2, 0, 0, 1])
LOSS, GRADIENT = (
    1.1981381716916386,
    [
        [0.03855709112532753, 0.02280840532606504, -0.061365496451392644],
        [0.18293400672036694, -0.26077877901792523, 0.07784477229755817],
        [-0.06736064056258925, 0.025253180652041095, 0.042107459910548255],
        [-0.14609040608606244, -0.014343604472384907, 0.16043401055844736],
    ],
)


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


def test_the_loss_and_its_gradient_are_those_that_pytorch_computed():
    """PyTorch 2.13 in float64: 0.1 cross_entropy(z, y) + 0.9 * 16 kl_div(log_softmax(z / 4), log_softmax(t / 4)), batch mean."""
    loss, dlogits = distillation(LOGITS, TEACHER, LABELS)
    assert loss == pytest.approx(LOSS, rel=1e-14)
    assert relative_difference(dlogits, np.array(GRADIENT)) <= 1e-14
    loss32, dlogits32 = distillation(LOGITS.astype(np.float32), TEACHER.astype(np.float32), LABELS)
    assert dlogits32.dtype == np.float32 and loss32 == pytest.approx(loss, rel=1e-6)
    assert relative_difference(dlogits32, dlogits) <= 1e-6


def test_class_weights_weigh_both_parts_of_the_loss():
    """A class that weighs twice as much counts as if its images were there twice."""
    twice = np.concatenate([np.arange(4), np.flatnonzero(LABELS == 0)])
    loss, dlogits = distillation(LOGITS, TEACHER, LABELS, np.array([2.0, 1.0, 1.0]))
    expected, gradient = distillation(LOGITS[twice], TEACHER[twice], LABELS[twice])
    assert loss == pytest.approx(expected, rel=1e-14)
    assert dlogits.sum(axis=0) == pytest.approx(gradient.sum(axis=0), abs=1e-15)


def test_a_logit_that_is_not_finite_reaches_the_loss():
    for bad in (np.nan, np.inf):
        logits = LOGITS.copy()
        logits[1, 2] = bad
        assert not np.isfinite(distillation(logits, TEACHER, LABELS)[0])


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
        Teacher(teacher, opened, ranks).logits(whole)
    raw = model.network.plan().run_images(
        ((images / 255 - np.array(model.mean)) / np.array(model.std)).transpose(0, 3, 1, 2).astype(np.float32)
    )
    expected = raw[:, [model.classes.index(name) for name in opened.classes]]
    assert np.concatenate(parts) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert isinstance(whole.layout, Layout)


def test_a_run_with_a_teacher_has_its_bits_on_any_threads_and_after_a_kill(data, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("minisqx.training.run_folder.draw_curves", lambda *arguments: b"")
    monkeypatch.setattr(Trainer, "_report", lambda trainer: None)
    options = TrainingOptions(**SMALL, data=data, distill=teacher)
    straight = train(replace(options, out=tmp_path / "straight"), say=lambda line: None).folder
    without = train(replace(options, out=tmp_path / "without", distill=None), say=lambda line: None).folder
    plain = Trainer._train_batch

    def killed(trainer, batch):
        if trainer.state.epoch == 1 and trainer.state.batch == 2:
            trainer.save()
            raise MemoryError
        return plain(trainer, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_batch", killed)
        with pytest.raises(MemoryError):
            train(replace(options, out=tmp_path / "resumed"), say=lambda line: None)
    resume(tmp_path / "resumed", say=lambda line: None, threads=2)
    assert bits(RunFolder(straight)) == bits(RunFolder(tmp_path / "resumed")) != bits(RunFolder(without))
    shipped = load(straight / "last.h5").provenance
    assert (
        shipped["recipe"]["distill"] == "large.h5"
        and shipped["teacher"]["weights_sha256"] == load(teacher).checkpoint.weights_sha256
    )


@pytest.mark.skipif(bool(mpi_runs.missing()), reason=mpi_runs.missing() or "there is MPI")
def test_two_ranks_learn_from_a_teacher_to_the_bits_of_one_process(data, teacher, tmp_path):
    options = TrainingOptions(**SMALL | {"epochs": 1}, data=data, distill=teacher)
    alone = train(replace(options, out=tmp_path / "alone"), say=lambda line: None).folder
    words = [*options.words(), "--distributed", "--threads", "1", "--out", str(tmp_path / "ranks")]
    done = mpi_runs.finish((2, words))
    assert done.returncode == 0, done.stderr
    assert bits(RunFolder(tmp_path / "ranks")) == bits(RunFolder(alone))


def test_a_teacher_that_does_not_fit_is_refused_in_one_line(data, tmp_path):
    lines = {
        write_teacher(tmp_path / "digits.h5", classes=("one", "two", "three")): "its classes are 'one', 'two', 'three'.*'red'",
        write_teacher(tmp_path / "wide.h5", side=16): "its images have 16 x 16 pixels, those of the data 12 x 12",
    }
    for path, line in lines.items():
        with pytest.raises(OptionError, match=line):
            train(TrainingOptions(**SMALL, data=data, distill=path, out=tmp_path / "run"), say=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_only_with_the_teacher_that_it_began_with(data, tmp_path, monkeypatch):
    path = write_teacher(tmp_path / "large.h5")
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_batch", lambda trainer, batch: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            train(TrainingOptions(**SMALL, data=data, distill=path, out=tmp_path / "run"), say=lambda line: None)
    write_teacher(tmp_path / "large.h5", seed=6)
    with pytest.raises(TrainingError, match="the run began with the teacher .*put that file back, or start a new run"):
        resume(tmp_path / "run", say=lambda line: None)
