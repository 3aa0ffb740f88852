"""`minisqx sweep`: its trials, and that each is trained once, goes on after a kill, and is reported if it fails."""

import argparse
import csv
from dataclasses import replace

import pytest

from minisqx.cli import main
from minisqx.errors import OptionError, TrainingError
from minisqx.sweep import runner
from minisqx.sweep.grid import Grid, numbers, rows_of_blocks
from minisqx.sweep.results import FAILED, FINISHED, LEFT_OUT, Result, front, means
from minisqx.training.run import train
from minisqx.training.run_folder import RunFolder
from minisqx.training.run_state import load_run
from tests.training_runs import SMALL, bits, write_data

COMMON = {name: value for name, value in SMALL.items() if name != "width"} | {"epochs": 2}


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "colours.h5")


def rows(out):
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def quiet(line):
    pass


@pytest.mark.parametrize(
    "text, found",
    [("0.1", (0.1,)), ("0.1,0.3", (0.1, 0.3)), ("0.1:0.5:0.1", (0.1, 0.2, 0.3, 0.4, 0.5)), ("0:0.5:0.2,1", (0.0, 0.2, 0.4, 1.0))],
)
def test_a_range_has_both_ends_and_decimal_steps(text, found):
    assert numbers(text) == found


@pytest.mark.parametrize("text", ["", "a", "0.1:0.5", "0.5:0.1:0.1", "0:1:0", "0:1:-1", "0:inf:1", "nan", "0:1e9:1e-3"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        numbers(text)


def test_blocks_are_digits_or_numbers_with_hyphens():
    assert rows_of_blocks("1111,1-10-1-1") == ((1, 1, 1, 1), (1, 10, 1, 1))
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        rows_of_blocks("1,x")


def test_the_trials_are_all_combinations_with_every_seed(tmp_path):
    values = {"width": (0.125, 0.2), "blocks": ((1, 1, 1, 1), (1, 2, 2, 1)), "dropout": (0.0, 0.3)}
    trials = Grid(tmp_path, values, {"epochs": 3, "seed": 5}, seeds=3).trials
    assert len({trial.name for trial in trials}) == len(trials) == 2 * 2 * 2 * 3
    assert trials[-1].options.blocks == (1, 2, 2, 1) and trials[-1].options.seed == 7 and trials[-1].options.epochs == 3
    assert trials[0].name == "width-0.125_blocks-1111_dropout-0.0_seed-5" and trials[0].cost < trials[-1].cost


def test_a_value_that_comes_twice_and_one_that_no_network_has_are_refused(tmp_path):
    with pytest.raises(OptionError, match="twice"):
        Grid(tmp_path, {"width": (0.2, 0.2)}, {})
    with pytest.raises(OptionError, match="width"):
        Grid(tmp_path, {"width": (0.2, -1.0)}, {})


def test_a_sweep_trains_each_trial_once_and_goes_on_where_it_was_killed(data, tmp_path):
    out = tmp_path / "sweep"
    grid = Grid(out, {"width": (0.125, 0.15)}, {**COMMON, "data": str(data)})
    first, second = grid.trials
    # A trial that was killed after its first save, and one whose start was killed.
    train(first.options, say=quiet)
    last = load_run(RunFolder(first.folder), quiet)[1]
    assert last.epoch == 2
    second.folder.mkdir(parents=True)
    (second.folder / "config.json").touch()
    lines = []
    found = runner.run(grid, 1, lines.append)
    assert [result.status for result in found] == [FINISHED, FINISHED] and "1 of them finished before" in lines[0]
    assert len(lines) == 2 and second.name in lines[1]
    train(replace(second.options, out=str(tmp_path / "alone")), say=quiet)
    assert bits(RunFolder(second.folder)) == bits(RunFolder(tmp_path / "alone"))
    assert [row["status"] for row in rows(out)] == [FINISHED] * 2 and (out / "results.md").read_text().count("| width-") == 2
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_a_trial_that_fails_is_tried_twice_and_reported_while_the_others_go_on(data, tmp_path, capsys):
    out = tmp_path / "sweep"
    (out / "trials").mkdir(parents=True)
    (out / "trials" / "width-0.125_seed-0").write_text("in the way")
    words = ["sweep", "--width", "0.125,0.15", "--data", str(data), "--epochs", "1", "--batch-size", "13", "--validation", "7"]
    assert main([*words, "--jobs", "2", "--out", str(out)]) == TrainingError.exit_code
    failed, finished = rows(out)
    assert failed["status"] == FAILED and "can't be used" in failed["error"] and finished["status"] == FINISHED
    assert "width-0.125_seed-0 failed" in capsys.readouterr().out
    attempts = (out / "logs" / "width-0.125_seed-0.log").read_text().count("threads: 1")
    assert attempts == 2


def test_a_sweep_whose_trials_all_fail_says_why(data, tmp_path, capsys):
    words = ["sweep", "--width", "0.125,0.15", "--data", str(data), "--epochs", "1", "--distill", str(tmp_path / "none.h5")]
    assert main([*words, "--jobs", "2", "--out", str(tmp_path / "sweep")]) == TrainingError.exit_code
    out = capsys.readouterr().out
    assert "\nSweep\n" in out and " ".join(out.partition("\nSweep\n")[2].split()).count("there is no model") == 2


def test_another_sweep_in_the_same_folder_is_refused(tmp_path):
    runner._claim(Grid(tmp_path, {"width": (0.2,)}, {"epochs": 3}))
    runner._claim(Grid(tmp_path, {"width": (0.2,)}, {"epochs": 3, "threads": 2}))
    with pytest.raises(OptionError, match="other options"):
        runner._claim(Grid(tmp_path, {"width": (0.2,)}, {"epochs": 4}))


def test_a_budget_takes_the_cheapest_first_and_leaves_out_what_does_not_fit(tmp_path, monkeypatch):
    class Now:
        """Runs each trial at once, for an hour per 1.0 of width."""

        clock = 0.0

        def submit(self, run, options, log):
            Now.clock += options["width"] * runner.HOUR
            begun.append(options["width"])
            future = runner.Future()
            future.set_result(runner.Ended(0, "", options["width"] * runner.HOUR))
            return future

    begun = []
    grid = Grid(tmp_path, {"width": (0.5, 0.2, 0.3)}, {"epochs": 1})
    monkeypatch.setattr(runner.time, "monotonic", lambda: Now.clock)
    monkeypatch.setattr(runner, "result_of", lambda trial: Result(trial))
    found = {result.trial.options.width: result.status for result in runner.run_on(Now(), 1, grid, quiet, budget=0.6)}
    assert begun[0] == 0.2 and 0.5 not in begun and found[0.5] == LEFT_OUT


def test_the_front_has_only_what_no_smaller_network_beats(tmp_path):
    grid = Grid(tmp_path, {"width": (0.125, 0.2, 0.3)}, {"epochs": 1}, seeds=2)
    accuracies = iter((0.5, 0.6, 0.52, 0.56, 0.7, 0.7))
    results = [Result(trial, FINISHED, ({"test_accuracy": next(accuracies)},)) for trial in grid.trials]
    found = means(results)
    assert [round(mean.mean, 2) for mean in found] == [0.55, 0.54, 0.7]
    assert found[0].deviation == pytest.approx(0.1 / 2**0.5) and found[2].deviation == 0
    assert front(found) == [found[0], found[2]]
