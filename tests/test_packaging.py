"""What is built and installed: a wheel with the three packages and the weights alone, which needs four packages alone."""

import ast
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"minisqx": ROOT / "minisqx", "minisqx/kernels": ROOT / "kernels", "minisqx/data": ROOT / "data"}
REQUIRED = {"numpy", "numba", "pillow", "h5py"}
# Import names that code may have at its top: required packages, and what Numba can't be without.
IMPORTABLE = {"numpy", "numba", "llvmlite", "PIL", "h5py", "minisqx"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that was built from an sdist that was built from this repository, so that the sdist is complete, too."""
    source, built = tmp_path_factory.mktemp("source") / "minisqx", tmp_path_factory.mktemp("built")
    # setuptools leaves folders behind, and finds what an earlier version left: it gets a copy of its own.
    unwanted = shutil.ignore_patterns(".git", ".venv", "runs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=unwanted)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_three_packages_and_the_weights_and_nothing_else(wheel):
    expected = {f"{name}/{file.name}" for name, folder in PACKAGES.items() for file in folder.glob("*.py")}
    expected.add("minisqx/data/measured.json")
    expected |= {f"minisqx/data/weights/{file.name}" for file in (ROOT / "data" / "weights").glob("*.h5")} | {"minisqx/py.typed"}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_the_wheel_has_the_licence_and_the_command(wheel):
    (information,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "minisqx = minisqx.cli:main" in wheel.read(f"{information}/entry_points.txt").decode()


def test_four_packages_are_required():
    needed = {line.split(">")[0] for line in requires("minisqx") if "extra ==" not in line}
    assert needed == REQUIRED


@pytest.mark.parametrize("folder", PACKAGES.values(), ids=PACKAGES)
def test_modules_import_no_other_package_before_they_need_it(folder):
    tops = set()
    for file in folder.glob("*.py"):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                tops.add(statement.module.split(".")[0])
    assert tops - sys.stdlib_module_names <= IMPORTABLE
