"""The documents keep their word: the README's Python runs, its commands are accepted as they stand, and links lead somewhere."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

import minisqx
from minisqx.cli import commands as cli
from minisqx.spec import zoo
from minisqx.training.options import TrainingOptions, given_options

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("design", "performance", "reading", "backprop")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", *(f"docs/{page}.md" for page in PAGES))
WEIGHTS = list((ROOT / "data" / "weights").glob("*.h5"))


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands():
    """The arguments of every command of ours in the README."""
    lines = [shlex.split(line) for line in "".join(blocks("sh")).splitlines()]
    trainings = [["train", *words[3:]] for words in lines if words[:3] == ["python", "-m", "minisqx.train"]]
    return trainings + [words[1:] for words in lines if words[0] == "minisqx"]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_in_the_readme_is_accepted(arguments):
    args = cli._parser().parse_args(arguments)
    if arguments[0] == "train":
        TrainingOptions(**given_options(args))


def test_the_readme_shows_every_command():
    shown = {arguments[0] for arguments in commands()}
    assert shown == {"train", "models", "summary", "draw", "paper", "evaluate", "infer", "bench", "gradcheck", "warmup", "info"}


@pytest.mark.skipif(not WEIGHTS, reason="no weights are shipped yet")
def test_the_python_in_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), (200, 120, 40)).save("cat.jpg")
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == ["(12, 3, 3, 3)", "11253"]


def test_the_readme_says_the_sizes_and_the_shipped_networks_classes_as_they_are():
    sizes = [zoo.network(name).state_bytes for name in zoo.names() if name.startswith("shallow")]
    assert f"whose weights take {min(sizes) / 1e3:.0f} KB to {max(sizes) / 1e6:.1f} MB" in README
    model = minisqx.load(zoo.DEFAULT)
    *classes, last = model.classes
    assert f"knows ten classes: {', '.join(classes)} and {last}." in README
    assert (
        f"names {100 * model.metrics['test_accuracy']:.0f} % of" in README and f"{model.spec.parameters:,} parameters" in README
    )


def test_every_name_of_a_tensor_in_the_readme_is_one():
    known = minisqx.ShallowSqueezeNext().state_dict()
    named = re.findall(r"`((?:head|stem)\.\w+)`", README)
    assert len(named) >= 6 and set(named) <= set(known)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_a_document_runs_is_there(document):
    modules = re.findall(r"python3? -m ([\w.]+)", (ROOT / document).read_text(encoding="utf-8"))
    assert [name for name in modules if find_spec(name) is None] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / document).parent.joinpath(link).exists(), link
