"""The commands that read mutated files, at a small count; see docs/reliability.md for what they found at full count."""

import functools
import os

import pytest

from minisqx.checkpoint import load_checkpoint
from tests.stress import data_files
from tests.stress.flips import flip
from tests.stress.watched import read_all
from tests.stress.weights import make, seeds

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")


def test_every_flipped_bit_of_a_checkpoint_is_noticed():
    assert flip(count=50, seed=1) == 0


@fork
def test_mutated_weights_files_are_read_right_or_refused(capsys):
    assert read_all(120, functools.partial(make, 1), load_checkpoint, ".h5") == 0
    assert "promise broken 0 times" in capsys.readouterr().out


@fork
def test_mutated_data_sets_are_read_or_refused(capsys):
    data_files.warm_up()
    assert read_all(120, functools.partial(data_files.make, 1), data_files.read, "") == 0
    assert "promise broken 0 times" in capsys.readouterr().out


@fork
def test_what_breaks_the_promise_is_counted(capfd):
    """A crash, another error, another file opened, damage that is not noticed: four of five reads."""

    def read(path):
        number = int(path.read_text())
        if number == 1:
            os._exit(11)
        if number == 2:
            raise RuntimeError("not one of ours")
        if number == 3:
            open(__file__).close()

    assert read_all(5, lambda number: ("any", str(number).encode(), number == 4), read, "") == 4
    out = capfd.readouterr().out
    assert "ended with 11" in out and "not one of ours" in out and "test_stress_files.py" in out and "not noticed" in out


def test_each_seed_is_right(tmp_path):
    for number, (whole, _, _) in enumerate(seeds()):
        (tmp_path / f"{number}.h5").write_bytes(whole)
        load_checkpoint(tmp_path / f"{number}.h5")
