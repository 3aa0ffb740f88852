"""What is built and installed: a wheel with the three packages and the weights alone, which needs four packages alone."""

import ast
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest

from minisqx.pyinstaller import hook_folders

ROOT = Path(__file__).parent.parent
PACKAGES = {"minisqx": ROOT / "minisqx", "minisqx/kernels": ROOT / "kernels", "minisqx/data": ROOT / "data"}
ENGINES = [file for file in (ROOT / "minisqx" / "formats").iterdir() if file.suffix in (".c", ".mjs", ".html", ".txt")]
REQUIRED = {"numpy", "numba", "pillow", "h5py"}
# Import names that code may have at its top: required packages, and what Numba can't be without.
IMPORTABLE = {"numpy", "numba", "llvmlite", "PIL", "h5py", "minisqx"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """This repository."""
    source = tmp_path_factory.mktemp("source") / "minisqx"
    # setuptools leaves folders behind, and finds what an earlier version left: it gets a copy of its own.
    unwanted = shutil.ignore_patterns(".git", ".venv", "runs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, ignore=unwanted)
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """A wheel that was built from an sdist that was built from this repository, so that the sdist is complete, too."""
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_three_packages_and_the_weights_and_nothing_else(wheel):
    expected = {f"{name}/{file.relative_to(folder)}" for name, folder in PACKAGES.items() for file in folder.rglob("*.py")}
    expected |= {"minisqx/data/measured.json", "minisqx/report/page.css", "minisqx/report/page.js"}
    expected |= {f"minisqx/formats/{file.name}" for file in ENGINES}
    expected |= {f"minisqx/data/weights/{file.name}" for file in (ROOT / "data" / "weights").glob("*.h5")} | {"minisqx/py.typed"}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


SCRIPT = """
import site, sys
sys.path += sys.argv[2:]  # what minisqx needs
site.addsitedir(sys.argv[1])  # what is installed there, as Python does at its start
import minisqx, numpy
print(minisqx.__file__, minisqx.infer(numpy.zeros((32, 32, 3), numpy.uint8)))
"""


def test_beside_a_clone_named_minisqx_its_editable_installation_is_found(source, tmp_path):
    """The clone's folder, which has no `__init__.py`, lies where Python looks first: it could be taken for the package."""
    command = [sys.executable, "-c", "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"]
    done = subprocess.run([*command, str(tmp_path)], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(path).extractall(tmp_path / "installed")
    script = source.parent / "mine.py"
    script.write_text(SCRIPT)
    needed = sorted({str(Path(find_spec(name).origin).parents[1]) for name in ("numpy", "numba", "PIL", "h5py")})
    command = [sys.executable, "-S", str(script), str(tmp_path / "installed"), *needed]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.split()[0] == str(source / "minisqx" / "__init__.py") and "%" in done.stdout, done.stderr


def test_the_wheel_has_the_licence_and_the_command(wheel):
    (information,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    for name in ("LICENSE", "NOTICE.md"):
        assert wheel.read(f"{information}/licenses/{name}") == (ROOT / name).read_bytes()
    entries = wheel.read(f"{information}/entry_points.txt").decode()
    assert "minisqx = minisqx.cli:main" in entries and "hook-dirs = minisqx.pyinstaller:hook_folders" in entries


def test_pyinstaller_is_told_of_the_folder_with_our_hook():
    (folder,) = hook_folders()
    assert [path.name for path in Path(folder).glob("hook-*.py")] == ["hook-minisqx.py"]


def test_four_packages_are_required():
    needed = {line.split(">")[0] for line in requires("minisqx") if "extra ==" not in line}
    assert needed == REQUIRED


@pytest.mark.parametrize("folder", PACKAGES.values(), ids=PACKAGES)
def test_modules_import_no_other_package_before_they_need_it(folder):
    tops = set()
    files = [file for file in folder.rglob("*.py") if not file.name.startswith("hook-")]  # PyInstaller runs the hook
    for file in files:
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                tops.add(statement.module.split(".")[0])
    assert tops - sys.stdlib_module_names <= IMPORTABLE


def test_a_program_frozen_from_an_editable_installation_says_what_to_do(tmp_path):
    """It has the file of `editable/` alone, and not the clone."""
    (tmp_path / "minisqx").mkdir()
    (tmp_path / "minisqx" / "__init__.py").write_bytes((ROOT / "editable" / "minisqx" / "__init__.py").read_bytes())
    done = subprocess.run([sys.executable, "-c", "import minisqx"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ImportError: minisqx: this program was frozen from an editable installation")
