"""`minisqx infer --bulk`: several ranks write the file of one process, and go on where others stopped; images of HDF5 files."""

import csv

import h5py
import numpy as np
import pytest

import minisqx
from minisqx.cli import main
from minisqx.errors import DataError, ImageError, OptionError
from minisqx.images.pillow import Image
from minisqx.inference import shards
from minisqx.inference.by_name import write_table
from minisqx.inference.stored import names_of
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.network import ShallowSqueezeNext
from tests import mpi_runs

IMAGES, SHARD = 23, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "pets.h5"
    net = ShallowSqueezeNext(width=0.125, num_classes=3, input_size=(12, 12))
    net.save(path, classes=("cat", "dog", "owl"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "11.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def names(folder):
    return lambda: names_of([str(folder)])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD", SHARD)


def lines(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


class Killed(BaseException):
    pass


def rank(number, count):
    made = Ranks()
    made.number, made.count = number, count
    return made


def test_shards_of_killed_ranks_are_continued_by_others_to_the_file_of_one(model, names, tmp_path, monkeypatch):
    loaded, classified = minisqx.load(model), []
    write_table(loaded, names, tmp_path / "alone.csv", 2)
    plain = shards.answers

    def counting(model, block):
        classified.extend(block)
        return plain(model, block)

    monkeypatch.setattr(shards, "answers", counting)

    def kill_after(images):
        if images >= 3 * SHARD:
            raise Killed

    for number in range(3):  # each of three ranks is killed when it has done one of its shards
        monkeypatch.setattr(Ranks, "is_first", number == 0)
        with pytest.raises(Killed):
            shards.write_shards(loaded, names, tmp_path / "out.csv", 2, rank(number, 3), kill_after)
    monkeypatch.setattr(Ranks, "is_first", True)
    assert len(classified) == 3 * SHARD and not (tmp_path / "out.csv").exists()
    written = shards.write_shards(loaded, names, tmp_path / "out.csv", 2, ALONE)
    assert (written.images, written.resumed, written.bad) == (IMAGES, 3 * SHARD, 1)
    assert sorted(classified) == sorted(names())
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.csv", "out.csv"]


def test_images_that_change_while_they_are_classified_are_an_error(model, folder, tmp_path):
    lists = iter([[str(folder / "1.png")], [str(folder / "2.png")]])
    with pytest.raises(DataError, match="2.png"):
        shards.write_shards(minisqx.load(model), lambda: iter(next(lists)), tmp_path / "out.csv", 1, ALONE)


def test_images_of_an_hdf5_file_get_the_predictions_of_infer(model, tmp_path, capsys):
    file, pixels = tmp_path / "photos.h5", np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
    with h5py.File(file, "w") as opened:
        opened["images"], opened["labels"] = pixels[:4], np.zeros(4, int)
        opened.create_dataset("test_images", data=pixels[4:], chunks=(2, 16, 16, 3), compression="gzip")
    assert main(["infer", str(file), "--model", str(model), "--csv", str(tmp_path / "out.csv"), "--topk", "1"]) == 0
    _, *found = lines(tmp_path / "out.csv")
    names = [f"{file}/images[{n}]" for n in range(4)] + [f"{file}/test_images[{n}]" for n in range(5)]
    answers = minisqx.load(model).infer(list(pixels))
    assert found == [[name, answer.label, f"{answer.probability:.6f}", ""] for name, answer in zip(names, answers)]


def test_an_hdf5_file_without_images_is_refused_and_a_damaged_image_is_a_row(model, tmp_path, capsys):
    empty, damaged = tmp_path / "empty.h5", tmp_path / "damaged.h5"
    with h5py.File(empty, "w") as opened:
        opened["labels"] = np.zeros(4, int)
    assert main(["infer", str(empty), "--model", str(model), "--csv", str(tmp_path / "out.csv")]) == DataError.exit_code
    with h5py.File(damaged, "w") as opened:
        pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
        data = opened.create_dataset("images", data=pixels, chunks=(1, 16, 16, 3), compression="gzip")
        place = data.id.get_chunk_info(2)
    content = bytearray(damaged.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    damaged.write_bytes(content)
    assert main(["infer", str(damaged), "--model", str(model), "--csv", str(tmp_path / "out.csv")]) == ImageError.exit_code
    assert [bool(row[-1]) for row in lines(tmp_path / "out.csv")[1:]] == [False, False, True, False]


def test_bulk_needs_a_file_to_write(capsys):
    assert main(["infer", "--bulk", "a.png"]) == OptionError.exit_code and "--csv" in capsys.readouterr().err


@pytest.mark.skipif(bool(mpi_runs.missing()), reason=mpi_runs.missing() or "there is MPI")
def test_two_ranks_write_the_file_of_one_process(model, folder, names, tmp_path):
    write_table(minisqx.load(model), names, tmp_path / "alone.csv", 3)
    done = mpi_runs.finish((2, ("minisqx", "infer", "--bulk", folder, "--model", model, "--out", tmp_path / "out.csv")))
    assert f"{IMAGES} images, 1 of them not usable" in done.stdout, done.stderr
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
