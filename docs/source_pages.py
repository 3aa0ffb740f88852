"""A Sphinx extension: the site's front page and navigation, and a page for each file of the repository that a page links to.

On a code host such a link leads to the file. The site may lie anywhere, so it has the files' text with it.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import unquote

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx

LARGEST = 100_000  # characters of a file that are shown
# Before "name: " or "name, other: " at the start of a sentence, and before the errors that are raised.
ENTRY = re.compile(r"(?:^|(?<=[.)]) )(?=(?:[a-z]\w*(?:, [a-z]\w*)*): |Raises )")


def setup(app: Sphinx) -> dict:
    app.add_config_value("navigation", {}, "env", types=[dict])
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", list_arguments)
    app.connect("doctree-read", link_to_sources, priority=100)  # before Sphinx copies them as downloads
    app.connect("html-collect-pages", source_pages)
    app.connect("build-finished", copy_front_page)
    app.connect("env-purge-doc", lambda app, env, page: linked(env).pop(page, None))
    app.connect("env-merge-info", lambda app, env, pages, other: linked(env).update(linked(other)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def linked(env) -> dict[str, set[str]]:
    """Page -> the files and folders that it links to, as paths in the repository."""
    if not hasattr(env, "linked_sources"):
        env.linked_sources = {}
    return env.linked_sources


def outdated(app: Sphinx, env, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The front page is read again when there is another page, since it has the navigation."""
    return [app.config.root_doc] if added or removed else []


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Adds the hidden tables of contents that make the sidebar. Pages without a place stand under "More"."""
    if page != app.config.root_doc:
        return
    known: dict[str, list[str]] = app.config.navigation
    more = sorted(app.env.found_docs - {page, *(each for pages in known.values() for each in pages)})
    for caption, pages in {**known, "More": more}.items():
        lines = "".join(f"/{each}\n" for each in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}```\n"


def list_arguments(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Makes a list of a paragraph of a docstring that describes arguments: "width: ... blocks: ... Raises ..."."""
    found: list[str] = []
    for paragraph in "\n".join(lines).split("\n\n"):
        entries = ENTRY.split(" ".join(paragraph.split("\n"))) if not paragraph.startswith((" ", "- ")) else [paragraph]
        if len(entries) == 1:
            found += [*paragraph.split("\n"), ""]
            continue
        start, *entries = entries
        found += [start, ""] * bool(start)
        for entry in entries:
            found += ["", entry] if entry.startswith("Raises ") else [re.sub(r"^([a-z]\w*(?:, \w+)*): ", r"- **\1**: ", entry)]
        found.append("")
    lines[:] = found


def link_to_sources(app: Sphinx, doctree: nodes.document) -> None:
    """Makes links to files that are no pages lead to their source pages."""
    page, root = app.env.docname, Path(app.srcdir).resolve()
    for node in list(doctree.findall(lambda node: isinstance(node, addnodes.download_reference | addnodes.pending_xref))):
        if isinstance(node, addnodes.pending_xref) and node["reftype"] != "myst":
            continue
        path = (root / page).parent.joinpath(unquote(node["reftarget"].partition("#")[0])).resolve()
        if path.exists() and path.is_relative_to(root) and path.suffix not in (".md", ".ipynb"):
            name = path.relative_to(root).as_posix()
            linked(app.env).setdefault(page, set()).add(name)
            uri = app.builder.get_relative_uri(page, place(name))
            node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=uri))


def place(name: str) -> str:
    """Of a file or folder, in the site."""
    return f"source/{'repository' if name == '.' else name}"


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    names = sorted(set().union(*linked(app.env).values()))
    for name in names:
        path = Path(app.srcdir) / name
        body = files_in(app, path, names) if path.is_dir() else text_of(app, path)
        yield place(name), {"title": name, "body": f"<h1>{escape(name)}</h1>\n{body}"}, "page.html"


def text_of(app: Sphinx, path: Path) -> str:
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = "text"
    return app.builder.highlighter.highlight_block(path.read_text(encoding="utf-8")[:LARGEST], language, linenos="inline")


def files_in(app: Sphinx, folder: Path, names: list[str]) -> str:
    """The files of a folder, each with what it says of itself, and a link if it has a page."""
    root, rows = Path(app.srcdir), ""
    here = place(folder.relative_to(root).as_posix())
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        name, label = path.relative_to(root).as_posix(), escape(path.name) + "/" * path.is_dir()
        page = name.removesuffix(path.suffix) if path.suffix in (".md", ".ipynb") else ""
        if page in app.env.titles or name in names:
            uri = app.builder.get_relative_uri(here, page or place(name))
            label = f'<a class="reference internal" href="{uri}">{label}</a>'
        said = app.env.titles[page].astext() if page in app.env.titles else first_line(path)
        rows += f"<tr><td><code>{label}</code></td><td>{escape(said)}</td></tr>\n"
    head = "<thead><tr><th>file</th><th>content</th></tr></thead>"
    return f'<div class="table-wrapper docutils container"><table class="docutils">{head}<tbody>{rows}</tbody></table></div>'


def first_line(path: Path) -> str:
    """Of the docstring of a module or a package, else ""."""
    module = path / "__init__.py" if path.is_dir() else path
    if module.suffix != ".py" or not module.exists():
        return ""
    return (ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").split("\n")[0]


def copy_front_page(app: Sphinx, error: Exception | None) -> None:
    """The README is the page that a folder opens with, too."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir) / f"{app.config.root_doc}.html", Path(app.outdir) / "index.html")
