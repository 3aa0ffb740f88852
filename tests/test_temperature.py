"""Probabilities that can be believed: the temperature in a model's file, and a threshold below which it is not sure."""

import json
from dataclasses import replace
from importlib.util import find_spec

import h5py
import numpy as np
import pytest

import minisqx
from minisqx import cli
from minisqx.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minisqx.errors import CheckpointError, OptionError
from minisqx.inference.answers import Answers
from minisqx.inference.prediction import softmax
from minisqx.training import train
from minisqx.training.data import open_training_data
from minisqx.training.evaluation import evaluate
from minisqx.training.options import TrainingOptions
from minisqx.training.temperature import fit_temperature
from tests.exported_models import images_for, model_of
from tests.onnx_runtimes import onnx_runtime
from tests.torch_modules import imported
from tests.training_runs import SMALL, write_data


def drawn(images: int, classes: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from softmax(logits / temperature)."""
    random = np.random.default_rng(3)
    logits = random.normal(0, 3, (images, classes)).astype(np.float32)
    noise = random.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


def loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return -np.log(softmax(logits, temperature)[np.arange(len(labels)), labels]).mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_fitted_temperature_is_that_from_which_labels_were_drawn(temperature):
    logits, labels = drawn(20_000, 10, temperature)
    # About three standard errors for so many images.
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_has_a_lower_loss():
    logits, labels = drawn(500, 7, 2.0)
    best = fit_temperature(logits, labels)
    # The prior moves the optimum by less than a hundredth here.
    assert all(loss(logits, labels, best) < loss(logits, labels, best * factor) for factor in (0.9, 0.97, 1.03, 1.1))


def test_a_network_that_made_no_mistake_is_not_told_to_be_sure_of_everything():
    labels = np.arange(200) % 4
    for margin, least, most in ((10, 0.85, 0.95), (2, 0.2, 0.4)):  # the second is too unsure, as its images show
        logits = margin * np.eye(4, dtype=np.float32)[labels]
        found = fit_temperature(logits, labels)
        losses = [200 * loss(logits, labels, t) + (1 / t - 1) ** 2 / 2 for t in found * np.array([1, 0.99, 1.01])]
        assert least < found < most and losses[0] == min(losses)
    assert fit_temperature(np.zeros((3, 1), np.float32), np.zeros(3, np.int64)) == 1


def test_best_has_the_temperature_of_its_validation_images(tmp_path):
    data = str(write_data(tmp_path / "colours.h5", images=200))
    options = TrainingOptions(**SMALL | {"epochs": 4, "validation": 60}, data=data, out=tmp_path / "run")
    run = train(options, say=lambda line: None)
    model, images = run.model, open_training_data(options, lambda line: None).validation
    logits = model.network.plan().run_pixels(images.images, model._values)
    assert model.temperature == fit_temperature(logits, images.labels) != 1
    cool = evaluate(model, images.images, images.labels)
    assert cool.loss < evaluate(replace(model, temperature=1.0), images.images, images.labels).loss
    assert cool.loss == pytest.approx(loss(logits, images.labels, model.temperature), rel=1e-6)
    assert load_checkpoint(run.folder / "last.h5").temperature == 1
    alone = train(replace(options, validation=0, out=str(tmp_path / "alone")), say=lambda line: None)
    assert alone.model.temperature == 1


def test_a_temperature_changes_probabilities_and_no_answer():
    model = model_of("shallow-06-0.2x")
    images = images_for(model, 20)
    cool, plain = replace(model, temperature=2.5).probabilities(images), model.probabilities(images)
    powers = plain ** (1 / 2.5)
    np.testing.assert_allclose(cool, powers / powers.sum(axis=1, keepdims=True), rtol=1e-12)
    assert (cool.argmax(axis=1) == plain.argmax(axis=1)).all()
    assert cool[:1].tobytes() == replace(model, temperature=2.5).probabilities(images[:1]).tobytes()


def test_a_file_without_temperature_and_threshold_keeps_its_bytes_and_bits(tmp_path):
    model = model_of("shallow-06-0.2x")
    made = Checkpoint(model.spec, model.state, model.classes, model.mean, model.std)
    save_checkpoint(tmp_path / "plain.h5", made)
    with h5py.File(tmp_path / "plain.h5") as file:
        entries = json.loads(file["index"][()])
    assert "temperature" not in entries and "threshold" not in entries
    images = images_for(model, 3)
    assert minisqx.load(tmp_path / "plain.h5").probabilities(images).tobytes() == model.probabilities(images).tobytes()
    save_checkpoint(tmp_path / "cool.h5", replace(made, temperature=1.5, threshold=0.75))
    read = minisqx.load(tmp_path / "cool.h5")
    assert (read.temperature, read.threshold) == (1.5, 0.75)
    assert minisqx.load(tmp_path / "cool.h5", threshold=0.1).threshold == 0.1


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"temperature": float("nan")}, {"threshold": 1.1}, {"threshold": "0.9"}])
def test_an_impossible_temperature_or_threshold_is_refused(wrong):
    model = model_of("shallow-06-0.2x")
    with pytest.raises(CheckpointError, match=f"{next(iter(wrong))} .*: expected a number from 0"):
        Checkpoint(model.spec, model.state, **wrong)


@pytest.mark.parametrize("name", ["shallow-06-0.2x", "squeezenet-v1.1"])
def test_every_export_has_the_temperature_in_its_probabilities(name, tmp_path):
    model = replace(model_of(name), temperature=1.7, threshold=0.6)
    images = images_for(model)
    minisqx.export(model, tmp_path / "net.onnx", image_input=True)
    assert np.abs(onnx_runtime(tmp_path / "net.onnx", images) - model.probabilities(images)).max() < 1e-5
    if find_spec("torch"):
        module = imported(minisqx.export(model, tmp_path / "net.py")[0])
        found = module.probabilities(module.load(), module.torch.as_tensor(images)).detach().numpy()
        assert np.abs(found - model.probabilities(images)).max() < 1e-5
        assert minisqx.load(tmp_path / "net.pt").temperature == 1.7
    minisqx.export(model, tmp_path / "net.safetensors")
    minisqx.export(tmp_path / "net.safetensors", tmp_path / "net.h5", threshold=0.8)
    read = minisqx.load(tmp_path / "net.h5")
    assert read.probabilities(images).tobytes() == model.probabilities(images).tobytes() and read.threshold == 0.8
    with pytest.raises(OptionError, match="threshold with the format onnx: expected h5, pt or safetensors"):
        minisqx.export(model, tmp_path / "net.onnx", threshold=0.8)


def test_a_prediction_is_confident_from_the_threshold_on():
    probabilities, classes = np.array([0.25, 0.75]), ("cat", "dog")
    for threshold, confident in ((0.0, True), (0.75, True), (0.7500001, False)):
        made = minisqx.Prediction(probabilities, classes, threshold)
        assert made.is_confident is confident and made.label == "dog"
        assert str(made) == ("" if confident else "not sure: ") + "dog 75.0 % (cat 25.0 %)"


def test_the_table_of_thresholds_counts_answers_and_the_right_ones_among_them():
    answers = Answers(("a", "b"), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), np.array([0.9, 0.6, 0.8, 0.5]))
    assert [answers.above(threshold) for threshold in (0.0, 0.6, 0.61, 0.9, 1.0)] == [(4, 3), (3, 2), (2, 2), (1, 1), (0, 0)]


def test_the_commands_show_and_keep_a_threshold(tmp_path, capsys):
    data = write_data(tmp_path / "colours.h5")
    run = train(TrainingOptions(**SMALL, data=str(data), out=tmp_path / "run"), say=lambda line: None)
    minisqx.export(run.folder / "best.h5", tmp_path / "sure.h5", threshold=0.97)
    assert cli.main(["evaluate", str(tmp_path / "sure.h5"), "--data", str(data), "--thresholds"]) == 0
    table = capsys.readouterr().out.split("at least the threshold\n")[1].splitlines()
    result = evaluate(run.model, *_test_part(data))
    assert table[1].split() == ["none", "100.00", "%", f"{100 * result.accuracy:.2f}", "%", str(20 - result.correct), "0"]
    (own,) = [line for line in table if line.startswith("97 % (the model's)")]
    assert f"{100 * result.above(0.97)[0] / 20:.2f} %" in own
    with h5py.File(data) as file:
        minisqx.images.pillow.Image.fromarray(file["test_images"][0]).save(tmp_path / "one.png")
    answered = {}
    for words in ([], ["--threshold", "0"], ["--threshold", "1"]):
        assert cli.main(["infer", str(tmp_path / "one.png"), "--model", str(tmp_path / "sure.h5"), *words]) == 0
        answered[tuple(words)] = "not sure" in capsys.readouterr().out
        assert cli.main(["infer", str(tmp_path / "one.png"), "--model", str(tmp_path / "sure.h5"), "--json", *words]) == 0
        assert json.loads(capsys.readouterr().out)["is_confident"] is not answered[tuple(words)]
    assert not answered["--threshold", "0"] and answered["--threshold", "1"]


def _test_part(data):
    with h5py.File(data) as file:
        return file["test_images"][:], file["test_labels"][:].astype(np.int64)
