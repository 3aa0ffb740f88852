"""The package's front: what it offers, what importing it costs, and what happens where it is only half there."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

import minisqx
from minisqx.spec import zoo

ROOT = Path(__file__).parent.parent
HEAVY = ("numpy", "numba", "h5py", "PIL", "scipy", "matplotlib", "tqdm")


def python(*arguments, **settings):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, **settings)


@pytest.mark.parametrize(
    "code",
    [
        "import minisqx; dir(minisqx); minisqx.errors; minisqx.NetworkSpec; minisqx.__version__",
        "from minisqx.cli import main; main(['summary'])",
        *(
            f"from minisqx.cli import main\ntry: main({argv})\nexcept SystemExit: pass"
            for argv in (["--help"], ["train", "--help"])
        ),
    ],
)
def test_importing_and_asking_for_help_load_nothing_heavy(code):
    done = python("-c", f"{code}\nimport sys\nprint('loaded', sorted(set({HEAVY}) & set(sys.modules)))")
    assert done.stdout.splitlines()[-1] == "loaded []", done.stderr


def test_a_saved_network_infers_with_no_more_than_the_four_required_packages(tmp_path):
    code = f"""
import sys
others = ("scipy", "tqdm", "matplotlib", "pooch", "torch")
sys.modules.update(dict.fromkeys(others))  # each import of these now fails
import minisqx, numpy
described = dict(classes=list("0123456789"), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
minisqx.ShallowSqueezeNext(width=0.125).save({str(tmp_path / "net.h5")!r}, **described)
print(minisqx.infer(numpy.zeros((40, 50, 3), numpy.uint8), {str(tmp_path / "net.h5")!r}))
"""
    done = python("-c", code)
    assert "%" in done.stdout, done.stderr


@pytest.mark.parametrize("name", minisqx.__all__)
def test_every_public_name_is_there(name):
    assert getattr(minisqx, name) is not None and name in dir(minisqx)


def test_an_unknown_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="no attribute 'inferr'"):
        minisqx.inferr  # noqa: B018


def test_the_installed_version_is_that_of_the_code():
    assert minisqx.__version__ == metadata.version("minisqx")


def test_type_checkers_see_the_names_that_are_loaded_on_first_use():
    text = Path(minisqx.__file__).read_text()
    block = text.split("if TYPE_CHECKING:", 1)[1].split("_MODULES", 1)[0]
    assert all(f" {name}\n" in block for name in minisqx.__all__ if name != "__version__")


@pytest.fixture
def clone(tmp_path):
    """Another clone of the repository, in a folder of the package's name."""
    for name in ("minisqx", "kernels", "data", "editable"):
        shutil.copytree(ROOT / name, tmp_path / "minisqx" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "minisqx")
    return tmp_path / "minisqx"


def test_the_bare_repository_says_how_to_install_it(clone):
    # Without site-packages, nothing that it needs is there.
    done = python("-S", "-c", "import minisqx", cwd=clone)
    assert done.returncode != 0 and "ImportError" in done.stderr and "pip install -e ." in done.stderr.splitlines()[-1]
    done = python("-S", "-m", "minisqx", "summary", cwd=clone)
    assert done.returncode != 0 and done.stderr.count("\n") == 1 and "pip install -e ." in done.stderr


FILES = "import minisqx.data, minisqx.kernels; print(minisqx.__file__, minisqx.data.__file__, minisqx.kernels.__file__)"


def test_in_a_clone_all_of_the_package_is_the_clones_whatever_is_installed(clone):
    done = python("-c", FILES, cwd=clone)
    assert done.stdout.split() == [str(clone / name / "__init__.py") for name in ("minisqx", "data", "kernels")], done.stderr


@pytest.mark.parametrize("archive", [False, True])
def test_the_weights_are_found_wherever_python_finds_the_package(clone, tmp_path, archive):
    """Installed, as in a folder of byte code or a zip: kernels and data inside; and no file says which version it is."""
    for name in ("kernels", "data"):
        (clone / name).rename(clone / "minisqx" / name)
    place = shutil.make_archive(str(tmp_path / "all"), "zip", clone, "minisqx") if archive else str(clone)
    code = (
        f"import sys; sys.path.insert(0, {place!r}); import minisqx, numpy as np; from minisqx import cli;"
        " from minisqx.training import trainer;"
        " assert minisqx.__file__.startswith(sys.path[0]); trainer.versions(); cli.main(['infer', sys.argv[1]]);"
        " sys.exit(cli.main(['info']))"
    )
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    done = python("-c", code, str(tmp_path / "black.png"), cwd=tmp_path)
    assert done.returncode == 0 and "%" in done.stdout and f"{zoo.DEFAULT}, trained on" in done.stdout, done.stderr
