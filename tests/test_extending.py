"""docs/extending.md, applied as it stands to a copy of the package: the page cannot drift from the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MARK = "# An activation's number"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package, laid out as it is installed, with the page's activation in its table."""
    folder = tmp_path_factory.mktemp("extended")
    for name, place in {"minisqx": "minisqx", "kernels": "minisqx/kernels", "data": "minisqx/data"}.items():
        shutil.copytree(ROOT / name, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
    added, entered = re.findall(r"```python\n(.+?)```", (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), re.DOTALL)
    table = folder / "minisqx" / "kernels" / "activation_table.py"
    text = table.read_text(encoding="utf-8")
    (before,) = re.findall(r"^ACTIVATIONS = .*\n", text, re.MULTILINE)
    assert text.count(MARK) == 1 and "LeakyReLU" not in text
    table.write_text(text.replace(MARK, f"{added}\n\n{MARK}").replace(before, entered), encoding="utf-8")
    return folder


def run(copy, *arguments):
    environment = os.environ | {"PYTHONPATH": str(copy), "MINISQX_CACHE": str(copy / "cache")}
    command = [sys.executable, "-m", "minisqx", *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=600)


def test_the_activation_of_the_page_has_right_gradients_in_every_layer(copy):
    done = run(copy, "gradcheck", "--activation", "leaky-relu", "--width", "0.125", "--input-size", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stage4.block1.conv5" in done.stdout


def test_the_activation_of_the_page_has_its_name_in_help_and_picture(copy):
    assert "leaky-relu" in run(copy, "train", "--help").stdout
    done = run(copy, "draw", "--activation", "leaky-relu", "--out", "leaky.svg")
    assert done.returncode == 0 and "Leaky ReLU" in (copy / "leaky.svg").read_text(encoding="utf-8"), done.stderr
