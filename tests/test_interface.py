"""`minisqx.train`: the command's options as arguments, callbacks, and what it returns."""

import inspect
import subprocess
import sys
from dataclasses import fields
from xml.etree import ElementTree

import numpy as np
import pytest

import minisqx
from minisqx.errors import MissingExtraError, OptionError
from minisqx.network import Network
from minisqx.training import resume, train
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import RunFolder
from tests.training_runs import SMALL, bits, rows, write_data


def nothing(line: str) -> None:
    pass


class Recorder:
    def __init__(self):
        self.rows = []

    def on_epoch_end(self, row):
        self.rows.append(row)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_data(tmp_path_factory.mktemp("data") / "colours.h5"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return minisqx.train(**SMALL, data=data, out=tmp_path_factory.mktemp("runs") / "run", say=nothing)


def test_its_options_are_those_of_the_command_each_described_by_help():
    signature = inspect.signature(minisqx.train)
    for field in fields(TrainingOptions):
        assert signature.parameters[field.name].default == field.default
        assert field.name.replace("_", "-") in (minisqx.train.__doc__ or "")
    assert set(signature.parameters) - {field.name for field in fields(TrainingOptions)} == {
        "resume",
        "extend",
        "callbacks",
        "say",
    }


def test_it_is_the_training_of_the_command_and_returns_what_came_out(run, data, tmp_path):
    other = train(TrainingOptions(**SMALL, data=data, out=tmp_path / "run"), say=nothing)
    assert bits(RunFolder(run.folder)) == bits(RunFolder(other.folder))
    assert [row["epoch"] for row in run.history] == [1, 2, 3] and len(rows(RunFolder(run.folder))) == 3
    assert run.model.classes == ("red", "green", "blue") and run.model is run.model
    assert run.model.metrics["epoch"] == run.best_epoch and run.report == run.folder / "report.html"


def test_an_import_of_the_commands_module_leaves_the_function_in_its_place():
    code = "import minisqx.train, minisqx; from minisqx import train; print(callable(minisqx.train), minisqx.train is train)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr
    done = subprocess.run([sys.executable, "-m", "minisqx.train", "--epochs", "0"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("minisqx: epochs 0: expected")


@pytest.mark.parametrize(
    "given, words",
    [
        ({"epoch": 3}, "option 'epoch': expected 'epochs'"),
        ({"zzz": 3}, "option 'zzz': expected one of model, width"),
        ({"epochs": 0}, "epochs 0"),
        ({"resume": "runs/x", "width": 0.2}, "width beside resume: expected only data, threads, distill and extend"),
        ({"extend": 3}, "extend 3 without resume"),
        ({"callbacks": print}, "expected a list of functions"),
        ({"callbacks": [3]}, "callback 3: expected a function"),
        ({"callbacks": [minisqx.TensorBoard]}, "expected a function"),
    ],
)
def test_what_it_can_not_take_is_refused_in_one_line(given, words):
    with pytest.raises(OptionError) as refused:
        minisqx.train(**given)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_callbacks_get_a_copy_of_each_row_after_its_epoch_was_saved(data, tmp_path):
    recorder, saved = Recorder(), []

    def spoil(row):
        saved.append(len(rows(RunFolder(tmp_path / "run"))))
        row.clear()

    run = minisqx.train(**SMALL, data=data, out=tmp_path / "run", callbacks=[spoil, recorder], say=nothing)
    assert recorder.rows == run.history and saved == [1, 2, 3]


def test_a_callback_that_fails_leaves_a_run_that_resumes_to_the_same_bits(run, data, tmp_path):
    def fail(row):
        if row["epoch"] == 2:
            raise ZeroDivisionError

    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        minisqx.train(**SMALL, data=data, out=tmp_path / "run", callbacks=[fail], say=nothing)
    resumed = minisqx.train(resume=tmp_path / "run", callbacks=[recorder], say=nothing)
    assert [row["epoch"] for row in recorder.rows] == [3] and len(resumed.history) == 3
    assert bits(RunFolder(resumed.folder)) == bits(RunFolder(run.folder))
    assert resume(resumed.folder, say=nothing).history == resumed.history


def test_tensorboard_gets_every_number_of_the_history(run, tmp_path):
    record = pytest.importorskip("tensorboardX.record_writer", reason="there is no tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    board = minisqx.TensorBoard(tmp_path / "board")
    for row in run.history:
        board.on_epoch_end(row)
    (file,) = (tmp_path / "board").iterdir()
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):  # a record is its length, a checksum of that, the event, a checksum of that
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        assert int.from_bytes(data[at + 12 + length : at + 16 + length], "little") == record.masked_crc32c(
            data[at + 12 : at + 12 + length]
        )
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        at += length + 16
    for row in run.history:
        for tag, name in {"loss/train": "train_loss", "accuracy/validation": "validation_accuracy", "lr": "lr"}.items():
            assert found[tag, row["epoch"]] == np.float32(row[name])
    assert len(found) == 3 * len({tag for tag, _ in found})
    assert len({tag for tag, _ in found}) == sum(isinstance(value, (int, float)) for value in run.history[0].values()) - 1


def test_without_tensorboardx_its_callback_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'minisqx\[tensorboard\]'"):
        minisqx.TensorBoard("board")


def test_in_a_notebook_networks_models_predictions_and_runs_are_html(run):
    strange = minisqx.Prediction(np.array([0.7, 0.3]), ("<b>&", "ok"), threshold=0.9)
    objects = (Network(run.model.spec), run.model, run, strange)
    for made in objects:
        html = made._repr_html_().replace("<br>", "<br/>")
        html = html[:-1] + "/>" if html.endswith("<img>") else html
        assert "<script" not in html and len(html) > 100
    page = ElementTree.fromstring(f"<div>{strange._repr_html_().replace('<br>', '')}</div>")
    text = "".join(page.itertext())
    assert "<b>&" in text and "70.0 %" in text and "not sure" in text
    assert "red, green, blue" in run.model._repr_html_() and "<svg" in run.model._repr_html_()
    assert "data:image/png" in run._repr_html_() and "report.html" in run._repr_html_()


def test_without_scikit_learn_the_classifier_says_what_to_install():
    code = "import sys; sys.modules['sklearn.base'] = None; import minisqx.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError: scikit-learn is not installed: pip install 'minisqx[sklearn]'" in done.stderr
