"""`minisqx infer` on many images: a CSV file that survives a kill, JSON, folders, standard input."""

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minisqx
from minisqx.cli.commands import main
from minisqx.errors import DataError, ImageError
from minisqx.images.pillow import Image
from minisqx.inference import by_name, table
from minisqx.network import ShallowSqueezeNext

CLASSES = ("cat", 'a "dog"', "owl, white")
BLOCK = 4  # images


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "pets.h5"
    net = ShallowSqueezeNext(width=0.125, num_classes=3, input_size=(12, 12))
    net.save(path, classes=CLASSES, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return path


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(10):
        file = tmp_path / "in" / ("b" if number % 2 else "a") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(file)
    (tmp_path / "in" / "a" / 'bro"ken,\n.jpg').write_bytes(b"no image")
    (tmp_path / "in" / "notes.txt").write_text("no image either")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(by_name, "IMAGES_AT_ONCE", BLOCK)


def rows(file):
    with open(file, newline="", encoding="utf-8", errors="surrogateescape") as opened:
        return list(csv.reader(opened))


def test_a_csv_has_a_row_for_each_image_of_a_folder_and_says_which_are_broken(weights, folder, tmp_path, capsys):
    out = tmp_path / "out.csv"
    assert main(["infer", str(folder), "--model", str(weights), "--csv", str(out), "--topk", "2"]) == ImageError.exit_code
    head, *found = rows(out)
    assert head == ["path", "class", "probability", "class2", "probability2", "error"]
    files = sorted(path for path in folder.rglob("*.*") if path.suffix in (".png", ".jpg") and path.name[0] != ".")
    assert [row[0] for row in found] == list(map(str, files)) and len(files) == 11
    model = minisqx.load(weights)
    for name, *cells, error in found:
        if name.endswith(".jpg"):
            assert cells == [""] * 4 and error.startswith(repr(name)) and "not an image" in error
        else:
            answer = model.infer(name).topk(2)
            assert cells == [cell for label, share in answer for cell in (label, f"{share:.6f}")] and not error
    assert "11 images, 1 of them not usable" in capsys.readouterr().out and not (tmp_path / "out.csv.part").exists()


def test_a_line_of_json_has_the_likeliest_classes_or_the_error(weights, folder, capsys):
    assert main(["infer", str(folder), "--model", str(weights), "--json", "--topk", "3"]) == ImageError.exit_code
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answers = [answer for answer in found if "classes" in answer]
    assert [each["path"] for each in found if "error" in each] == [str(folder / "a" / 'bro"ken,\n.jpg')] and len(answers) == 10
    for answer in answers:
        wanted = minisqx.infer(answer["path"], weights).topk(3)
        assert [(each["class"], each["probability"]) for each in answer["classes"]] == wanted


def test_an_image_comes_from_standard_input(weights, folder, monkeypatch, capsys):
    file = folder / "a" / "0.png"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    assert main(["infer", "-", str(file), "--model", str(weights), "--json"]) == 0
    piped, named = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert piped["path"] == "-" and piped["classes"] == named["classes"]


def test_a_table_goes_on_where_it_was_stopped_and_is_then_the_same(weights, folder, tmp_path, monkeypatch):
    model, names = minisqx.load(weights), lambda: iter(sorted(map(str, folder.rglob("*.??g"))))
    whole = by_name.write_table(model, names, tmp_path / "whole.csv", 3)
    assert (whole.images, whole.resumed) == (12, 0)
    content = (tmp_path / "whole.csv").read_bytes()
    key = (table.key_of(model, 3) + "\n").encode()
    assert by_name.write_table(model, names, tmp_path / "whole.csv", 3) == whole  # a complete one is made anew
    seen: list[list[str]] = []

    def answers(model, names, plain=by_name.answers):
        seen.append(list(names))
        return plain(model, seen[-1])

    monkeypatch.setattr(by_name, "answers", answers)
    ends = [0, *itertools.accumulate(len(table._line(row)) for row in rows(tmp_path / "whole.csv"))]
    for end in (5, len(key) + 3, *(len(key) + end + more for end in ends for more in (-1, 0, 7))):
        left = (key + content)[:end]
        (tmp_path / "out.csv.part").write_bytes(left + bytes(100) * (end > len(key) + ends[1]))  # after a power failure: zeros
        written = by_name.write_table(model, names, tmp_path / "out.csv", 3)
        assert (tmp_path / "out.csv").read_bytes() == content and (written.images, written.bad) == (12, whole.bad)
        kept = sum(len(key) + each <= end for each in ends[2:])
        assert written.resumed == kept and seen[-1] == list(names())[kept:]


def test_rows_of_images_that_are_no_longer_named_are_made_anew(weights, folder, tmp_path):
    model, names = minisqx.load(weights), sorted(map(str, folder.rglob("?.png")))
    with table.Table(tmp_path / "out.csv", table.key_of(model, 1), table.header(1)) as part:
        part.add([name, "wrong", "1.0", ""] for name in names[:6])
    written = by_name.write_table(model, lambda: iter([*names[:2], *names[3:]]), tmp_path / "out.csv", 1)
    assert written.resumed == 2 and [row[0] for row in rows(tmp_path / "out.csv")[1:]] == [*names[:2], *names[3:]]


def test_a_table_of_another_model_or_of_another_process_is_left_alone(weights, folder, tmp_path):
    model, other = minisqx.load(weights), minisqx.load(weights, classes=("x", "y", "z"))
    names, out = (lambda: iter([str(folder / "a" / "0.png")])), tmp_path / "out.csv"
    with table.Table(out, table.key_of(model, 2), table.header(2)) as part:
        part.add([["image", "cat", "1.0", "x", "0", ""]])
        with pytest.raises(DataError, match="another process writes"):
            by_name.write_table(model, names, out, 2)
    before = part.part.read_bytes()
    third = minisqx.load(weights)
    third.state["stem.weight"] = 2 * third.state["stem.weight"]
    for changed, topk in ((other, 2), (third, 2), (model, 3)):
        with pytest.raises(DataError, match="another model or has other columns"):
            by_name.write_table(changed, names, out, topk)
    assert part.part.read_bytes() == before and not out.exists()
    for place in (tmp_path, tmp_path / "missing" / "out.csv"):
        with pytest.raises(DataError):
            by_name.write_table(model, names, place, 2)


def test_a_command_that_is_killed_loses_no_row_and_continues(weights, folder, tmp_path):
    for number in range(400):
        os.link(folder / "a" / "0.png", folder / "b" / f"copy{number:03}.png")
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    # Blocks of one image, so that a kill comes between two rows.
    program = (
        "import sys; from minisqx.inference import by_name; by_name.IMAGES_AT_ONCE = 1; from minisqx.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "infer", str(folder), "--model", str(weights), "--csv", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not part.exists() or part.read_bytes().count(b"\n") < 20:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    lines = part.read_bytes().count(b"\n")
    assert 20 <= lines < 400 and not out.exists()
    again = subprocess.run(command, capture_output=True, text=True)
    assert "continuing after" in again.stderr and "411 images" in again.stdout, again
    assert len(rows(out)) == 412


def test_a_folder_without_images_and_two_outputs_are_refused(weights, tmp_path, capsys):
    assert main(["infer", str(tmp_path), "--model", str(weights)]) == ImageError.exit_code
    assert "has no image files" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["infer", str(tmp_path), "--csv", "out.csv", "--json"])
