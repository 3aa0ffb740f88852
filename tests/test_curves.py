"""The picture of a run has a title in any script, without a warning of Matplotlib's."""

import re
import warnings

import pytest

from minisqx.training.curves import _title_and_fonts, draw_curves

matplotlib = pytest.importorskip("matplotlib")
ROW = {"epoch": 1, "lr": 0.1, "validation_loss": None, "validation_accuracy": None}
ROW |= {f"{part}_{figure}": 0.5 for part in ("train", "test") for figure in ("loss", "accuracy")}
OWN_FONTS = str(matplotlib.get_data_path())


@pytest.fixture
def fonts(monkeypatch):
    """No fonts but those that come with Matplotlib, the same on every machine: none of them has Chinese letters."""
    from matplotlib.font_manager import fontManager

    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if font.fname.startswith(OWN_FONTS)])
    _title_and_fonts.cache_clear()
    yield
    _title_and_fonts.cache_clear()


@pytest.mark.parametrize("name", ["猫と犬", "चित्र", "कुत्ता 猫 ไทย", "a\tb", "ᶁ", "$x_1$ {} %", "кошка"])
def test_a_folder_with_a_name_in_another_script_is_drawn_without_a_warning(fonts, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_curves([ROW], f"a network on image folder {name}").startswith(b"\x89PNG")


def test_letters_that_no_font_has_are_shown_with_escapes(fonts):
    assert _title_and_fonts("猫 and cat") == (r"\u732b and cat", ["DejaVu Sans"])
    assert _title_and_fonts("a\tb") == (r"a\tb", ["DejaVu Sans"])


def test_letters_that_another_font_has_are_written_in_it(fonts):
    # A d with a palatal hook: in STIX, which comes with Matplotlib, and not in DejaVu.
    assert _title_and_fonts("folder ᶁ") == ("folder ᶁ", ["DejaVu Sans", "STIXGeneral"])


def test_a_long_title_is_broken_into_lines(fonts):
    written, _ = _title_and_fonts("a network on image folder " + "long " * 50)
    assert max(map(len, written.splitlines())) <= 75 and len(re.findall("long", written)) == 50
