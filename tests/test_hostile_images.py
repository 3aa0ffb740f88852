"""Every crafted image of `hostile_images.py` is refused with one line, or read as it says."""

import os

import numpy as np
import pytest

from minisqx.errors import ImageError
from minisqx.images.load import load_image
from tests.hostile_images import HOSTILE
from tests.stress.image_memory import peak_memory

MEASURED = os.access("/proc/self/clear_refs", os.W_OK)  # Linux


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_image_is_refused_or_read_right(hostile, tmp_path):
    # The name promises what the content need not keep.
    (tmp_path / "photo.png").write_bytes(hostile.build())
    before = peak_memory(reset=True) if MEASURED else 0
    if isinstance(hostile.expected, str):
        with pytest.raises(ImageError) as caught:
            load_image(tmp_path / "photo.png")
        line = str(caught.value)
        assert "\n" not in line and "photo.png" in line
        assert any(words in line for words in hostile.expected.split("|")), line
    else:
        np.testing.assert_array_equal(load_image(tmp_path / "photo.png")[0, 0], hostile.expected)
    # None of these files is over 1.1 MB, none of the pictures that are read has more than 64 pixels.
    assert not MEASURED or peak_memory() - before < 100_000_000


def test_there_are_as_many_as_promised_and_their_names_differ():
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) >= 60
