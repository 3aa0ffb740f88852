"""A run with a number that is not finite ends at once and says where; one that diverges says so once."""

from contextlib import suppress

import numpy as np
import pytest

from minisqx.checkpoint import load_checkpoint
from minisqx.errors import TrainingError
from minisqx.network import Network
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training import train
from minisqx.training.data import open_training_data
from minisqx.training.diagnosis import diverges, first_nonfinite_gradient
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import RunFolder
from minisqx.training.trainer import Trainer
from tests.test_training import SMALL, write_data

GOOD = SMALL | {"epochs": 2, "batch_size": 26, "validation": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5", images=60, side=20))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("minisqx.training.run_folder.draw_curves", lambda *arguments: None)


def run(options: TrainingOptions, monkeypatch, damage=lambda trainer: None, batch: int = 2) -> tuple[str, list[str]]:
    """The one line with which a run ends to whose trainer `damage` is done before a batch of epoch 1; and what it said."""
    plain, said, count = Trainer._train_batch, [], 0

    def train_batch(trainer, given):
        nonlocal count
        count += 1
        if count == batch:
            damage(trainer)
        return plain(trainer, given)

    monkeypatch.setattr(Trainer, "_train_batch", train_batch)
    with pytest.raises(TrainingError) as refused:
        train(options, said.append)
    assert "\n" not in str(refused.value)
    return str(refused.value), said


def keeps_the_start(folder) -> bool:
    """Whether last.h5 is finite and has the state that was saved before the first batch."""
    last = load_checkpoint(folder / "last.h5")
    finite = all(np.isfinite(array).all() for array in [*last.state.values(), *last.optimizer.values()])
    return finite and (last.training["state"]["epoch"], last.training["state"]["batch"]) == (0, 0)


NETWORKS = [
    ({}, "stage2.block1.conv2"),
    ({}, "stage3.block1.shortcut"),
    ({}, "classifier"),
    ({"activation": "relu"}, "stage2.block1.conv3"),
    ({"block_order": "conv-bn-act"}, "stage4.block1.conv1"),
    ({"model": "squeezenext-23-1x-v1", "width": None}, "stage3.block2.conv2"),
    ({"model": "squeezenet-v1.1", "width": None, "lr": 0.01}, "fire4.expand1"),
]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("network, layer", NETWORKS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_weight_that_is_not_finite_is_found_in_its_layer(network, layer, value, data, tmp_path, monkeypatch):
    def damage(trainer):
        trainer.network.parameters()[f"{layer}.weight"].flat[0] = value

    line, _ = run(TrainingOptions(**GOOD | network, data=data, out=tmp_path), monkeypatch, damage)
    assert line.startswith("the loss is nan (first not finite: the output of ")
    assert f"the output of {layer}) in epoch 1, batch 2, at learning rate" in line and "start a new run" in line
    assert keeps_the_start(tmp_path)


def test_an_image_that_is_not_finite_is_named_by_its_number(data, tmp_path, monkeypatch):
    plain = Trainer._train_batch
    numbers = []

    def damaged(trainer, batch):
        numbers.append(batch.indices[3])
        x = batch.layout.unpack(batch.data)
        x[3, 1, 5, 7] = np.inf
        batch.layout.pack(x, batch.data)
        return plain(trainer, batch)

    monkeypatch.setattr(Trainer, "_train_batch", damaged)
    with pytest.raises(TrainingError) as refused:
        train(TrainingOptions(**GOOD, data=data, out=tmp_path), lambda line: None)
    assert f"the normalised pixels of training image {numbers[0]}) in epoch 1, batch 1," in str(refused.value)


def test_a_gradient_that_is_not_finite_is_found_before_it_touches_a_weight(data, tmp_path, monkeypatch):
    trainers = []

    def damage(trainer):
        trainers.append(trainer)
        plain = trainer.network.backward

        def backward(dlogits):
            plain(dlogits)
            trainer.network.gradients()["stage3.block1.conv3.weight"].flat[0] = np.inf

        trainer.network.backward = backward

    line, _ = run(TrainingOptions(**GOOD, data=data, out=tmp_path), monkeypatch, damage)
    assert line.startswith("the gradient of stage3.block1.conv3.weight is not finite in epoch 1, batch 2, at learning rate 0.1: ")
    assert np.isfinite(trainers[0].network.flat_parameters).all() and keeps_the_start(tmp_path)


def test_gradients_are_asked_in_the_order_in_which_backward_makes_them():
    network = Network(SqueezeNextSpec())
    for name in ("stem.weight", "stage1.block1.shortcut.bias", "stage1.block1.conv5.gamma", "classifier.weight"):
        network.gradients()[name].flat[0] = np.nan
        assert first_nonfinite_gradient(network) == f"the gradient of {name}"


def test_a_step_too_large_for_a_weight_is_found_at_once(data, tmp_path, monkeypatch):
    """Also where the next batch would not show it."""

    def damage(trainer):
        trainer.optimizer.velocity[:] = 3e38

    line, _ = run(TrainingOptions(**GOOD | {"lr": 1000.0}, data=data, out=tmp_path), monkeypatch, damage)
    assert line.startswith("stem.weight is not finite after the step in epoch 1, batch 2, ") and keeps_the_start(tmp_path)


def test_a_checkpoint_of_weights_that_are_not_finite_is_never_written(data, tmp_path, monkeypatch):
    options = TrainingOptions(**GOOD, data=data, out=tmp_path)
    folder = RunFolder.create(options.out, "net")
    trainer = Trainer(options, open_training_data(options, print), folder, "", print)
    trainer.save()
    before = folder.last.read_bytes()
    trainer.network.buffers()["stage1.block1.conv2.running_var"][0] = np.nan
    with pytest.raises(TrainingError, match=r"^stage1.block1.conv2.running_var is not finite in epoch 1, batch 1"):
        trainer.save()
    assert folder.last.read_bytes() == before


@pytest.mark.parametrize("losses", [[2.7], [2.5, 2.3], [2.3, 2.29, 2.3], [2.2, 2.25], [1.0, 1.2, 2.1], [1.5, 0.1, 1.2]])
def test_a_run_that_learns_does_not_diverge(losses):
    assert not any(diverges(losses[: count + 1], 10, 1000) for count in range(len(losses)))


@pytest.mark.parametrize("losses", [[4.7], [2.5, 2.4], [2.2, 2.31], [1.0, 2.2], [1.5, 0.1, 1.3]])
def test_a_run_that_is_worse_than_guessing_or_much_worse_than_before_diverges(losses):
    assert diverges(losses, 10, 100) and not diverges(losses[:-1] or [2.0], 10, 100) and not diverges(losses, 10, 99)


@pytest.mark.parametrize("lr, count", [(2.0, 1), (0.1, 0)])
def test_a_run_that_diverges_is_warned_of_once_and_a_good_one_not_at_all(lr, count, data, tmp_path, monkeypatch):
    monkeypatch.setattr("minisqx.training.diagnosis.MIN_BATCHES", 10)
    said: list[str] = []
    rate = {"lr": lr, "momentum": 0.0, "nesterov": False}
    # How far it gets depends on roundings.
    with suppress(TrainingError):
        train(TrainingOptions(**GOOD | rate | {"epochs": 10, "batch_size": 4, "data": data, "out": tmp_path}), said.append)
    warned = [line for line in said if line.startswith("the run diverges")]
    assert len(warned) == count
    assert all("guessing has 1.099" in line and "a lower --lr than 2" in line and "\n" not in line for line in warned)
