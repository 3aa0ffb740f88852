"""The pages for users keep their word: their Python runs, their commands are accepted as they stand, and links lead somewhere."""

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
FOR_USERS = ("README.md", "docs/using.md", "docs/data.md", "docs/results.md")
DOCUMENTS = (
    *FOR_USERS,
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "data/weights/README.md",
    "examples/c/README.md",
    "examples/edge/README.md",
    "CHANGELOG.md",
    "NOTICE.md",
    *(
        f"docs/{page}.md"
        for page in (
            "beside",
            "exporting",
            "networks",
            "paper",
            "gallery",
            "api",
            "reading",
            "backprop",
            "extending",
            "design",
            "performance",
            "reliability",
        )
    ),
)
WEIGHTS = list((ROOT / "data" / "weights").glob("*.h5"))
# docs/extending.md adds them; tests/test_extending.py runs what is said there.
ADDED = ("--activation leaky-relu", "--model lenet-5")


def text_of(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(document), re.DOTALL | re.MULTILINE)


def commands():
    """The arguments of every command of ours in the documents, each once."""
    code = "".join(block for document in DOCUMENTS for block in blocks(document, "sh")).replace("\\\n", "")
    lines = [shlex.split(line) for line in code.splitlines() if not any(added in line for added in ADDED)]
    trainings = [["train", *words[3:]] for words in lines if words[:3] == ["python", "-m", "minisqx.train"]]
    ours = trainings + [words[1:] for words in lines if words[0] == "minisqx"]
    return [arguments for at, arguments in enumerate(ours) if arguments not in ours[:at]]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_in_the_documents_is_accepted(arguments):
    args = cli._parser().parse_args(arguments)
    if arguments[0] == "train":
        TrainingOptions(**given_options(args))


def test_the_documents_show_every_command():
    shown = {arguments[0] for arguments in commands()}
    assert shown == {
        "train",
        "models",
        "summary",
        "draw",
        "augmentations",
        "report",
        "compare",
        "paper",
        "evaluate",
        "infer",
        "export",
        "bench",
        "gradcheck",
        "warmup",
        "info",
    }


def test_the_readme_has_the_two_blocks_that_ci_runs():
    marked = dict(re.findall(r"^<!-- ci: (\w+) -->\n```sh\n(.*?)^```$", text_of("README.md"), re.DOTALL | re.MULTILINE))
    assert list(marked) == ["train", "test"]
    assert marked["train"].splitlines()[-1].startswith("python -m minisqx.train ")
    assert marked["test"].splitlines()[-1].startswith("python -m pytest")


@pytest.mark.skipif(not WEIGHTS, reason="no weights are shipped yet")
@pytest.mark.parametrize("document", [each for each in FOR_USERS if blocks(each, "python")])
def test_the_python_of_a_page_runs_from_top_to_bottom(document, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), (200, 120, 40)).save("cat.jpg")
    for number in range(24):
        file = tmp_path / "photos" / ("dark", "light")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (100 * (number % 2) + number,) * 3).save(file)
    names = {}
    for block in blocks(document, "python"):
        exec(compile(block, document, "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == ["(12, 3, 3, 3)", "11253"]


def test_no_page_for_users_lost_its_python():
    assert [document for document in FOR_USERS if blocks(document, "python")] == ["docs/using.md"]
    assert len(blocks("docs/using.md", "python")) == 5


def test_sizes_and_the_shipped_networks_classes_are_as_the_pages_say():
    sizes = [zoo.network(name).state_bytes for name in zoo.names() if name.startswith("shallow")]
    readme, using = (" ".join(text_of(document).split()) for document in ("README.md", "docs/using.md"))
    assert f"whose weights take {min(sizes) / 1e3:.0f} KB to {max(sizes) / 1e6:.1f} MB" in readme
    model = minisqx.load(zoo.DEFAULT)
    *classes, last = model.classes
    assert f"knows ten classes: {', '.join(classes)} and {last}." in using
    accuracy, parameters = 100 * model.metrics["test_accuracy"], f"{model.spec.parameters:,} parameters"
    assert f"names {accuracy:.0f} % of" in using and parameters in using
    assert all(f"Unless you name another one, `{zoo.DEFAULT}` answers" in page for page in (readme, using))


def test_the_table_of_sizes_is_what_the_descriptions_say():
    rows = re.findall(r"^\| (\S+) \| ([\d,]+) \| ([\d.]+) \| ([\d,.]+) \|$", text_of("docs/results.md"), re.MULTILINE)
    assert len(rows) >= 7
    for name, parameters, macs, state in rows:
        spec = zoo.network(name)
        assert (parameters, state) == (f"{spec.parameters:,}", f"{spec.state_bytes / 1e3:,.1f}"), name
        assert macs in {f"{spec.macs / 1e6:.{digits}f}" for digits in range(4)}, name


def test_every_figure_in_the_readme_stands_in_the_results():
    table = text_of("README.md").split("## Results")[1].split("\n## ")[0]
    figures = re.findall(r"\d[\d,.]*\d", table)
    assert len(figures) >= 20
    assert [each for each in figures if each not in text_of("docs/results.md")] == []


def test_every_name_of_a_tensor_in_the_documents_is_one():
    known = minisqx.ShallowSqueezeNext().state_dict()
    named = re.findall(r"`((?:head|stem)\.\w+)`", text_of("docs/using.md"))
    assert len(named) >= 6 and set(named) <= set(known)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_that_a_document_runs_is_there(document):
    modules = re.findall(r"python3? -m ([\w.]+)", text_of(document))
    assert [name for name in modules if find_spec(name) is None] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document):
    for link in re.findall(r"\]\(([^)#]+)[)#]", text_of(document)):
        assert (ROOT / document).parent.joinpath(link).exists(), link
