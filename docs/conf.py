"""The documentation site, for Sphinx: `sphinx-build -W -c docs . build/site` writes it to `build/site/index.html`.

The pages are those of the repository. `navigation` orders them; a page that it doesn't name stands at the end, under "More".
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "minisqx"
author = "the minisqx authors"
project_copyright = f"{author}, MIT licence"
release = version = re.search(r'^__version__ = "(.+)"$', (HERE.parent / "minisqx/__init__.py").read_text(encoding="utf-8"), re.M)[
    1
]

# Caption -> pages, with their folder and without the ending. The README is the front page.
navigation = {
    "Start": ["docs/using", "docs/notebooks/first_steps", "docs/data", "docs/notebooks/own_data"],
    "Networks": ["docs/networks", "docs/results", "docs/paper", "docs/gallery", "docs/beside"],
    "Deploy": ["docs/exporting", "examples/c/README", "examples/edge/README", "docs/distributed", "docs/reliability"],
    "How it works": [
        "docs/reading",
        "docs/backprop",
        "docs/notebooks/backprop_by_hand",
        "docs/extending",
        "docs/design",
        "docs/performance",
    ],
    "Reference": ["docs/api", "data/weights/README", "benchmarks/README", "CONTRIBUTING", "CHANGELOG", "NOTICE"],
}
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/notebooks/*.ipynb", "benchmarks/*.md", "data/weights/*.md", "examples/*/*.md"]
exclude_patterns = [".*", "build", "dist", "runs", "tests", "minisqx", "kernels"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "source_pages"]
nitpicky = True

myst_disable_syntax = ["myst_line_comment"]  # a wrapped line may begin with the % of a figure
myst_heading_anchors = 6  # as on a code host: `page.md#a-heading`
nb_execution_mode = "force"  # the notebooks are stored without their output
nb_execution_raise_on_error = True
nb_execution_in_temp = False  # as Jupyter does: in the folder of the notebook
nb_execution_timeout = 300  # seconds for a cell: the first one compiles kernels, if they are not cached
nb_merge_streams = True

default_role = "code"  # `x` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say what is taken and returned, with shapes and units
autodoc_class_signature = "separated"

html_theme = "furo"
html_title = f"minisqx {release}"
html_static_path = ["site.css", "site.js"]
html_css_files, html_js_files = ["site.css"], [("site.js", {"defer": "defer"})]
html_copy_source = html_show_sourcelink = False
html_show_sphinx = False
html_domain_indices = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
