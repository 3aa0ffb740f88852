"""Every crafted image of `hostile_images.py` is refused with one line, or read as it says."""

import numpy as np
import pytest

from minisqx.errors import ImageError
from minisqx.images import load_image
from tests.hostile_images import HOSTILE


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_image_is_refused_or_read_right(hostile, tmp_path):
    # The name promises what the content need not keep.
    (tmp_path / "photo.png").write_bytes(hostile.build())
    if isinstance(hostile.expected, str):
        with pytest.raises(ImageError) as caught:
            load_image(tmp_path / "photo.png")
        line = str(caught.value)
        assert "\n" not in line and "photo.png" in line
        assert any(words in line for words in hostile.expected.split("|")), line
    else:
        np.testing.assert_array_equal(load_image(tmp_path / "photo.png")[0, 0], hostile.expected)


def test_there_are_as_many_as_promised_and_their_names_differ():
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) >= 60
