"""Nothing that happens to a run, to its process or to its disk costs more than the batches since the last checkpoint."""

import copy
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minisqx.checkpoint import load_checkpoint, save_checkpoint
from minisqx.errors import CheckpointError, TrainingError
from minisqx.machine import folders
from minisqx.machine.interrupt import Stopped, StopRequest
from minisqx.training import progress, resume, run_folder, train
from minisqx.training.options import TrainingOptions
from minisqx.training.progress import EpochBar, missing_packages
from minisqx.training.run_folder import RunFolder
from minisqx.training.run_state import load_run
from minisqx.training.trainer import Trainer
from tests.stress.runs import litter
from tests.training_runs import SMALL, bits, rows, write_data


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes longer than training here."""

    def draw_nothing(*arguments):
        raise ImportError

    monkeypatch.setattr(run_folder, "draw_curves", draw_nothing)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5"))


@pytest.fixture(scope="module")
def wanted(data, tmp_path_factory) -> tuple:
    """The bits of a run that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "draw", lambda *arguments: None)
        folder = tmp_path_factory.mktemp("runs") / "finished"
        return bits(RunFolder(train(TrainingOptions(**SMALL, data=data, out=folder), say=quiet).folder))


def quiet(line: str) -> None:
    pass


def in_batch(monkeypatch, number: int, fault) -> None:
    """Has `fault()` called in the batch of this number, counted from 1."""
    plain, count = Trainer._train_batch, 0

    def train_batch(trainer, batch):
        nonlocal count
        count += 1
        if count == number:
            fault()
        return plain(trainer, batch)

    monkeypatch.setattr(Trainer, "_train_batch", train_batch)


def start(monkeypatch, data: str, path: Path, fault, ended_by: type[BaseException], say=quiet, batch: int = 8) -> RunFolder:
    """A run that saves after each batch until `fault()` in batch 8, the third of the second epoch."""
    with monkeypatch.context() as patch:
        patch.setattr("minisqx.training.trainer.SAVE_EVERY", 0.0)
        in_batch(patch, batch, fault)
        with pytest.raises(ended_by):
            train(TrainingOptions(**SMALL, data=data, out=path), say)
    return RunFolder(path)


def interrupt(number: int = signal.SIGINT) -> None:
    signal.raise_signal(number)


@pytest.fixture
def stopped(monkeypatch, data, tmp_path) -> RunFolder:
    return start(monkeypatch, data, tmp_path / "run", interrupt, KeyboardInterrupt)


def flip(path: Path) -> None:
    image = bytearray(path.read_bytes())
    image[len(image) // 2] ^= 1
    path.write_bytes(image)


# Two generations.


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: path.write_bytes(b"")], ids=["flipped", "missing", "empty"])
def test_where_last_is_damaged_the_state_before_it_is_resumed_with_a_line(damage, stopped, wanted):
    damage(stopped.last)
    said: list[str] = []
    resume(stopped.path, said.append)
    assert [line for line in said if "resuming from previous.h5, 1 epochs and " in line and "last.h5" in line]
    assert bits(stopped) == wanted


def test_a_damaged_last_never_becomes_the_previous(stopped, monkeypatch):
    flip(stopped.last)
    monkeypatch.setattr(Trainer, "run", lambda trainer: interrupt())
    with pytest.raises(KeyboardInterrupt):
        resume(stopped.path, quiet)
    assert load_checkpoint(stopped.previous) and load_checkpoint(stopped.last)


def test_two_damaged_generations_are_one_clear_error(stopped):
    flip(stopped.last)
    flip(stopped.previous)
    with pytest.raises(CheckpointError, match=r"last\.h5.*previous\.h5 can.t be used either") as refused:
        resume(stopped.path, quiet)
    assert "\n" not in str(refused.value)


STEPS = ("open", "link", "replace", "fsync", "unlink")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
def test_a_process_killed_before_any_step_of_a_save_leaves_a_whole_generation(links, stopped, monkeypatch):
    """A child ends at once before its first call of the system that changes a file, then before its second, and so on."""
    checkpoint, old = load_checkpoint(stopped.last), load_run(stopped, quiet)[1]
    checkpoint.training["state"]["lr"] = new = 0.0625
    for step in range(1, 100):
        folder = RunFolder(stopped.path)
        load_run(folder, quiet)
        child = os.fork()
        if child == 0:
            count = 0

            def stepping(name, plain, step=step):
                def call(*arguments, **settings):
                    nonlocal count
                    count += 1
                    if count == step:
                        os._exit(9)
                    if name == "link" and not links:
                        raise PermissionError(errno.EPERM, "Operation not permitted")
                    return plain(*arguments, **settings)

                return call

            try:
                for name in STEPS:
                    setattr(os, name, stepping(name, getattr(os, name)))
                folder.save_last(checkpoint)
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said: list[str] = []
        found = load_run(RunFolder(stopped.path), said.append)[1]
        assert not said and found.lr in (old.lr, new), f"step {step}"
        assert load_run(RunFolder(stopped.path), said.append) and load_checkpoint(stopped.previous)
        if code == 0:
            break
    assert code == 0 and step >= 6 and found.lr == new


def test_without_hard_links_the_previous_state_is_a_copy(monkeypatch, data, tmp_path):
    def link(*arguments, **settings):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    folder = start(monkeypatch, data, tmp_path / "run", interrupt, KeyboardInterrupt)
    assert load_run(folder, quiet)[1].batch == 3
    folder.last.unlink()
    assert load_run(folder, quiet)[1].batch == 3 and not litter(folder.path)


def test_a_run_that_failed_after_its_last_checkpoint_gets_its_whole_history(monkeypatch, data, tmp_path, wanted):
    plain = RunFolder.write_history

    def write_history(folder, history):
        if len(history) == SMALL["epochs"]:
            raise TrainingError("no room")
        plain(folder, history)

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="no room"):
        patch.setattr(RunFolder, "write_history", write_history)
        train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), quiet)
    assert resume(tmp_path / "run", quiet).history and bits(RunFolder(tmp_path / "run")) == wanted


# One process at a time.


def test_a_second_process_is_refused_and_leaves_the_first_ones_files_alone(stopped):
    pytest.importorskip("fcntl")
    part = stopped.path / f".minisqx-{'0' * 16}.part"
    part.write_bytes(b"being written")
    with RunFolder.open(stopped.path), pytest.raises(TrainingError, match="another process is training in .*wait") as refused:
        resume(stopped.path, quiet)
    assert part.exists() and "\n" not in str(refused.value)


def test_a_resumed_run_sweeps_what_a_killed_one_left_and_nothing_else(stopped):
    pytest.importorskip("fcntl")
    part, mine = stopped.path / f".minisqx-{'0' * 16}.part", stopped.path / "notes.part"
    part.write_bytes(b"unfinished")
    mine.write_bytes(b"mine")
    resume(stopped.path, quiet)
    assert not part.exists() and mine.exists()


def test_where_nothing_can_be_locked_a_run_is_resumed_and_nothing_swept(stopped, monkeypatch):
    monkeypatch.setattr(folders, "fcntl", None)
    part = stopped.path / f".minisqx-{'0' * 16}.part"
    part.write_bytes(b"perhaps being written")
    resume(stopped.path, quiet)
    assert part.exists()


# What last.h5 and config.json say.


def cases() -> list[tuple[str, object]]:
    """Places in the training state, each with values that are wrong there."""
    odd = [None, True, -1, 1.5, "1", [], {}, 10**400, 2**63]
    whole, number = odd, [None, True, "1", [], {}, 10**400, -(10**400)]
    places: dict[str, list] = {"dropout_step": whole, "state": [None, 1, [], {}, "state"]}
    places |= {f"state.{name}": whole for name in ("epoch", "batch", "correct", "samples", "best_epoch")}
    places |= {f"state.{name}": number for name in ("loss_sum", "seconds", "lr", "best_accuracy")}
    places["state.history"] = [None, {}, [], [1], [[]], [{}], [{"epoch": 1}], [{}, {}]]
    places |= {f"state.history.0.{name}": number for name in ("epoch", "lr", "train_loss", "seconds", "images_per_second")}
    places |= {f"state.history.0.{name}": number[1:] for name in ("test_loss", "validation_accuracy")}
    places |= {"state.epoch": [*whole, 0, 2], "state.best_epoch": [*whole, 0, 2], "state.correct": [*whole, 1000]}
    places |= {"state.samples": [*whole, 0, 40], "state.batch": [*whole, 0, 4, 6], "state.seconds": [*number, 0.0, -1.0]}
    places["data_digest"] = [None, 1, [], "0" * 64]
    return [(place, value) for place, values in places.items() for value in values]


def test_any_training_state_that_is_not_right_is_refused_with_a_typed_error(stopped, data):
    good = load_checkpoint(stopped.last)
    stopped.previous.unlink()
    for place, value in [*cases(), ("more", 1), ("state.more", 1), ("state.history.0.more", 1)]:
        training = copy.deepcopy(good.training)
        *way, name = (int(part) if part.isdecimal() else part for part in place.split("."))
        entry = training
        for part in way:
            entry = entry[part]
        entry[name] = value
        wrong = copy.copy(good)
        object.__setattr__(wrong, "training", training)
        save_checkpoint(stopped.last, wrong)
        with pytest.raises(TrainingError) as refused:
            resume(stopped.path, quiet)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000, (place, value)


@pytest.mark.parametrize("optimizer", [None, {}, {"momentum": 1}, {"velocity": 1, "momentum": 1}, {"velocity": float("nan")}])
def test_another_optimizers_state_is_refused(optimizer, stopped):
    good = load_checkpoint(stopped.last)
    stopped.previous.unlink()
    velocity = good.optimizer["velocity"]
    arrays = None if optimizer is None else {name: velocity * value for name, value in optimizer.items()}
    wrong = copy.copy(good)
    object.__setattr__(wrong, "optimizer", arrays)
    save_checkpoint(stopped.last, wrong)
    with pytest.raises(TrainingError, match="no training state"):
        resume(stopped.path, quiet)


def test_any_configuration_that_is_not_right_is_refused_with_a_typed_error(stopped):
    good = json.loads(stopped.config.read_text())
    odd = [True, -1, 10**400, "x", [], {}, [[]], [10**400] * 4]
    texts = ["[" * 100_000, "1" * 5000, "\ud800".encode("utf-16", "surrogatepass"), b"\xff", "null", '{"options": null}']
    for name in ("model", "lr", "blocks"):
        texts += [json.dumps(good | {"options": good["options"] | {name: value}}) for value in odd]
    for text in texts:
        stopped.config.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(TrainingError, match=r"config\.json") as refused:
            resume(stopped.path, quiet)
        assert "\n" not in str(refused.value)


def test_a_run_that_moved_to_another_machine_says_so(stopped, wanted):
    config = json.loads(stopped.config.read_text())
    config["versions"]["numba"], config["cpu"] = "0.0.1", "pdp11"
    stopped.config.write_text(json.dumps(config))
    said: list[str] = []
    resume(stopped.path, said.append)
    (line,) = [line for line in said if "the run began with" in line]
    assert "numba 0.0.1 (now" in line and "CPU pdp11 (now" in line and "numpy" not in line


def test_on_the_same_machine_nothing_is_said_of_it(stopped):
    said: list[str] = []
    resume(stopped.path, said.append)
    assert not [line for line in said if "the run began with" in line]


# A wish to stop.


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", None)])
def test_a_signal_in_a_batch_saves_and_ends_without_a_picture(number, monkeypatch, data, tmp_path, wanted):
    drawn, before = [], signal.signal(number, signal.SIG_DFL)  # nohup ignores it
    monkeypatch.setattr(RunFolder, "draw", lambda *arguments: drawn.append(1))
    folder = start(monkeypatch, data, tmp_path / "run", lambda: (drawn.clear(), interrupt(number)), SystemExit)
    signal.signal(number, before)
    assert load_run(folder, quiet)[1].batch == 3 and not drawn
    resume(folder.path, quiet)
    assert bits(folder) == wanted


def test_a_signal_before_the_first_batch_ends_at_once_with_nothing_or_a_run(monkeypatch, data, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr("minisqx.training.data.open_dataset", lambda *arguments, **settings: interrupt(signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            train(TrainingOptions(**SMALL, data=data, out=tmp_path / "read"), quiet)
    assert ended.value.code == 143 and not (tmp_path / "read").exists()
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("minisqx.training.trainer.compile_training", lambda spec: interrupt(signal.SIGTERM))
        patch.setattr(Trainer, "_train_epoch", lambda trainer: pytest.fail("a batch was trained"))
        with pytest.raises(SystemExit) as ended:
            train(TrainingOptions(**SMALL, data=data, out=tmp_path / "compiled"), said.append)
    assert ended.value.code == 143 and "stopped and saved" in said[-1]
    assert load_run(RunFolder(tmp_path / "compiled"), quiet)[1].epoch == 0


def test_a_run_whose_lines_nobody_reads_is_saved_and_ends(monkeypatch, data, tmp_path, wanted):
    def say(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), say)
    folder = RunFolder(tmp_path / "run")
    assert load_run(folder, quiet)[1].epoch == 2 and len(rows(folder)) == 2
    resume(folder.path, quiet)
    assert bits(folder) == wanted


def test_nohup_goes_on_without_its_terminal():
    code = """if True:
        import signal
        from minisqx.machine.interrupt import StopRequest
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
        print(stop.cause)
    """
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("needs SIGHUP")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "None"


def test_a_request_at_once_raises_where_the_program_is():
    with pytest.raises(Stopped) as stopped, StopRequest(immediate=True):
        interrupt()
        pytest.fail("went on")
    assert stopped.value.cause == signal.SIGINT


# What is worth no run.


def test_a_picture_that_fails_costs_a_line_and_no_run_nor_the_wish_to_stop(monkeypatch, data, tmp_path, wanted):
    def draw(*arguments):
        raise ValueError("no font\nto be found")

    monkeypatch.setattr(run_folder, "draw_curves", draw)
    said: list[str] = []
    folder = start(monkeypatch, data, tmp_path / "run", interrupt, KeyboardInterrupt, said.append)
    assert "stopped and saved" in said[-1] and "no font to be found" in said[-2]
    resume(folder.path, said.append)
    assert bits(folder) == wanted and "no font to be found" in said[-2]


def test_a_process_without_stderr_has_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    bar = EpochBar("epoch", 1, 0)
    bar.update(1, 0.5, 0.5)
    bar.close()
    assert all("tqdm" not in line for line in missing_packages())


def test_a_terminal_that_is_gone_costs_the_bar_alone(monkeypatch):
    class Gone:
        def set_postfix_str(self, *arguments, **settings):
            raise OSError(errno.EIO, "Input/output error")

        update = close = set_postfix_str

    monkeypatch.setattr(progress, "_on_terminal", lambda: False)
    bar = EpochBar("epoch", 2, 0)
    bar._bar = Gone()
    bar.update(1, 0.5, 0.5)
    bar.update(1, 0.5, 0.5)
    bar._bar = Gone()
    bar.close()


# A disk that fails.


@pytest.mark.parametrize("name", ["last.h5", "best.h5", "history.csv", "config.json"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_an_unwritable_file_is_an_error_and_a_run_not_begun_leaves_nothing(name, number, monkeypatch, data, tmp_path):
    def replace_file(path, content, plain=run_folder.replace_file):
        if path.name == name:
            raise OSError(number, os.strerror(number))
        plain(path, content)

    monkeypatch.setattr(run_folder, "replace_file", replace_file)
    monkeypatch.setattr("minisqx.checkpoint.model_file.replace_file", replace_file)
    with pytest.raises(TrainingError) as refused:
        train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), quiet)
    begun = name in ("best.h5", "history.csv")
    assert name in str(refused.value) and os.strerror(number) in str(refused.value)
    assert ("--resume" in str(refused.value)) == begun == (tmp_path / "run").exists()


# The commands of tests/stress, with the smallest counts.


def stress(name: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", f"tests.stress.{name}", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_killed_training_is_resumed():
    assert "killed, loaded and resumed: 1 of 1" in stress("kill", "--count", "1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_stopped_in_a_random_batch_ends_with_the_same_bits():
    assert "byte-identical at the end: 1 of 1" in stress("resume", "--count", "1", "--stops", "1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_folder_that_is_removed_under_a_run_is_one_line():
    assert "removed: refused in one line, nothing lost: 4 of 4" in stress("disk", "--only", "removed")
