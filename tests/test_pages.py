"""The pages of runs in a browser: accessible, valid, private, complete without scripts, and helpful with them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minisqx.cli.commands import main
from minisqx.errors import OptionError, TrainingError
from minisqx.report import comparison, page
from minisqx.report.content import Content, Measured
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests import page_checks
from tests.chromium import Page

CLASSES = ("speed <30>", 'stop "$1"', "猫 & dog", "$x$ {y}", "_none", *(f"class {number}" for number in range(5, 36)))
IMAGES = 400


def content_of(classes: tuple[str, ...], epochs: int) -> Content:
    """A run of 3 epochs with a poor network, of which `epochs` are done."""
    random = np.random.default_rng(0)
    labels = np.arange(IMAGES) % len(classes)
    logits = random.normal(0, 1, (IMAGES, len(classes))) + 3 * np.eye(len(classes))[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    pixels = random.integers(0, 256, (IMAGES, 12, 12, 3), np.uint8)
    names = tuple(f"images/<{number}>.png" for number in range(IMAGES))
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    measured = Measured(classes, labels, predicted, sure, "validation", pixels, names, probabilities)
    row = {"lr": 0.1, "seconds": 2.0, "images_per_second": 900.0}
    row |= {f"{part}_loss": 1.5 for part in page.PARTS} | {f"{part}_accuracy": 0.625 for part in page.PARTS}
    history = [{"epoch": epoch} | row for epoch in range(1, epochs + 1)]
    config = {
        "command": "minisqx train --data 'signs & more' --epochs 3",
        "options": {"data": "signs", "epochs": 3, "width": 0.2, "out": None},
        "data": {"name": "folder 'signs & more'", "sha256": "0" * 64},
        "versions": {"python": "3", "minisqx": "0"},
        "cpu": "a CPU",
    }
    images = {"train": [9] * len(classes), "validation": [3] * len(classes)}
    spec = SqueezeNextSpec(width=0.125, num_classes=len(classes))
    return Content(spec, classes, history, config, images, ("4 validation images nearly are training images",), measured)


def compared(count: int) -> list[comparison.Run]:
    content = content_of(CLASSES, 3)
    options = content.config["options"]
    runs = []
    for number in range(count):
        config = content.config | {"options": options | {"width": 0.125 + number / 8, "out": f"runs/{number}"}}
        history = [row | {"test_accuracy": 0.5 + number / 100} for row in content.history]
        runs.append(comparison.Run(f"runs/_{number} <$a$>", replace(content.spec, width=0.125 + number / 8), history, 2, config))
    return runs


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    made = {
        "running": page.html(content_of(CLASSES, 2)),
        "finished": page.html(content_of(CLASSES[:8], 3)),
        "compared": comparison.html(compared(11)),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, text in made.items():
        # A slow check must not be interrupted by a page that loads itself again.
        (folder / f"{name}.html").write_text(text.replace('data-reload="10"', 'data-reload="600"'), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture(scope="module")
def browser():
    with Page() as opened:
        yield opened


def test_pages_are_valid_html(pages):
    assert page_checks.html_errors(list(pages.values())) == []


@pytest.mark.parametrize("width, dark", [(1200, False), (1200, True), (390, False)])
@pytest.mark.parametrize("name", ["running", "finished", "compared"])
def test_pages_are_accessible_and_fit_the_screen(name, width, dark, pages, browser):
    browser.resize(width, 900, dark)
    browser.open(pages[name])
    assert page_checks.accessibility(browser) == []
    assert browser.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["running", "finished", "compared"])
def test_no_request_leaves_a_page(name, pages, browser):
    browser.events.clear()
    browser.resize(1200, 900)
    browser.open(pages[name])
    outside = [url for url in browser.requests() if not url.startswith("data:")]
    assert outside == [pages[name].resolve().as_uri()] and browser.problems() == []


def test_a_chosen_class_shows_the_mistakes_with_it_and_survives_a_reload(pages, browser):
    browser.open(pages["running"])
    shown = "[...document.querySelectorAll('#mistakes figure')].filter((each) => each.checkVisibility())"
    every = browser.value(f"{shown}.length")
    name = browser.value("document.querySelector('#mistakes figure').dataset.true")
    choose = "const box = document.getElementById('class'); box.value = {!r}; box.dispatchEvent(new Event('change'))"
    browser.value(f"{{ {choose.format(name)} }}")
    some = browser.value(f"{shown}.map((each) => [each.dataset.true, each.dataset.predicted])")
    assert 0 < len(some) < every and all(name in pair for pair in some)
    assert browser.value("document.getElementById('count').textContent") == f"{len(some)} shown"
    browser.open(pages["running"])
    assert browser.value(f"{shown}.length") == len(some)
    browser.value("sessionStorage.clear()")


def test_a_running_page_loads_itself_again_until_a_person_stops_it(pages, browser, tmp_path):
    file = tmp_path / "fast.html"
    text = pages["running"].read_text(encoding="utf-8")
    file.write_text(text.replace('data-reload="600"', 'data-reload="0.3"'), encoding="utf-8")
    browser.open(file)
    browser.value("globalThis.seen = 1; sessionStorage.clear()")
    browser.wait_for("document.documentElement?.dataset.ready && globalThis.seen === undefined")
    browser.value("globalThis.seen = 2; document.getElementById('reload').click()")
    assert browser.value("new Promise((done) => setTimeout(() => done(globalThis.seen), 1000))") == 2
    browser.open(file)
    assert browser.value("document.getElementById('reload').checked") is False
    assert re.search(r"written at \d\d:\d\d:\d\d", browser.value("document.body.textContent"))
    browser.value("sessionStorage.clear()")
    assert 'http-equiv="refresh" content="10"' in text.split("<noscript>")[1].split("</noscript>")[0]


def test_a_cell_under_the_pointer_marks_its_row_and_column_and_has_a_tip(pages, browser):
    browser.open(pages["running"])
    cell = "document.querySelectorAll('.matrix tbody tr')[2].cells[3]"
    browser.value(f"{cell}.dispatchEvent(new MouseEvent('mouseover', {{ bubbles: true }}))")
    rows, columns = len(CLASSES) + 1, len(CLASSES) + 1
    assert browser.value("document.querySelectorAll('.matrix .on').length") == rows + columns - 1
    assert browser.value(f"{cell}.title").startswith("猫 & dog taken for 猫 & dog: ")
    tips = browser.value("[...document.querySelectorAll('.chart .tip > title')].map((each) => each.textContent)")
    assert "validation, epoch 2: 62.5" in tips and len([tip for tip in tips if "epoch" in tip]) == 2 * (3 + 3 + 1 + 1)


def test_a_head_sorts_its_table(pages, browser):
    browser.open(pages["compared"])
    column = "[...document.querySelectorAll('.sortable tbody tr')].map((row) => row.cells[1].textContent)"
    before = browser.value(column)
    head = "document.querySelectorAll('.sortable thead th')[1]"
    browser.value(f"{head}.querySelector('button').click(); {head}.querySelector('button').click()")
    assert browser.value(column) == before[::-1] and browser.value(f"{head}.ariaSort") == "descending"


def test_without_scripts_and_on_paper_everything_is_there(pages, browser):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.call("Page.navigate", url=pages["finished"].resolve().as_uri())
        browser.wait_for("document.querySelectorAll('.chart svg').length === 5 && document.querySelector('pre')")
        visible = "[...document.querySelectorAll({!r})].filter((each) => each.checkVisibility()).length"
        assert browser.value(visible.format("#mistakes img")) > 10 and browser.value(visible.format(".matrix td")) == 64
        assert browser.value(visible.format("select, input, button")) == 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert len(browser.call("Page.printToPDF")["data"]) > 50_000


def test_compared_runs_have_their_figures_and_only_the_options_that_differ(pages, browser):
    browser.open(pages["compared"])
    rows = browser.value("[...document.querySelectorAll('tr')].map((row) => [...row.cells].map((cell) => cell.textContent))")
    assert ["3 runs/_2 <$a$>", "52.00 %"] in [row[:2] for row in rows]
    assert [row[0] for row in rows[-2:]] == ["option", "width"] and rows[-1][1:3] == ["0.125", "0.25"]
    assert browser.value("document.querySelectorAll('.chart svg').length") == 8
    text = browser.value("document.body.textContent")
    assert "runs have different data" not in text
    runs = compared(2)
    other = runs[1].config | {"data": {"name": "other", "sha256": "1"}}
    other = replace(runs[1], config=other, history=runs[1].history[:1], best_epoch=1)
    text = comparison.html([runs[0], other])
    assert "The runs have different data" in text and "Not finished: 2." in text


def test_compare_reads_run_folders_and_refuses_others(tmp_path, capsys):
    from minisqx.training import train
    from minisqx.training.options import TrainingOptions
    from tests.training_runs import SMALL, write_data

    data = str(write_data(tmp_path / "colours.h5"))
    folders = []
    for epochs in (1, 2):
        options = TrainingOptions(**SMALL | {"epochs": epochs}, data=data, out=str(tmp_path / f"run{epochs}"))
        folders.append(str(train(options, say=lambda line: None).folder))
    out = tmp_path / "compare.html"
    assert main(["compare", *folders, "--out", str(out)]) == 0 and str(out) in capsys.readouterr().out
    assert re.search(r"<th scope=\"row\">epochs</th><td>1</td><td>2</td>", out.read_text(encoding="utf-8"))
    assert main(["compare", folders[0], folders[0], "--out", str(out)]) == OptionError.exit_code
    assert main(["compare", folders[0], str(tmp_path), "--out", str(out)]) == TrainingError.exit_code
    assert main(["compare", *folders, "--out", str(tmp_path / "missing" / "x.html")]) == TrainingError.exit_code
