"""Several ranks: the bits of one process, new or resumed; differences and failures end all of them with a line."""

import sys
import time

import pytest

from minisqx.cli import main
from minisqx.errors import MissingExtraError
from minisqx.machine.ranks import Ranks
from minisqx.training.options import TrainingOptions
from minisqx.training.run import resume, train
from minisqx.training.run_folder import RunFolder
from minisqx.training.trainer import Trainer
from tests import mpi_runs
from tests.training_runs import SMALL, bits, write_data

under_mpi = pytest.mark.skipif(bool(mpi_runs.missing()), reason=mpi_runs.missing() or "there is MPI")
TRAIN = tuple(word for name, value in SMALL.items() if name != "epochs" for word in (f"--{name.replace('_', '-')}", value))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "colours.h5")


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The bits of a run in one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(TrainingOptions(data=data, out=out, **SMALL), say=lambda line: None)
    return bits(RunFolder(out))


@pytest.mark.parametrize("pieces", [1, 2, 5, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_piece_has_one_rank_and_no_rank_two_more_than_another(pieces, count):
    shares = []
    for number in range(count):
        ranks = Ranks()
        ranks.number, ranks.count = number, count
        shares.append(ranks.share(pieces))
    assert [piece for share in shares for piece in share] == list(range(pieces))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@under_mpi
def test_two_ranks_train_to_the_bits_of_one_process(data, alone, tmp_path):
    words = ("minisqx", "train", "--distributed", "--data", data, "--epochs", 3, *TRAIN, "--out", tmp_path / "run")
    done = mpi_runs.finish((2, words))
    assert done.returncode == 0, done.stderr
    assert bits(RunFolder(tmp_path / "run")) == alone
    assert done.stdout.count("test accuracy") == 1 and "on each of 2 ranks" in done.stdout


@under_mpi
def test_a_run_of_one_process_is_resumed_by_two_ranks_to_the_same_bits(data, alone, tmp_path, monkeypatch):
    plain = Trainer._train_batch

    def stopping(self, batch):
        if (self.state.epoch, self.state.batch) == (1, 2):
            self.say = lambda line: None
            raise KeyboardInterrupt
        return plain(self, batch)

    monkeypatch.setattr(Trainer, "_train_batch", stopping)
    monkeypatch.setattr("minisqx.training.trainer.SAVE_EVERY", 0)
    with pytest.raises(KeyboardInterrupt):
        train(TrainingOptions(data=data, out=tmp_path / "run", **SMALL), say=lambda line: None)
    done = mpi_runs.finish((2, ("minisqx", "train", "--distributed", "--resume", tmp_path / "run")))
    assert done.returncode == 0, done.stderr
    assert "from epoch 2, batch 3 on" in done.stdout
    assert bits(RunFolder(tmp_path / "run")) == alone


@under_mpi
def test_a_killed_rank_ends_the_others_within_ten_seconds_and_the_run_resumes(data, alone, tmp_path):
    words = ("train", "--distributed", "--data", data, "--epochs", 3, *TRAIN, "--out", tmp_path / "run")
    killed = ("tests.stress.child", "--batch", 8, "--signal", "SIGKILL", "--save-every", 0, "--", *words)
    others = ("tests.stress.child", "--save-every", 0, "--", *words)
    process = mpi_runs.start((1, others), (1, killed))
    out, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and "signal 9" in (out + errors).lower()
    resume(tmp_path / "run", say=lambda line: None)
    assert bits(RunFolder(tmp_path / "run")) == alone


@under_mpi
def test_ranks_with_other_options_end_with_a_line_that_says_which(data, tmp_path):
    words = ("minisqx", "train", "--distributed", "--data", data, *TRAIN, "--out", tmp_path / "run")
    began = time.monotonic()
    done = mpi_runs.finish((1, words), (1, (*words, "--lr", 0.3)))
    assert done.returncode == 2 and time.monotonic() - began < 60
    lines = [line for line in done.stderr.splitlines() if line.startswith("minisqx:")]
    assert len(lines) == 1 and "rank 1 has --lr 0.3, rank 0 has 0.1" in lines[0]
    assert not (tmp_path / "run").exists()


@under_mpi
def test_a_number_that_is_not_finite_is_named_once_by_all_ranks_together(data, tmp_path):
    words = ("minisqx", "train", "--distributed", "--data", data, *TRAIN, "--lr", 1e38, "--out", tmp_path / "run")
    done = mpi_runs.finish((2, words))
    lines = [line for line in done.stderr.splitlines() if line.startswith("minisqx:")]
    assert done.returncode == 6 and len(lines) == 1 and "not finite" in lines[0]


def test_without_mpi_the_option_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train", "--distributed"]) == MissingExtraError.exit_code
    assert "pip install 'minisqx[mpi]'" in capsys.readouterr().err
