"""The pages for learners can't drift: what they quote stands in the code, and their pictures are what their script draws."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("backprop.md", "reading.md")
ALL_PAGES = (*sorted(path.name for path in DOCS.glob("*.md")), "../README.md", "../CONTRIBUTING.md")
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")


def paragraphs(page: str) -> list[str]:
    return re.split(r"\n\n(?!    )", (DOCS / page).read_text(encoding="utf-8"))


def quotations(page: str) -> list[tuple[str, list[str]]]:
    """For every block of Python on a page the file that was linked last before it, and the lines."""
    found, last = [], ""
    for paragraph in paragraphs(page):
        if paragraph.startswith("```python\n"):
            found.append((last, paragraph.splitlines()[1:-1]))
        last = next((target for target, _ in reversed(LINK.findall(paragraph)) if target.endswith(".py")), last)
    return found


def stripped(lines) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def stands_in(quoted: list[str], source: list[str]) -> bool:
    """Whether the lines stand there one after the other, white space aside; a line `...` stands for any number of lines."""
    pieces = [stripped(piece.splitlines()) for piece in "\n".join(quoted).split("\n...\n")]
    at = 0
    for piece in pieces:
        starts = [n for n in range(at, len(source) - len(piece) + 1) if source[n : n + len(piece)] == piece]
        if not piece or not starts:
            return False
        at = starts[0] + len(piece)
    return True


@pytest.mark.parametrize("file, quoted", [each for page in PAGES for each in quotations(page)], ids=lambda each: str(each[:1]))
def test_every_quotation_stands_in_the_file_that_is_linked_before_it(file, quoted):
    source = stripped((DOCS / file).read_text(encoding="utf-8").splitlines())
    assert stands_in(quoted, source), f"{file} does not have these lines:\n" + "\n".join(quoted)


def test_a_quotation_that_drifted_is_found():
    source = ["a = 1", "b = 2", "c = 3", "d = 4"]
    assert stands_in(["    a = 1", "    b = 2", "...", "  d = 4"], source)
    for drifted in (["a = 1", "c = 3"], ["b = 2", "a = 1"], ["d = 4", "...", "a = 1"], ["a = 1", "...", "e = 5"], []):
        assert not stands_in(drifted, source)


def test_each_gradient_is_tied_to_code():
    kernels = ("loss", "linear", "pooling", "batch_norm", "activation_table", "blocks", "convolution", "epilogues", "residual")
    quoted = {Path(file).name for file, _ in quotations("backprop.md")}
    assert quoted >= {f"{name}.py" for name in kernels}


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", ALL_PAGES)
def test_every_link_to_a_heading_leads_to_one(page):
    for target, heading in LINK.findall((DOCS / page).read_text(encoding="utf-8")):
        if heading:
            text = ((DOCS / page).parent / target if target else DOCS / page).read_text(encoding="utf-8")
            anchors = {anchor(line) for line in text.splitlines() if line.startswith("#")}
            assert heading in anchors, f"{target}#{heading}"


@pytest.mark.parametrize("page", ALL_PAGES)
def test_every_file_that_is_named_in_code_style_is_there(page):
    """`kernels/x.py` in a table or a sentence, and the function that is named beside a link."""
    text = (DOCS / page).read_text(encoding="utf-8")
    added = re.findall(r"In `([\w/]+\.py)`, a new file:", text)
    for path in re.findall(r"`((?:kernels|minisqx|tests)/[\w/]+(?:\.py|/))`", text):
        assert (DOCS.parent / path).exists() != (path in added), path
    for file, names in re.findall(r"\]\(\.\./([\w/]+\.py)\)[\s,]*\(((?:`[\w.]+`)(?:, `[\w.]+`)*)", text):
        source = (DOCS.parent / file).read_text(encoding="utf-8")
        for name in re.findall(r"`([\w.]+)`", names):
            *_, last = name.split(".")
            assert re.search(rf"^\s*(?:(?:def|class) {last}\b|{last} = )", source, re.MULTILINE), f"{file} has no {name}"


def test_the_tables_of_the_house_name_every_file_and_no_other():
    text = (DOCS / "design.md").read_text(encoding="utf-8").split("## The house")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w-]+\.py)`", text))
    files = {path.name for folder in ("minisqx", "kernels", "data") for path in (DOCS.parent / folder).rglob("*.py")}
    assert files - {"__init__.py", "hook-minisqx.py"} == named - {"__init__.py"}
    rooms = re.findall(r"^\| `(\w+)/` \| (.*) \|$", text, re.MULTILINE)
    assert len(rooms) >= 13
    for room, content in rooms:
        (folder,) = [path for base in ("minisqx", "kernels", "data") for path in (DOCS.parent / base).glob(room)]
        there = {path.name for path in folder.glob("*.py")}
        assert set(re.findall(r"`(\w+\.py)`:", content)) <= there, room


def test_the_debugger_stops_at_lines_that_are_still_there():
    """Their numbers may be others by now."""
    stops = re.findall(r"^> ([\w/]+\.py)\(\d+\).*\n-> (.*)$", (DOCS / "reading.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(stops) >= 4
    for file, line in stops:
        assert stands_in([line], stripped((DOCS.parent / file).read_text(encoding="utf-8").splitlines())), line


@pytest.mark.parametrize("script", ["draw_deferrals.py", "draw_overview.py"])
def test_the_pictures_are_what_draws_them_makes(script):
    drawn = runpy.run_path(str(DOCS / script))["PICTURES"]
    for name, draw in drawn.items():
        assert (DOCS / name).read_text(encoding="utf-8") == draw(), f"docs/{name}: run python docs/{script}"


def test_every_test_and_command_that_a_promise_names_is_there():
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    source = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS.parent / "tests").glob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", source))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 100 and named - defined == set()
    files = set(re.findall(r"`(test_\w+\.py)`", text))
    files |= {f"{name.replace('.', '/')}.py" for name in re.findall(r"\btests\.(\w+(?:\.\w+)?)", text)}
    assert len(files) > 25 and [name for name in files if not (DOCS.parent / "tests" / name).exists()] == []
