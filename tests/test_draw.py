"""Pictures of networks and blocks: their content, and that nothing overlaps or is cut off."""

import os
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from PIL import Image

from minisqx.cli.commands import main
from minisqx.draw import block as draw_block
from minisqx.draw import network as draw
from minisqx.draw import words as draw_words
from minisqx.errors import OptionError
from minisqx.spec import BottleneckSpec, FireSpec, zoo
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.training_runs import write_data

SVG = "{http://www.w3.org/2000/svg}"
SHALLOW = SqueezeNextSpec()
# The longest numbers and names, and the options that change what a block is.
UNUSUAL = {
    "widest": SqueezeNextSpec(
        width=15.9999, blocks=(100, 1, 3, 5), num_classes=100_000, input_size=(4096, 4095), dropout=0.123456
    ),
    "narrowest": SqueezeNextSpec(width=0.125, num_classes=1, input_size=(8, 8)),
    "options": SqueezeNextSpec(
        blocks=(2, 3, 4, 5), block_order="conv-bn-act", separable_order="3x1-1x3", shortcut_activation=False
    ),
    "squeezenet": SqueezeNetSpec(version="1.0", num_classes=100_000, input_size=(4096, 4096)),
}
ALL = {name: zoo.network(name) for name in zoo.names()} | UNUSUAL
networks = pytest.mark.parametrize("spec", ALL.values(), ids=ALL)


class Box:
    """A rectangle by its edges, in pixels."""

    def __init__(self, left: float, top: float, right: float, bottom: float):
        self.left, self.top, self.right, self.bottom = left, top, right, bottom

    def __repr__(self) -> str:
        return f"({self.left:.1f}, {self.top:.1f})-({self.right:.1f}, {self.bottom:.1f})"

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def holds(self, other: "Box") -> bool:
        return self.left <= other.left and self.top <= other.top and other.right <= self.right and other.bottom <= self.bottom

    def meets(self, other: "Box") -> bool:
        across = min(self.right, other.right) > max(self.left, other.left)
        return across and min(self.bottom, other.bottom) > max(self.top, other.top)


class Picture:
    """The positions of everything in an SVG."""

    def __init__(self, text: str, fonts: dict):
        self.root = ElementTree.fromstring(text)
        x, y, width, height = map(float, self.root.get("viewBox").split())
        self.page = Box(x, y, x + width, y + height)
        self.cards = self.root.findall(f".//{SVG}g[@class='card']")
        self.card_boxes = [_rect_box(card.find(f"{SVG}rect")) for card in self.cards]
        self.rects = [_rect_box(rect) for rect in self.root.iter(f"{SVG}rect")]
        self.texts = [(element.text, _text_box(element, fonts)) for element in self.root.iter(f"{SVG}text")]
        self.on_cards = [
            (
                outline,
                [_rect_box(rect) for rect in card.iter(f"{SVG}rect")]
                + [_text_box(text, fonts) for text in card.iter(f"{SVG}text")],
            )
            for outline, card in zip(self.card_boxes, self.cards)
        ]
        self.points = [
            tuple(map(float, point.split(",")))
            for line in self.root.iter(f"{SVG}polyline")
            for point in line.get("points").split()
        ]

    def check_geometry(self) -> None:
        """Everything is on the page, each text is inside its shape, and no texts or cards overlap."""
        for box in self.rects:
            assert self.page.holds(box), box
        for x, y in self.points:
            assert self.page.holds(Box(x, y, x, y)), (x, y)
        for outline, boxes in self.on_cards:
            for box in boxes:
                assert outline.holds(box), f"{box} leaves the card {outline}"
        for text, box in self.texts:
            x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
            around = min((rect for rect in self.rects if rect.holds(Box(x, y, x, y))), key=lambda rect: rect.area)
            assert around.holds(box), f"{text!r} {box} leaves {around}"
        for (text, box), (other, other_box) in combinations(self.texts, 2):
            assert not box.meets(other_box), f"{text!r} {box} and {other!r} {other_box}"
        for box, other_box in combinations(self.card_boxes, 2):
            assert not box.meets(other_box), f"{box} and {other_box}"


def _rect_box(rect: ElementTree.Element) -> Box:
    x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
    return Box(x, y, x + width, y + height)


def _text_box(element: ElementTree.Element, fonts: dict) -> Box:
    """In DejaVu Sans, the widest of the fonts that a picture names."""
    size, x, y = (float(element.get(key)) for key in ("font-size", "x", "y"))
    width = fonts[element.get("font-weight")].getlength(element.text) * size / 100
    left = x - {"start": 0, "middle": width / 2, "end": width}[element.get("text-anchor")]
    return Box(left, y - 0.76 * size, left + width, y + 0.24 * size)


@pytest.fixture(scope="module")
def fonts() -> dict:
    """DejaVu Sans from Matplotlib, at 100 pixels."""
    matplotlib, image_font = pytest.importorskip("matplotlib"), pytest.importorskip("PIL.ImageFont")
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = {"normal": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf"}
    return {weight: image_font.truetype(str(folder / file), 100) for weight, file in files.items()}


def texts(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def card_attributes(svg: str) -> list[dict]:
    return [card.attrib for card in ElementTree.fromstring(svg).findall(f".//{SVG}g[@class='card']")]


@networks
def test_every_unit_has_a_card_with_its_name_and_output_shape(spec):
    cards = ElementTree.fromstring(draw.svg(spec)).findall(f".//{SVG}g[@class='card']")
    assert [card.get("data-name") for card in cards] == [unit.name for unit in spec.units]
    for card, unit in zip(cards, spec.units):
        written = [element.text for element in card.iter(f"{SVG}text")]
        assert unit.name in written
        assert "output " + " x ".join(map(str, unit.output_shape)) in written


@networks
def test_the_cards_add_up_to_the_network(spec):
    cards = card_attributes(draw.svg(spec))
    assert sum(int(card["data-parameters"]) for card in cards) == spec.parameters
    assert sum(int(card["data-macs"]) for card in cards) == spec.macs


@networks
def test_the_header_names_the_network_and_its_totals(spec):
    name, totals, facts, *_ = texts(draw.svg(spec))
    assert name == spec.name
    for part in (f"{spec.parameters:,} parameters", f"{spec.state_bytes:,} bytes", f"{spec.macs:,} MACs"):
        assert part in totals
    assert "input 3 x {} x {} ".format(*spec.input_size) in facts


@networks
def test_nothing_in_a_network_overlaps_or_is_cut_off(spec, fonts):
    Picture(draw.svg(spec), fonts).check_geometry()


@networks
def test_nothing_in_a_block_overlaps_or_is_cut_off(spec, fonts):
    blocks = [unit.name for unit in spec.units if isinstance(unit, (BottleneckSpec, FireSpec))]
    for name in dict.fromkeys([*blocks[:5], *blocks[-5:]]):
        Picture(draw_block.block_svg(spec, name), fonts).check_geometry()


def test_repeated_bottlenecks_stand_in_rows_of_four():
    svg = draw.svg(zoo.network("squeezenext-23-2x-v5"))
    tops: dict[str, list[str]] = {}
    for card in ElementTree.fromstring(svg).findall(f".//{SVG}g[@class='card']"):
        if card.get("data-name").startswith("stage3."):
            tops.setdefault(card.find(f"{SVG}rect").get("y"), []).append(card.get("data-name").removeprefix("stage3.block"))
    assert list(tops.values()) == [["1"], ["2"], [*"3456"], ["7", "8", "9", "10"], ["11", "12", "13", "14"]]
    assert texts(svg).count("bottleneck, like block2") == 2 + 12


def test_shortcuts_are_projections_or_the_identity():
    spec = zoo.network("shallow-14-0.5x")
    written = texts(draw.svg(spec))
    assert [text for text in written if text.startswith("projection 1x1")] == [
        "projection 1x1, 32 → 16",
        "projection 1x1 / 2, 16 → 32",
        "projection 1x1 / 2, 32 → 64",
        "projection 1x1 / 2, 64 → 128",
    ]
    assert written.count("identity") == 2  # of stage2.block2 and stage3.block2; those like it have a dashed line alone


def test_the_legend_has_the_kinds_of_the_network_alone():
    bottlenecks, fires = texts(draw.svg(SHALLOW)), texts(draw.svg(zoo.network("squeezenet-v1.1")))
    assert "fire module" not in bottlenecks and "identity shortcut" in bottlenecks
    assert "fire module" in fires and "identity shortcut" not in fires and "bottleneck" not in fires


def test_a_full_bar_is_the_largest_unit():
    root = ElementTree.fromstring(draw.svg(SHALLOW))
    for key, color in (("data-parameters", draw.PARAMETERS), ("data-macs", draw.MACS)):
        widths = {}
        for card in root.findall(f".//{SVG}g[@class='card']"):
            for bar in card.findall(f"{SVG}rect[@fill='{color}']"):
                widths[int(card.get(key))] = float(bar.get("width"))
        largest = max(widths)
        assert widths[largest] == draw.FIGURES_WIDTH - 48
        for figure, width in widths.items():
            assert width == pytest.approx(widths[largest] * figure / largest, abs=0.006)  # written to 0.01 pixel


def test_a_bottleneck_in_detail_has_its_five_blocks_and_the_shortcut():
    block = SHALLOW.units[2]
    svg = draw_block.block_svg(SHALLOW, "stage2.block1")
    cards = card_attributes(svg)
    assert [card["data-name"] for card in cards] == [layer.name for layer in block.layers]
    assert sum(int(card["data-macs"]) for card in cards) == sum(layer.macs for layer in block.layers)
    written = texts(svg)
    for text in (
        "convolution 1x3",
        "convolution 3x1",
        "padding 0x1",
        "stride 2",
        "6 → 12 channels",
        "6 x 30 x 30",
        "12 x 15 x 15",
    ):
        assert text in written
    assert written.count("ELU") == 7  # of six basic blocks and of the sum


@pytest.mark.parametrize("order, steps", [("conv-act-bn", ["ELU", "batch norm"]), ("conv-bn-act", ["batch norm", "ELU"])])
def test_a_basic_block_in_detail_keeps_its_order(order, steps):
    card = ElementTree.fromstring(draw_block.block_svg(SqueezeNextSpec(block_order=order))).find(f".//{SVG}g[@class='card']")
    written = {element.text: float(element.get("y")) for element in card.iter(f"{SVG}text")}
    assert written["convolution 1x1"] < written[steps[0]] < written[steps[1]]


def test_a_shortcut_may_lack_the_activation_and_an_identity_has_no_card():
    assert texts(draw_block.block_svg(SqueezeNextSpec(shortcut_activation=False))).count("ELU") == 6
    svg = draw_block.block_svg(SqueezeNextSpec(blocks=(1, 2, 1, 1)), "stage2.block2")
    assert len(card_attributes(svg)) == 5
    assert "identity shortcut: the input itself" in texts(svg)


def test_without_a_name_the_first_block_is_drawn():
    assert draw_block.block_svg(SHALLOW) == draw_block.block_svg(SHALLOW, "stage1.block1")
    assert texts(draw_block.block_svg(zoo.network("squeezenet-v1.0")))[0] == "fire2 of squeezenet-v1.0"


def test_an_unknown_block_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"^block 'stem': .* choose one of stage1\.block1, .*, stage4\.block1$"):
        draw_block.block_svg(SHALLOW, "stem")


@pytest.mark.parametrize(
    "count, short",
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00 k"),
        (81_000, "81.0 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (217_451_008, "217 M"),
    ],
)
def test_counts_have_three_digits(count, short):
    assert draw_words.short(count) == short


def test_save_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "net.svg"
    path.write_text("old")
    svg = draw.svg(SHALLOW)
    draw.save(path, svg)
    assert path.read_text(encoding="utf-8") == svg
    assert os.listdir(tmp_path) == ["net.svg"]


def test_save_refuses_what_it_cannot_write_in_one_line(tmp_path):
    (tmp_path / "folder.svg").mkdir()
    for name, line in (
        ("net.png", r"picture '.*net\.png': expected a file name that ends in \.svg"),
        ("svg", r"picture '.*svg': expected a file name that ends in \.svg"),
        ("folder.svg", r"picture '.*folder\.svg': expected a file name, but this is a folder"),
        ("missing/net.svg", r"picture '.*net\.svg': there is no folder '.*missing'; create it first"),
    ):
        with pytest.raises(OptionError, match=f"^{line}") as refused:
            draw.save(tmp_path / name, "<svg/>")
        assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == ["folder.svg"]


def test_save_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "net.svg"
    path.write_text("old")
    monkeypatch.setattr("minisqx.machine.folders.os.replace", full)
    with pytest.raises(OptionError, match="can't be written \\(No space left on device\\)"):
        draw.save(path, "<svg/>")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["net.svg"]


@pytest.mark.parametrize(
    "file, made", [("shallow-06-0.2x", draw.svg), ("bottleneck", lambda spec: draw_block.block_svg(spec, "stage2.block1"))]
)
def test_the_pictures_of_the_documents_are_up_to_date(file, made):
    path = Path(__file__).parents[1] / "docs" / f"{file}.svg"
    assert path.read_text(encoding="utf-8") == made(zoo.network("shallow-06-0.2x"))


def test_a_picture_needs_nothing_from_elsewhere():
    for svg in (draw.svg(SHALLOW), draw_block.block_svg(SHALLOW)):
        assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
        assert not re.search(r"<(script|style|image|foreignObject)|@import", svg)


def test_drawing_imports_no_array_library():
    heavy = {"numba", "h5py", "PIL", "numpy", "matplotlib"}
    code = f"import sys, minisqx.draw.network, minisqx.draw.block; print({{*sys.modules}} & {heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_sheet_shows_images_of_all_classes_and_what_training_makes_of_them(tmp_path, capsys):
    data = write_data(tmp_path / "colours.h5", side=12)
    command = ["augmentations", "--data", str(data), "--augment", "flip", "--out", str(tmp_path / "sheet.png")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and lines[-1].startswith("augment flip: ") and lines[-1].endswith("sheet.png")
    assert {name for line in lines[:-1] for name in ("red", "green", "blue") if repr(name) in line} == {"red", "green", "blue"}
    with h5py.File(data) as file:
        images = file["images"][:]
    with Image.open(tmp_path / "sheet.png") as picture:
        pixels = np.asarray(picture)
    column, row, top = 12 * 8 + 6, 12 * 8 + 6 + 16, 6 + 48
    flipped = 0
    for number, line in enumerate(lines[:-1]):
        image = images[int(line.split("image ")[1].split(",")[0])]
        for place in range(10):
            left = 6 + place * column + (6 if place else 0)
            found = pixels[top + number * row :][: 12 * 8 : 8, left : left + 12 * 8 : 8]
            mirrored = place > 0 and np.array_equal(found, image[:, ::-1])
            assert mirrored or np.array_equal(found, image)
            flipped += mirrored
    assert 20 < flipped < 52  # of 72
    assert main([*command[:-1], str(tmp_path / "missing" / "sheet.png")]) == 2


def test_a_sheet_of_changes_that_there_are_not_is_refused(tmp_path, capsys):
    assert main(["augmentations", "--augment", "twirl", "--out", str(tmp_path / "sheet.png")]) == 2
    assert "twirl" in capsys.readouterr().err and not (tmp_path / "sheet.png").exists()
