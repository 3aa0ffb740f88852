"""The stress command for images: a small count of it finds nothing, and it would find what it looks for."""

import os
import sys

import pytest

from minisqx.errors import ImageError
from tests.stress import images

pytestmark = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the command reads /proc")


def test_mutated_images_are_read_or_refused(capsys):
    assert images.run(count=300, seed=5) == 0
    assert "300 mutated images, seed 5" in capsys.readouterr().out


def test_an_image_is_made_again_from_its_seed_and_number():
    found = images.samples()
    assert images.make(5, 7, found) == images.make(5, 7, found) != images.make(5, 8, found)


def _opens(path):
    with open("/etc/hostname"):
        pass


def _leaves_open(path):
    _leaves_open.kept = open(path)  # noqa: SIM115


def _says(path):
    print("a warning", file=sys.stderr)


def _is_another_error(path):
    raise KeyError(path)


def _is_of_several_lines(path):
    raise ImageError("a\nb")


@pytest.mark.parametrize(
    "fault, words",
    [
        (_opens, "/etc/hostname"),
        (_leaves_open, "left open"),
        (_says, "on stderr"),
        (_is_another_error, "KeyError"),
        (_is_of_several_lines, "several lines"),
    ],
)
def test_a_fault_is_noticed(tmp_path, monkeypatch, fault, words):
    read = images.load_image

    def load(path, size=None):
        fault(path)
        return read(path, size)

    monkeypatch.setattr(images, "load_image", load)
    (tmp_path / "image").write_bytes(images.samples()[0][1])
    watch = images.Watch()
    assert words in images.read_one(str(tmp_path / "image"), watch)[1]
    if fault is _leaves_open:
        _leaves_open.kept.close()


def test_a_good_image_is_no_fault(tmp_path):
    (tmp_path / "image").write_bytes(images.samples()[0][1])
    assert images.read_one(str(tmp_path / "image"), images.Watch()) == ("read", "")
