"""Compiled kernels are a cache and nothing more: whatever is wrong with the folder costs compile time and one line."""

import os
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding as llvm

from minisqx.kernels import jit


def twice(x):
    return 2 * x


def fresh():
    """The kernel as a new process would have it."""
    return jit.njit(twice)


@pytest.fixture
def lines(monkeypatch):
    """What is told of the folder."""
    told: list[str] = []
    monkeypatch.setattr(jit, "_say", told.append)
    monkeypatch.setattr(jit, "_tell", None)
    return told


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(jit, "_folder", tmp_path)
    return tmp_path


def entry(folder):
    (path,) = folder.glob("*.nbc")
    return path


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "garbage": lambda data: np.random.default_rng(0).bytes(len(data)),
    "a flipped bit in the sum": lambda data: flip(data, 5),
    "a flipped bit in the code": lambda data: flip(data, len(data) // 2),
    "a flipped last bit": lambda data: flip(data, len(data) - 1),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_entry_is_told_in_one_line_compiled_again_and_healed(folder, lines, kind):
    assert fresh()(3) == 6
    path = entry(folder)
    good = path.read_bytes()
    path.write_bytes(DAMAGE[kind](good))
    assert fresh()(3) == 6
    assert len(lines) == 1 and str(path) in lines[0] and "\n" not in lines[0]
    jit.on_fault(lines.append)
    assert len(path.read_bytes()) > 1000 and fresh()(3) == 6 and len(lines) == 1


def test_an_entry_of_other_types_or_of_another_kernel_is_not_run(folder, lines):
    assert fresh()(3) == 6
    whole = entry(folder)
    kept = whole.read_bytes()
    whole.unlink()
    assert fresh()(1.5) == 3.0
    entry(folder).write_bytes(kept)
    assert fresh()(1.5) == 3.0
    assert len(lines) == 1 and "another kernel's" in lines[0]


def test_code_shares_nothing_with_other_code_and_callees_get_none_of_their_own(folder):
    """A function under one weak name in two kernels would be run by both as the first to be met has it."""

    @jit.njit
    def callee(n):  # calls itself, so it stays a function
        return n if n < 2 else callee(n - 1) + callee(n - 2)

    @jit.njit
    def kernel(n):
        return callee(n) + 1

    assert kernel(10) == 56
    (compiled,) = kernel.overloads.values()
    names = {function.name: function.linkage for function in compiled.library.get_defined_functions()}
    copies = [linkage for name, linkage in names.items() if "6callee" in name]
    assert copies and set(copies) == {llvm.Linkage.internal}
    assert len(list(folder.glob("*.nbc"))) == 1
    (part,) = callee.overloads.values()
    assert not part.library._is_code
    assert callee(10) == 55  # from Python: now there is
    assert len(list(folder.glob("*.nbc"))) == 2


def test_every_signature_has_a_file_of_its_own_whoever_writes_first(folder, lines):
    """Numba numbers them, so two processes would take the same name for two signatures."""
    assert fresh()(1.5) == 3.0
    first = entry(folder)
    kept = first.read_bytes()
    first.unlink()
    assert fresh()(3) == 6 and fresh()(1.5) == 3.0
    assert len(list(folder.glob("*.nbc"))) == 2 and len(first.read_bytes()) == len(kept) and not lines


def test_what_cannot_be_written_is_told_in_one_line(folder, lines, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jit, "replace_file", full)
    assert fresh()(3) == 6 and fresh()(1.5) == 3.0
    assert len(lines) == 1 and "No space left" in lines[0] and "MINISQX_CACHE" in lines[0]


def test_where_nothing_can_be_kept_this_is_said_in_the_place_of_only_this_once(folder, lines, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jit, "replace_file", full)
    jit.before_compiling(lambda: lines.append("compiling, only this once"))
    assert fresh()(3) == 6
    assert len(lines) == 1 and "No space left" in lines[0]


def test_a_full_folder_is_read_also_where_it_cannot_be_written(folder, lines, monkeypatch):
    assert fresh()(3) == 6

    def read_only(path, data):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(jit, "replace_file", read_only)
    jit.before_compiling(lambda: lines.append("compiling"))
    kernel = fresh()
    assert kernel(3) == 6 and not lines
    jit.before_compiling(lambda: None)


def open_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path))
    return jit._open_folder()


def test_the_folder_is_this_users_alone(monkeypatch, tmp_path):
    path, error = open_folder(monkeypatch, tmp_path / "cache")
    assert error is None and path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_a_folder_that_others_could_write_to_is_not_used(monkeypatch, tmp_path):
    path, _ = open_folder(monkeypatch, tmp_path)
    for mode in (0o777, 0o720, 0o702):
        path.chmod(mode)
        found, error = open_folder(monkeypatch, tmp_path)
        assert found is None and "others may write" in str(error)
    path.chmod(0o755)
    assert open_folder(monkeypatch, tmp_path) == (path, None)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(monkeypatch, tmp_path):
    path, _ = open_folder(monkeypatch, tmp_path)
    os.chown(path, 1234, -1)
    found, error = open_folder(monkeypatch, tmp_path)
    assert found is None and "another user" in str(error)


def test_a_file_in_the_folders_place_is_left_alone(monkeypatch, tmp_path):
    (tmp_path / "kernels").write_text("mine")
    path, error = open_folder(monkeypatch, tmp_path)
    assert path is None and isinstance(error, OSError) and (tmp_path / "kernels").read_text() == "mine"


def test_without_a_home_there_is_no_folder_and_no_error(monkeypatch):
    def homeless():
        raise OSError("there is no home folder for a cache")

    monkeypatch.setattr(jit, "cache_root", homeless)
    path, error = jit._open_folder()
    assert path is None and "home" in str(error)


def test_without_a_folder_kernels_run_the_line_is_on_stderr_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "cache").write_text("a file")
    code = (
        f"import os; from minisqx.kernels import jit; os.chdir({str(tmp_path)!r});"
        " print([jit.njit(lambda x: 2 * x)(x) for x in (3, 1.5)], jit.folder())"
    )
    environment = os.environ | {"MINISQX_CACHE": str(tmp_path / "cache")}
    for stream, expected in (("", 1), ("2>&-", 0)):
        command = f'exec "{sys.executable}" -W error -c "{code}" {stream}'
        done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and done.stdout == "[6, 3.0] None\n", done.stderr
        assert len(done.stderr.splitlines()) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
