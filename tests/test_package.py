"""The package's front: what it offers, what importing it costs, and what happens where it is only half there."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import minisqx

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


def test_the_version_has_one_source():
    assert minisqx.__version__ == metadata.version("minisqx")


def test_type_checkers_see_the_names_that_are_loaded_on_first_use():
    text = Path(minisqx.__file__).read_text()
    block = text.split("if TYPE_CHECKING:", 1)[1].split("_HOMES", 1)[0]
    assert all(f" {name}\n" in block or f"{name}:" in block for name in minisqx.__all__)


def test_the_bare_repository_says_how_to_install_it(tmp_path):
    shutil.copytree(
        Path(minisqx.__file__).parent, tmp_path / "minisqx", ignore=shutil.ignore_patterns("kernels", "data", "__pycache__")
    )
    # Without site-packages, nothing knows where kernels and data are.
    done = python("-S", "-c", "import minisqx", cwd=tmp_path)
    assert done.returncode != 0 and "ImportError" in done.stderr and "pip install -e ." in done.stderr.splitlines()[-1]
    done = python("-S", "-m", "minisqx", "summary", cwd=tmp_path)
    assert done.returncode != 0 and done.stderr.count("\n") == 1 and "pip install -e ." in done.stderr
