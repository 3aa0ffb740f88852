"""The documentation site: every page has a place, every public name is described, and what it shows is made by the code."""

import json
import re
import runpy
import subprocess
import sys
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest

import minisqx
from minisqx.paper import printed
from minisqx.spec import zoo
from tests.check_site import broken_links

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIGURATION = runpy.run_path(str(DOCS / "conf.py"))
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
FOLDERS = ("docs", "benchmarks", "data", "examples", "tests", "minisqx", "kernels")  # that may have pages


def pages_of_the_repository():
    """The Markdown files and notebooks."""
    files = [
        *ROOT.glob("*.md"),
        *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if "node_modules" not in file.parts),
    ]
    return {
        file.relative_to(ROOT).as_posix()
        for file in files
        if file.suffix in (".md", ".ipynb") and not file.parent.name.startswith(".")
    }


def test_every_page_has_a_place_in_the_navigation_of_the_site():
    placed = [page for pages in CONFIGURATION["navigation"].values() for page in pages]
    assert len(placed) == len(set(placed)) > 20
    pages = pages_of_the_repository()
    missing = {Path(page).with_suffix("").as_posix() for page in pages} - {"README", *placed}
    assert missing == set(), "give these pages a place in `navigation` in docs/conf.py"
    assert [page for page in placed if f"{page}.md" not in pages and f"{page}.ipynb" not in pages] == []
    patterns = CONFIGURATION["include_patterns"]
    assert [page for page in pages if not any(fnmatch(page, pattern) for pattern in patterns)] == []


def test_the_api_page_describes_every_public_name():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\.\. auto\w+:: minisqx\.(\w+)$", text, re.MULTILINE))
    assert described == set(minisqx.__all__) - {"__version__"}


def test_the_table_of_networks_is_what_the_descriptions_say():
    rows = re.findall(r"^\| (s\S+) \|(.*)\|$", (DOCS / "networks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == zoo.names()
    papers = printed.accuracies()
    for name, cells in rows:
        spec = zoo.network(name)
        width, blocks = f"{getattr(spec, 'width', ''):g}" if hasattr(spec, "width") else "", getattr(spec, "blocks", ())
        macs = f"{spec.macs / 1e6:#.3g}".rstrip(".")
        expected = [
            width,
            ",".join(map(str, blocks)),
            f"{spec.parameters:,}",
            macs,
            f"{spec.state_bytes / 1e3:,.1f}",
            papers.get(name, ""),
        ]
        assert [cell.strip() for cell in cells.split("|")] == expected, name


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_output_and_begins_with_its_title(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    first, *others = content["cells"]
    assert "".join(first["source"]).startswith("# ") and len(others) > 10
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert code and all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert len(content["cells"]) - len(code) >= len(code) / 2, "expected prose between the cells"


def test_the_gallery_shows_every_picture_that_its_script_draws(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = runpy.run_path(str(DOCS / "draw_gallery.py"))["draw"](tmp_path)
    shown = set(re.findall(r"\]\(gallery/(\w+)\.png\)", (DOCS / "gallery.md").read_text(encoding="utf-8")))
    assert {path.stem for path in drawn} == shown == {path.stem for path in (DOCS / "gallery").glob("*.png")}
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in drawn)


def test_the_version_is_the_same_in_every_place():
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", cited, re.MULTILINE) == [minisqx.__version__]
    released = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == minisqx.__version__ == CONFIGURATION["release"]


@pytest.mark.skipif(find_spec("sphinx") is None or find_spec("furo") is None, reason="the extra docs is not installed")
def test_a_page_without_a_place_is_still_found_and_no_link_is_broken(tmp_path):
    """A small site with the real configuration: a front page, a page without a place, and a file that both link to."""
    for name in ("conf.py", "source_pages.py", "site.css", "site.js"):
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / name).write_bytes((DOCS / name).read_bytes() + b"\nnavigation = {}" * (name == "conf.py"))
    (tmp_path / "minisqx").mkdir()
    (tmp_path / "minisqx" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "minisqx" / "code.py").write_text('"""A file of code."""\n')
    (tmp_path / "README.md").write_text("# Front\n\n[code](minisqx/code.py), [all](minisqx), [new](docs/new.md#part)\n")
    (tmp_path / "docs" / "new.md").write_text("# New\n\n## Part\n\n[code](../minisqx/code.py)\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-c", "docs", ".", "site"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "minisqx 1.2.3" in front and 'href="docs/new.html">New</a>' in front
    assert "A file of code." in (tmp_path / "site" / "source" / "minisqx.html").read_text(encoding="utf-8")
    assert broken_links(tmp_path / "site") == []
    (tmp_path / "site" / "docs" / "new.html").unlink()
    assert any("docs/new.html" in line for line in broken_links(tmp_path / "site"))
