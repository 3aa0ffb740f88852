"""Every kind of image is read as the table says that docs/reliability.md prints."""

from pathlib import Path

import numpy as np
import pytest

from minisqx.images.load import load_image
from tests.golden_pixels import golden, table


@pytest.mark.parametrize("row", golden(), ids=lambda row: row.kind)
def test_a_pixel_is_read_as_the_table_says(row, tmp_path):
    if "LAB" in row.kind:
        pytest.importorskip("PIL.ImageCms")
    source = row.source
    if isinstance(source, bytes):
        source = tmp_path / "image"
        source.write_bytes(row.source)
    image = load_image(source)
    assert image.shape == (16, 16, 3)
    np.testing.assert_allclose(image.astype(int), np.broadcast_to(row.pixel, image.shape), rtol=0, atol=row.tolerance)


def test_the_documents_have_the_same_table():
    text = (Path(__file__).parent.parent / "docs" / "reliability.md").read_text()
    assert "\n".join(table()) in text
