"""Every crafted weights file, data set and archive of `hostile_files.py` is refused with one line, or read, as it says."""

import ast
from pathlib import Path

import pytest

import minisqx
import minisqx.data
import minisqx.kernels
from minisqx.checkpoint import load_checkpoint
from minisqx.data import open_dataset
from minisqx.errors import CheckpointError, DataError
from tests.hostile_files import HOSTILE


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: f"{hostile.kind}: {hostile.name}")
def test_a_hostile_file_is_refused_or_read_right(hostile, tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given"
    hostile.build(path)
    read, error = (load_checkpoint, CheckpointError) if hostile.kind == "weights" else (_open, DataError)
    if hostile.expected is None:
        read(path)
    else:
        with pytest.raises(error) as caught:
            read(path)
        line = str(caught.value)
        assert "\n" not in line and "given" in line and len(line) < 1000
        assert any(words in line for words in hostile.expected.split("|")), line
    assert not (tmp_path / "it-ran").exists()


def _open(path):
    open_dataset(path, say=lambda line: None)


def test_there_are_as_many_as_promised_and_their_names_differ():
    assert len({(hostile.kind, hostile.name) for hostile in HOSTILE}) == len(HOSTILE) >= 100


RUNS_WHAT_IT_READS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "runpy", "code"}


def test_nothing_that_is_read_is_ever_unpickled_or_run():
    """Compiled kernels in the cache folder are the one exception: they are code, and Numba keeps them so."""
    folders = [Path(package.__file__).parent for package in (minisqx, minisqx.data, minisqx.kernels)]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    assert len(files) > 50
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").split(".")[0]]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id] if node.func.id in ("eval", "exec", "compile", "__import__") else []
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                names = ["pickle"]
            wrong = RUNS_WHAT_IT_READS.union(("eval", "exec", "compile", "__import__")).intersection(names)
            assert not wrong or (file.parent.name, file.name) == ("compiler", "cache.py"), f"{file.name}: {wrong}"
