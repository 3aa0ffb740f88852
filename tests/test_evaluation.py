"""`evaluate` matches classes by name, never by number, and measures on what it says."""

import csv
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

import minisqx
from minisqx.checkpoint import Checkpoint, save_checkpoint
from minisqx.cli import commands as cli
from minisqx.data import open_dataset
from minisqx.data.classes import match_classes
from minisqx.errors import DataError
from minisqx.inference.answers import Answers
from minisqx.training.evaluation import model_labels
from tests.image_folders import picture, save

CLASSES = ("cherry", "caf\u00e9", "plum")
DECOMPOSED = "cafe\u0301"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that answer in different ways, and the same with numbers for the names of their classes."""
    net = minisqx.ShallowSqueezeNext(width=0.125, num_classes=3)
    net.parameters()["classifier.weight"][:] *= 30
    x = np.stack([picture(seed, (32, 32)) for seed in range(60)]).transpose(0, 3, 1, 2) / 255 - 0.5
    net.parameters()["classifier.bias"][:] -= np.median(net.forward(x.astype(np.float32), training=False), axis=0)
    folder = tmp_path_factory.mktemp("weights")
    for name, classes in (("fruit.h5", CLASSES), ("numbers.h5", ("0", "1", "2"))):
        save_checkpoint(folder / name, Checkpoint(net.spec, net.state_dict(), classes, mean=(0.5,) * 3, std=(1.0,) * 3))
    return folder


def pool(root, classes=CLASSES):
    """Class folders of six images each."""
    for label, name in enumerate(classes):
        for number in range(6):
            save(root / name / f"{number}.png", picture(10 * label + number, (32, 32)))
    return root


def evaluate(capsys, model, *arguments):
    code = cli.main(["evaluate", str(model), *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def expected(model, classes=CLASSES):
    """How many of the pool's images the model names right, asked one by one."""
    model = minisqx.load(model)
    return sum(
        model.infer(picture(10 * label + number, (32, 32))).label == name
        for label, name in enumerate(classes)
        for number in range(6)
    )


@pytest.mark.parametrize(
    ("names", "known", "matched"),
    [
        (("a", "b"), ("b", "c", "a"), {"a": "a", "b": "b"}),
        (("Cherry",), ("cherry", "plum"), {"Cherry": "cherry"}),
        ((DECOMPOSED,), ("caf\u00e9",), {DECOMPOSED: "caf\u00e9"}),
        (("CAFE\u0301", "STRASSE"), ("caf\u00e9", "stra\u00dfe"), {"CAFE\u0301": "caf\u00e9", "STRASSE": "stra\u00dfe"}),
        (("Cherry", "cherry"), ("cherry",), {"cherry": "cherry"}),
        (("CHERRY",), ("Cherry", "cherry"), {}),
        (("Cherry", "CHERRY"), ("cherry",), {}),
        ((DECOMPOSED, "Cafe\u0301"), ("caf\u00e9", "Caf\u00e9"), {DECOMPOSED: "caf\u00e9", "Cafe\u0301": "Caf\u00e9"}),
        (("cafe",), ("caf\u00e9",), {}),
        (("0", "1"), ("00", "01"), {}),
    ],
)
def test_a_likeness_of_names_counts_where_there_is_one_only(names, known, matched):
    assert match_classes(names, known) == matched


def test_case_and_unicode_form_change_no_result_and_a_line_says_so(capsys, weights, tmp_path):
    pool(tmp_path / "test")
    shutil.move(tmp_path / "test" / "cherry", tmp_path / "test" / "Cherry")
    shutil.move(tmp_path / "test" / CLASSES[1], tmp_path / "test" / DECOMPOSED)
    code, out, err = evaluate(capsys, weights / "fruit.h5", "--data", tmp_path)
    right = expected(weights / "fruit.h5")
    assert code == 0 and f"({right} of 18 images)" in out[1] and 0 < right < 18
    assert sum("'Cherry' as 'cherry'" in line and "'fruit.h5'" in line for line in err) == 1


def test_equal_names_in_another_order_are_matched_without_a_line(weights):
    model, lines = minisqx.load(weights / "fruit.h5"), []
    labels = np.array([0, 1, 2, 0])
    found = model_labels(model, ("plum", "cherry", "caf\u00e9"), labels, lines.append)
    assert found.tolist() == [2, 0, 1, 2] and not lines
    # A class without images needs no counterpart, nor do all of the model's.
    assert model_labels(model, ("plum", "yew"), np.array([0, 0]), lines.append).tolist() == [2, 2] and not lines


@pytest.mark.parametrize(
    ("model", "classes", "words"),
    [
        (
            "fruit.h5",
            ("chery", "caf\u00e9", "plum"),
            ("'chery' is unknown to the model 'fruit.h5'", "'cherry'", "use the model's names"),
        ),
        ("fruit.h5", ("cherry", "Cherry"), ("'Cherry' is unknown", "'caf\u00e9', 'plum'")),
        ("fruit.h5", ("0", "1", "2"), ("'0', '1', '2' are unknown", "the data has numbers for names")),
        ("numbers.h5", CLASSES, ("are unknown", "'0', '1', '2'", "save the model with the names of its classes")),
        ("fruit.h5", (*CLASSES, "yew"), ("'yew' is unknown", "all of whose classes have matched")),
    ],
)
def test_a_class_that_the_model_does_not_know_is_named_and_refused(weights, model, classes, words):
    with pytest.raises(DataError) as caught:
        model_labels(minisqx.load(weights / model), classes, np.arange(len(classes)), lambda line: None)
    line = str(caught.value)
    assert "\n" not in line and all(word in line for word in words), line


def test_a_class_without_images_makes_the_likeness_of_another_doubtful(weights):
    model = minisqx.load(weights / "fruit.h5")
    with pytest.raises(DataError, match="'Cherry' is unknown"):
        model_labels(model, ("cherry", "Cherry"), np.array([1, 1]), lambda line: None)
    lines = []
    assert model_labels(model, ("Cherry", "Plum"), np.array([0, 0]), lines.append).tolist() == [0, 0]
    assert "'Cherry' as 'cherry'" in lines[0] and "Plum" not in lines[0]


def test_numbers_for_names_are_names_on_both_sides(weights):
    model = minisqx.load(weights / "numbers.h5")
    assert model_labels(model, ("0", "1"), np.array([1, 0]), lambda line: None).tolist() == [1, 0]


def test_a_test_folder_alone_is_measured_as_a_whole_and_not_trained_on(capsys, weights, tmp_path):
    pool(tmp_path / "photos" / "test")
    code, out, _ = evaluate(capsys, weights / "fruit.h5", "--data", tmp_path / "photos")
    assert code == 0 and f"({expected(weights / 'fruit.h5')} of 18 images)" in out[1]
    assert cli.main(["train", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "run")]) == DataError.exit_code
    assert "no training images" in capsys.readouterr().err.splitlines()[-1]


def test_classes_alone_are_measured_whole_or_as_training_left_them_out(capsys, weights, tmp_path):
    folder = pool(tmp_path / "photos")
    for words in ((), ("--all",)):
        code, out, err = evaluate(capsys, weights / "fruit.h5", "--data", folder, *words)
        assert code == 0 and out[0].startswith("fruit.h5 on all images of")
        assert f"({expected(weights / 'fruit.h5')} of 18" in out[1] and not any("set aside" in line for line in err)
    model = minisqx.load(weights / "fruit.h5")
    for split, recipe in (("files", {"split": "files"}), ("drawn", {"lr": 0.1})):  # an older recipe names no split
        provenance = {"data": "image folder 'photos'", "recipe": recipe}
        own = Checkpoint(model.spec, model.state, model.classes, model.mean, model.std, provenance=provenance)
        save_checkpoint(tmp_path / "own.h5", own)
        code, out, err = evaluate(capsys, tmp_path / "own.h5", "--data", folder)
        left = len(open_dataset(folder, split=split, say=lambda line: None).test)
        assert code == 0 and f"of {left} images)" in out[1] and any("--all" in line for line in err)
        assert "of 18 images)" in evaluate(capsys, tmp_path / "own.h5", "--data", folder, "--all")[1][1]


def test_all_images_of_all_parts_are_measured_if_asked(capsys, weights, tmp_path):
    pool(tmp_path / "train")
    for part, label in (("val", "plum"), ("test", "cherry")):
        save(tmp_path / part / label / "0.png", picture(1, (32, 32)))
    assert "of 20 images)" in evaluate(capsys, weights / "fruit.h5", "--data", tmp_path, "--all")[1][1]
    shutil.rmtree(tmp_path / "train")
    shutil.rmtree(tmp_path / "test")
    code, _, err = evaluate(capsys, weights / "fruit.h5", "--data", tmp_path)
    assert code == DataError.exit_code and "--all" in err[-1]
    assert "of 1 images)" in evaluate(capsys, weights / "fruit.h5", "--data", tmp_path, "--all")[1][1]


def test_one_image_of_each_class_is_too_few_to_divide_and_enough_for_all(capsys, weights, tmp_path):
    for label, name in enumerate(CLASSES):
        save(tmp_path / "photos" / name / "0.png", picture(label, (32, 32)))
    assert cli.main(["train", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "run")]) == DataError.exit_code
    assert "evaluate needs no test part" in capsys.readouterr().err.splitlines()[-1]
    code, out, _ = evaluate(capsys, weights / "fruit.h5", "--data", tmp_path / "photos")
    assert code == 0 and "of 3 images)" in out[1]


def test_hdf5_without_names_is_not_matched_by_number(capsys, weights, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["test_images"] = np.stack([picture(seed, (32, 32)) for seed in range(6)])
        file["test_labels"] = np.arange(6) % 3
    code, _, err = evaluate(capsys, weights / "fruit.h5", "--data", tmp_path / "a.h5")
    assert code == DataError.exit_code and "'classes' in an HDF5 file" in err[-1]
    code, out, _ = evaluate(capsys, weights / "numbers.h5", "--data", tmp_path / "a.h5")
    assert code == 0 and "of 6 images)" in out[1]
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["classes"] = [name.encode() for name in CLASSES]
    assert evaluate(capsys, weights / "fruit.h5", "--data", tmp_path / "a.h5")[0] == 0


def test_mistakes_are_listed_with_their_files_and_the_surest_are_copied(capsys, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("minisqx.training.mistakes.COPIED", 4)
    folder = pool(tmp_path / "photos")
    code, out, _ = evaluate(capsys, weights / "fruit.h5", "--data", folder, "--all", "--mistakes", tmp_path / "wrong")
    with open(tmp_path / "wrong" / "mistakes.csv", newline="", encoding="utf-8") as file:
        header, *listed = csv.reader(file)
    assert code == 0 and out[-1].startswith("mistakes: mistakes.csv and 4 images in ")
    assert header == ["image", "true class", "predicted class", "probability"]
    assert len(listed) == 18 - expected(weights / "fruit.h5") > 4
    model, probabilities = minisqx.load(weights / "fruit.h5"), []
    for name, truth, predicted, probability in listed:
        answer = model.infer(folder / name)
        assert name.split("/")[0] == truth != answer.label == predicted
        assert float(probability) == pytest.approx(answer.probability, abs=5e-5)
        probabilities.append(float(probability))
    assert probabilities == sorted(probabilities, reverse=True)
    copies = sorted(file for file in (tmp_path / "wrong").iterdir() if file.suffix == ".png")
    assert [file.read_bytes() for file in copies] == [(folder / row[0]).read_bytes() for row in listed[:4]]
    assert copies[0].name.startswith("001 ") and copies[0].name.endswith(f"% {listed[0][0].split('/')[1]}")
    code, _, err = evaluate(capsys, weights / "fruit.h5", "--data", folder, "--all", "--mistakes", tmp_path / "wrong")
    assert code == DataError.exit_code and "is not empty" in err[-1]


def test_mistakes_on_an_array_are_pictures_of_what_the_network_got(capsys, weights, tmp_path):
    images = np.stack([picture(seed, (32, 32)) for seed in range(20)])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["test_images"], file["test_labels"] = images, np.zeros(20, int)
        file["classes"] = [name.encode() for name in CLASSES]
    assert evaluate(capsys, weights / "fruit.h5", "--data", tmp_path / "a.h5", "--mistakes", tmp_path / "wrong")[0] == 0
    with open(tmp_path / "wrong" / "mistakes.csv", newline="", encoding="utf-8") as file:
        listed = list(csv.reader(file))[1:]
    copies = sorted(file for file in (tmp_path / "wrong").iterdir() if file.suffix == ".png")
    assert len(copies) == len(listed) > 3
    for row, copy in zip(listed, copies):
        at = int(row[0].removeprefix("test_images[").removesuffix("]"))
        assert np.array_equal(np.asarray(Image.open(copy)), images[at]) and "/" not in copy.name


def test_balanced_accuracy_is_the_mean_of_the_classes_that_have_images():
    labels, predicted = np.array([0] * 8 + [1, 1]), np.array([0] * 8 + [0, 1])
    answers = Answers(("many", "few", "none"), labels, predicted, np.ones(10))
    assert (answers.accuracy, answers.balanced_accuracy) == (0.9, 0.75)
