"""`minisqx export MODEL net.html` and net.mjs: a browser answers for an image as we do, and nothing leaves the page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minisqx
from minisqx.images.load import load_image
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.chromium import CAMERA, Page
from tests.exported_models import NETWORKS, ODD, images_for, logits_of, model_of
from tests.js_modules import module_logits, node

TOLERANCE = 1e-4
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--",
    '"); alert(2); //',
    "<b>bold</b>",
    "猫 🐈",
    "x\u200dy",
    "שלום",
    "W" * 200,
)
SEEN = "minisqx.last !== null"

FIT = """
import { readFileSync } from "node:fs";
import { load } from "./net.mjs";

const network = await load(), [width, height] = process.argv.slice(2).map(Number);
const data = new Uint8ClampedArray(readFileSync("image.rgba"));
console.log(JSON.stringify(Array.from(network.fit({ width, height, data }))));
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_the_module_gives_the_logits_of_every_network(name, tmp_path):
    model = model_of(name)
    images = images_for(model, 3)
    assert minisqx.export(model, tmp_path / "net.mjs") == [tmp_path / "net.mjs"]
    assert np.abs(module_logits(tmp_path, images) - logits_of(model, images)).max() < TOLERANCE


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (7, 300), (333, 211), (64, 64), (31, 33), (1000, 9)])
def test_the_module_resizes_an_image_to_the_same_pixels(size, tmp_path):
    minisqx.export("shallow-06-0.2x", tmp_path / "net.mjs")
    pixels = np.random.default_rng(sum(size)).integers(0, 256, (*size, 4), np.uint8)
    pixels[..., 3] = 255
    pixels.tofile(tmp_path / "image.rgba")
    found = np.array(node(tmp_path, FIT, size[1], size[0]), np.uint8).reshape(32, 32, 3)
    assert np.array_equal(found, load_image(np.ascontiguousarray(pixels[..., :3]), (32, 32)))


def pictures(folder: Path) -> list[Path]:
    """Ten images of many sizes, forms and modes."""
    random = np.random.default_rng(8)
    y, x = np.mgrid[0:480, 0:640]
    smooth = np.stack([x * 255 // 640, y * 255 // 480, (x * y) // 700 % 256], -1).astype(np.uint8)
    made = [
        Image.fromarray(smooth),
        Image.fromarray(smooth[:, :200]),
        Image.fromarray(smooth[:90]),
        Image.fromarray(smooth).convert("L"),
        Image.fromarray(smooth).convert("P"),
        *(Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)) for size in ((32, 32), (31, 47), (5, 3), (600, 601))),
        Image.fromarray(np.full((40, 40, 3), 255, np.uint8)),
    ]
    for number, image in enumerate(made):
        image.save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def browser():
    with Page(*CAMERA) as page:
        yield page


def show(page: Page, file: Path) -> None:
    """Chooses an image and waits for its answer."""
    page.value("minisqx.last = null")
    page.choose("#file", file)
    page.wait_for(SEEN)


@pytest.mark.parametrize("name", ["shallow-06-0.2x", ODD])
def test_the_page_answers_for_ten_images_as_we_do(name, browser, tmp_path):
    model = model_of(name)
    minisqx.export(model, tmp_path / "net.html")
    browser.open(tmp_path / "net.html")
    files = pictures(tmp_path)
    assert len(files) == 10
    for file in files:
        show(browser, file)
        pixels = load_image(file, model.spec.input_size)
        assert browser.value("Array.from(minisqx.last.pixels)") == pixels.ravel().tolist(), file
        logits = logits_of(model, pixels[None])[0]
        assert np.abs(np.array(browser.value("minisqx.last.logits")) - logits).max() < TOLERANCE
        first = browser.value("document.querySelector('#classes li').innerText").split("\n")
        best = model.infer(file)
        assert first == [best.label, f"{100 * best.probability:.1f} %"]
    drawn = browser.value("Array.from(seen.getContext('2d').getImageData(0, 0, seen.width, seen.height).data)")
    assert np.array_equal(np.array(drawn, np.uint8).reshape(*model.spec.input_size, 4)[..., :3], pixels)
    assert browser.problems() == []


@pytest.fixture
def page(browser, tmp_path):
    """A page with class names that no page should run."""
    model = model_of(SqueezeNextSpec(width=0.125, num_classes=len(HOSTILE)), HOSTILE)
    minisqx.export(model, tmp_path / "net.html")
    Image.new("RGB", (50, 40), (200, 30, 30)).save(tmp_path / "red.png")
    browser.events.clear()
    browser.resize(1000, 700)
    browser.open(tmp_path / "net.html")
    return browser


def test_hostile_class_names_are_text_on_the_page(page, tmp_path):
    show(page, tmp_path / "red.png")
    names = page.value("Array.from(document.querySelectorAll('.name'), (name) => name.textContent)")
    assert sorted(names) == sorted(HOSTILE)
    assert page.value("document.querySelectorAll('script').length") == 1 and page.problems() == []


def test_no_class_name_ends_the_script_of_a_page(tmp_path):
    model = model_of(SqueezeNextSpec(width=0.125, num_classes=len(HOSTILE)), HOSTILE)
    minisqx.export(model, tmp_path / "net.html")
    text = (tmp_path / "net.html").read_text(encoding="utf-8")
    assert text.count("</script>") == text.count("<script") == 1 and "<!--" not in text


def test_nothing_leaves_the_page(page, tmp_path):
    show(page, tmp_path / "red.png")
    assert page.requests() == [(tmp_path / "net.html").as_uri()]
    refused = """
    Promise.all([
      fetch("http://127.0.0.1:9/").then(() => "sent", () => "refused"),
      new Promise((done) => {
        const image = new Image();
        image.onerror = () => done("refused");
        image.onload = () => done("sent");
        image.src = "http://127.0.0.1:9/";
      }),
    ])
    """
    assert page.value(refused) == ["refused", "refused"]
    script = "const s = document.createElement('script'); s.textContent = 'globalThis.ran = 1'; document.head.append(s);"
    assert page.value(f"{script} globalThis.ran") is None
    problems = page.problems()
    assert len(problems) >= 3 and all("Content Security Policy" in each for each in problems)


def test_the_page_fits_a_phone_and_a_dark_screen(page, tmp_path):
    for width, height, dark in ((375, 720, False), (320, 480, True), (1400, 900, True)):
        page.resize(width, height, dark)
        show(page, tmp_path / "red.png")
        assert page.value("document.documentElement.scrollWidth <= innerWidth")
        assert page.value("document.querySelector('#classes li').getBoundingClientRect().top < innerHeight")
        page.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as shot:
            assert shot.size == (width, height) and (max(shot.convert("RGB").getpixel((2, 2))) < 60) == dark


def test_the_page_is_used_by_keyboard_and_says_what_it_shows(page, tmp_path):
    focused = []
    for _ in range(2):
        page.press("Tab", 9)
        focused.append(page.value("document.activeElement.id"))
    assert focused == ["file", "camera"]
    show(page, tmp_path / "red.png")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    said = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    assert {("button", "Use the camera"), ("image", "The image as the network sees it"), ("heading", "Classes")} <= said
    assert any(name == "Choose an image" for role, name in said if role in ("button", "fileInput", "FileUpload"))
    spoken = page.value("document.querySelector('[aria-live=polite]').textContent")
    assert spoken == "{}, {:.0f} percent".format(
        *page.value("(([f]) => [f.label, 100 * f.probability])(minisqx.network.infer(minisqx.last.pixels))")
    )


def test_a_file_that_is_no_image_is_said_so_and_the_next_one_works(page, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    page.choose("#file", tmp_path / "text.png")
    page.wait_for("document.querySelector('[role=alert]').textContent")
    assert (
        page.value("document.querySelector('[role=alert]').textContent") == "text.png is not an image that this browser can read."
    )
    assert page.value("result.hidden")
    show(page, tmp_path / "red.png")
    assert page.value("document.querySelector('[role=alert]').textContent") == "" and not page.value("result.hidden")


def test_an_image_that_is_dropped_is_classified(page, tmp_path):
    data = {"items": [], "files": [str(tmp_path / "red.png")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=300, y=300, data=data)
    page.wait_for(SEEN)
    assert page.value("minisqx.last.pixels[0]") == 200


def test_the_camera_is_classified_until_it_is_stopped(page):
    page.value("camera.click()")
    page.wait_for(SEEN)
    page.value("minisqx.last = null")
    page.wait_for(SEEN)
    assert page.value("camera.textContent") == "Stop the camera"
    page.value("camera.click()")
    page.value("new Promise((done) => setTimeout(done, 400)).then(() => { minisqx.last = null; })")
    page.value("new Promise((done) => setTimeout(done, 400))")
    assert page.value("minisqx.last") is None and page.value("camera.textContent") == "Use the camera"


def test_a_page_is_one_file_with_the_same_bytes_every_time(tmp_path):
    first, again = (minisqx.export("shallow-06-0.2x", tmp_path / name) for name in ("a.html", "b.html"))
    assert first == [tmp_path / "a.html"] and first[0].read_bytes() == again[0].read_bytes()
    text = first[0].read_text(encoding="utf-8")
    assert "http://" not in text and "https://" not in text and "default-src 'none'" in text
