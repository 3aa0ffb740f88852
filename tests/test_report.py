"""report.html: its figures are those of the run, its text is text, and it needs nothing from elsewhere."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from minisqx.cli.commands import main
from minisqx.errors import TrainingError
from minisqx.inference.model import load
from minisqx.report import charts, page
from minisqx.training import report, resume, train
from minisqx.training.data import open_training_data
from minisqx.training.evaluation import evaluate
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import RunFolder
from minisqx.training.trainer import Trainer
from tests.training_runs import SMALL, write_data

HOSTILE = ("</script><b>", "a\"b'c", "<!-- 猫 & dog")


@pytest.fixture(autouse=True)
def no_reports():
    """Here they are tested."""


class Page(HTMLParser):
    """The tags, the rows of tables and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._cell &= tag not in ("td", "th")

    def handle_data(self, data):
        self.words.append(data)
        if self._cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("report")
    data = write_data(folder / "colours.h5", classes=HOSTILE)
    return RunFolder(train(TrainingOptions(**SMALL, data=str(data), out=folder / "run"), say=lambda line: None).folder)


@pytest.fixture
def shown(run) -> Page:
    return Page(run.report.read_text(encoding="utf-8"))


def test_the_figures_of_the_page_are_those_of_the_run(run, shown):
    data = open_training_data(TrainingOptions.from_dict(run.read_config()["options"]), lambda line: None)
    result = evaluate(load(run.last), data.test.images, data.test.labels)
    text = " ".join(shown.words)
    assert f"{100 * result.accuracy:.2f} %" in text and f"calibration error is {100 * result.calibration_error:.2f} %" in text
    for name, counts, share in zip(HOSTILE, result.confusion, result.class_accuracy):
        assert [name, str(counts.sum()), f"{100 * share:.2f} %"] in [row[:3] for row in shown.rows]
        assert [name, *(str(count) if count else "" for count in counts)] in shown.rows
    assert ["all", "53", "7", "20"] in shown.rows
    options = {row[0]: row[1] for row in shown.rows if len(row) == 2}
    assert options["width"] == "0.125" and options["batch size"] == "13"


def test_mistakes_are_shown_with_their_images_and_names(run, shown):
    figures = [given for tag, given in shown.tags if tag == "figure" and "data-true" in given]
    pictures = [given for tag, given in shown.tags if tag == "img"]
    assert len(figures) == len(pictures) and all(given["src"].startswith("data:image/png;base64,") for given in pictures)
    data = open_training_data(TrainingOptions.from_dict(run.read_config()["options"]), lambda line: None)
    result = evaluate(load(run.last), data.test.images, data.test.labels)
    wrong = [(HOSTILE[result.labels[at]], HOSTILE[result.predicted[at]]) for at in result.mistakes()]
    assert [(given["data-true"], given["data-predicted"]) for given in figures[: len(wrong)]] == wrong
    assert [given["alt"] for given in pictures[: len(wrong)]] == [f"test_images[{at}]" for at in result.mistakes()]


def test_a_page_needs_nothing_from_elsewhere_and_names_are_text(run, shown):
    text = run.report.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text) and "url(http" not in text and "@import" not in text
    assert [tag for tag, _ in shown.tags].count("script") == 1
    (policy,) = (given["content"] for tag, given in shown.tags if given.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_while_a_run_goes_on_the_page_reloads_and_shows_validation_images(run, tmp_path, monkeypatch):
    pages = []
    plain = Trainer._report

    def seen(trainer):
        plain(trainer)
        pages.append(Page(trainer.folder.report.read_text(encoding="utf-8")))

    monkeypatch.setattr(Trainer, "_report", seen)
    monkeypatch.setattr(report, "SHARE", 1e9)
    options = TrainingOptions.from_dict(run.read_config()["options"] | {"out": str(tmp_path / "run")})
    train(options, say=lambda line: None)
    refreshes = [any(given.get("http-equiv") == "refresh" for _, given in each.tags) for each in pages]
    assert refreshes == [True, True, False]
    words = [" ".join(each.words) for each in pages]
    assert "epoch 1 of 3, running" in words[0] and "epoch 3 of 3, finished" in words[2]
    assert "measured on the validation images" in words[1] and "measured on the test images" in words[2]


def test_reports_take_a_small_share_of_the_time(run, tmp_path, monkeypatch):
    data = open_training_data(TrainingOptions.from_dict(run.read_config()["options"]), lambda line: None)
    clock = iter([0.0, 2.0, 10.0, 39.0, 43.0, 45.0, 46.0, 48.0])
    monkeypatch.setattr(report.time, "monotonic", lambda: next(clock))
    written = []
    monkeypatch.setattr(report, "replace_file", lambda *given: written.append(given))
    reporter = report.Reporter(tmp_path / "report.html", data, run.read_config())
    network, history = load(run.last).network, [dict(row, epoch=n) for n, row in enumerate(load_history(run), start=1)]
    for _ in range(4):  # at 0, 10, 39 and 43 seconds; the first took 2, so the next one comes after 42
        reporter.update(network, history[:1])
    assert len(written) == 2
    reporter.update(network, history)  # the last epoch always
    assert len(written) == 3


def load_history(run: RunFolder) -> list[dict]:
    from minisqx.training.run_state import load_run

    return load_run(run, lambda line: None)[1].history


def test_the_page_is_made_again_from_the_folder(run, tmp_path, capsys):
    first = run.report.read_text(encoding="utf-8")
    assert main(["report", str(run.path), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == first
    assert main(["report", str(run.path), "--out", str(tmp_path / "missing" / "again.html")]) == TrainingError.exit_code
    assert main(["report", str(tmp_path)]) == TrainingError.exit_code
    other = write_data(tmp_path / "other.h5", classes=HOSTILE, seed=1)
    assert main(["report", str(run.path), "--data", str(other)]) == TrainingError.exit_code
    assert all("\n" not in line for line in capsys.readouterr().err.splitlines())


def test_a_tip_tells_the_value_of_its_point():
    drawn = charts.curves("Loss", "nats", [charts.Line("training", [3.0, 2.0, 1.0]), charts.Line("<test>", [4.0, 5.0], 9)])
    found = re.findall(r'class="tip"[^>]* y="([\d.]+)"[^>]*><title>([^<]*)</title>', drawn)
    tips = [text for _, text in found]
    assert tips[:3] == [f"training, epoch {epoch}: {value}" for epoch, value in ((1, 3), (2, 2), (3, 1))]
    assert tips[3:] == ["&lt;test&gt;, epoch 1: 4", "&lt;test&gt;, epoch 2: 5"]
    heights = {int(text[-1]): float(y) for y, text in found}  # of values 1 to 5; y points down
    steps = np.diff([heights[value] for value in range(1, 6)])
    assert (steps < 0).all() and np.allclose(steps, steps[0], atol=1e-3)
    long = charts.curves("Loss", "nats", [charts.Line("training", list(np.linspace(2, 1, 1000)))])
    assert long.count('class="tip"') == -(-1000 // -(-1000 // charts.MOST_TIPS))


def test_without_matplotlib_the_page_has_everything_but_charts(run, monkeypatch, tmp_path):
    def missing(*given):
        raise ImportError

    monkeypatch.setattr(charts, "_svg", missing)
    file = report.report(run.path, None, tmp_path / "plain.html", lambda line: None)
    text = file.read_text(encoding="utf-8")
    assert "install Matplotlib" in text and "surest mistakes" in text and "Confusion" in text


def test_a_page_that_cannot_be_written_does_not_stop_the_run(run, tmp_path, monkeypatch):
    def fail(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "replace_file", fail)
    lines: list[str] = []
    options = TrainingOptions.from_dict(run.read_config()["options"] | {"out": str(tmp_path / "run"), "epochs": 1})
    assert len(train(options, lines.append).history) == 1
    assert any("report.html" in line and "No space left" in line for line in lines)
    assert resume(tmp_path / "run", lines.append).history


def test_many_classes_and_a_perfect_network_are_shown(run):
    data = open_training_data(TrainingOptions.from_dict(run.read_config()["options"]), lambda line: None)
    content = report.content_of(load(run.last).network.plan(), data, run.read_config(), load_history(run))
    names = tuple(f"class {number}" for number in range(130))
    labels = np.arange(260) % 130
    pixels, sure = np.zeros((260, 8, 8, 3), np.uint8), np.eye(130)[labels]
    measured = report.Measured(names, labels, labels, np.ones(260), "test", pixels, names * 2, sure)
    object.__setattr__(content, "measured", measured)
    object.__setattr__(content, "classes", names)
    object.__setattr__(content, "images", {"test": [2] * 130})
    text = page.html(content)
    assert "There are none." in text and "100.00 %" in text and 'aria-label="Confusion"' in text
