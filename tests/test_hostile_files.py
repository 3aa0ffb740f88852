"""Every crafted weights file, data set and archive of `hostile_files.py` is refused with one line, or read, as it says."""

import pytest

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
