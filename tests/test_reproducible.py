"""`minisqx train --check-reproducible`, on few batches of small data; and the hash by which two runs are compared."""

import tempfile
from dataclasses import replace

import numpy as np
import pytest

from minisqx.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minisqx.cli import commands as cli
from minisqx.errors import DataError, OptionError, ReproducibilityError
from minisqx.network import Network
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training import reproducible
from minisqx.training.options import TrainingOptions
from minisqx.training.reproducible import TrainingDigests, check
from tests.stress import epoch_hashes
from tests.test_training import SMALL, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5"))


@pytest.fixture(autouse=True)
def few(tmp_path, monkeypatch):
    """Two numbers of threads; 7 batches, where an epoch has 5; and a temporary folder that can be looked at."""
    monkeypatch.setattr(reproducible, "THREADS", (1, 3))
    monkeypatch.setattr(reproducible, "BATCHES", 7)
    monkeypatch.setattr(reproducible, "STOPPED_AFTER", 3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_run_is_the_same_on_any_threads_and_after_a_stop(data, tmp_path):
    said: list[str] = []
    check(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), said.append)
    runs = [line.split()[0] for line in said if "threads:" in line]
    assert len(runs) == 3 and len(set(runs)) == 1 and len(runs[0]) == 64
    assert "stopped after batch 3 and resumed, threads: 3, then 3" in said[-4] and said[-1] == "identical"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("part, what", [("weights", "weights"), ("alone", "probabilities"), ("together", "probabilities")])
@pytest.mark.parametrize("number", range(4))
def test_one_training_that_differs_is_told_with_an_exit_code(part, what, number, data, monkeypatch, capsys):
    """In the training that is stopped, which is looked at only at its end, nothing counts."""
    calls = []

    def train_in_process(options, threads, batches, folder):
        calls.append((threads, batches))
        found = TrainingDigests(weights="a", together="b", alone="b", layer="omp")
        return replace(found, **{part: "c"}) if len(calls) == number + 1 else found

    monkeypatch.setattr(reproducible, "train_in_process", train_in_process)
    code = cli.main(["train", "--data", data, "--width", "0.125", "--batch-size", "13", "--check-reproducible"])
    out, errors = capsys.readouterr()
    assert calls == [(1, 7), (3, 7), (3, 3), (3, 4)]
    if number == 2:
        assert code == 0 and out.endswith("identical\n")
    else:
        assert code == ReproducibilityError.exit_code == 10
        assert errors.startswith(f"minisqx: the {what} differ: expected the same bits") and len(errors.splitlines()) == 1


def test_what_training_refuses_is_refused(data, tmp_path, capsys):
    with pytest.raises(DataError):
        check(TrainingOptions(**SMALL, data=tmp_path / "nothing"), print)
    with pytest.raises(OptionError, match="choose another batch size"):
        check(TrainingOptions(**SMALL, data=str(write_data(tmp_path / "tiny.h5", side=8))), print)
    assert cli.main(["train", "--check-reproducible", "--resume", "run"]) == 2
    assert "--check-reproducible with --resume: expected" in capsys.readouterr().err


def test_the_hash_counts_every_bit_of_weights_and_momentum_and_nothing_else(tmp_path):
    network = Network(SqueezeNextSpec(width=0.125))
    one = Checkpoint(network.spec, network.state_dict(), optimizer={"velocity": np.zeros(network.spec.parameters, np.float32)})
    save_checkpoint(tmp_path / "one.h5", replace(one, metrics={"seconds": 2.0}))
    assert load_checkpoint(tmp_path / "one.h5").sha256 == one.sha256 == replace(one, metrics={"seconds": 1.0}).sha256
    for array in (one.state["stem.weight"], one.state["stage1.block1.conv1.running_var"], one.optimizer["velocity"]):
        before = one.sha256
        array.reshape(-1).view(np.uint8)[-1] ^= 1
        assert one.sha256 != before


def test_a_recipe_has_one_hash_on_every_threading_layer(data):
    """`python -m tests.stress.epoch_hashes` at its smallest."""
    layers = epoch_hashes.present_layers()
    assert "workqueue" in layers
    options = epoch_hashes.options_of("--width 0.125 --schedule one-cycle --batch-size 13", data)
    assert (options.schedule, options.width, options.data) == ("one-cycle", 0.125, data)
    assert len(epoch_hashes.hashes(options, [(layer, 2) for layer in layers])) == 1
    assert [threads for layer, threads in epoch_hashes.places(layers) if layer == layers[0]] == [1, 2, 3, 4]
    assert len({epoch_hashes.options_of(recipe) for recipe in epoch_hashes.RECIPES}) == len(epoch_hashes.RECIPES)
