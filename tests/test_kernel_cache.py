"""Compiled kernels are a cache and nothing more: whatever is wrong with the folder costs compile time and one line."""

import os
import pkgutil
import py_compile
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numba
import numpy as np
import pytest
from llvmlite import binding as llvm

from minisqx.errors import OptionError
from minisqx.kernels.compiler import cache, identity, jit
from minisqx.machine import folders


def twice(x):
    return 2 * x


def fresh():
    """The kernel as a new process would have it."""
    return jit.njit(twice)


@pytest.fixture
def lines(monkeypatch):
    """What is told of the folder."""
    told: list[str] = []
    monkeypatch.setattr(cache, "_say", told.append)
    monkeypatch.setattr(cache, "_tell", None)
    return told


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_folder", tmp_path)
    monkeypatch.setattr(cache, "_system", None)
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
def test_a_damaged_entry_is_told_in_one_line_compiled_again_and_healed(folder, lines, kind, monkeypatch):
    assert fresh()(3) == 6
    path = entry(folder)
    good = path.read_bytes()
    path.write_bytes(DAMAGE[kind](good))
    assert fresh()(3) == 6
    assert len(lines) == 1 and str(path) in lines[0] and "\n" not in lines[0]
    monkeypatch.setattr(cache, "_say", lines.append)
    assert len(path.read_bytes()) > 1000 and fresh()(3) == 6 and len(lines) == 1


def test_an_entry_of_other_types_or_of_another_kernel_is_not_run(folder, lines):
    assert fresh()(3) == 6
    whole = entry(folder)
    kept = whole.read_bytes()
    whole.unlink()
    assert fresh()(1.5) == 3.0
    entry(folder).write_bytes(kept)
    assert fresh()(1.5) == 3.0
    assert len(lines) == 1 and "belongs to another kernel" in lines[0]


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


def test_every_signature_has_a_file_of_its_own_in_any_order_of_writes(folder, lines):
    """Numba numbers them, so two processes would take the same name for two signatures."""
    assert fresh()(1.5) == 3.0
    first = entry(folder)
    kept = first.read_bytes()
    first.unlink()
    assert fresh()(3) == 6 and fresh()(1.5) == 3.0
    assert len(list(folder.glob("*.nbc"))) == 2 and len(first.read_bytes()) == len(kept) and not lines


def test_what_cannot_be_written_is_told_in_one_line(folder, lines, monkeypatch):
    def full(path, *data, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "replace_file", full)
    assert fresh()(3) == 6 and fresh()(1.5) == 3.0
    assert len(lines) == 1 and "No space left" in lines[0] and "MINISQX_CACHE" in lines[0]


def test_where_nothing_can_be_kept_this_is_said_in_the_place_of_only_this_once(folder, lines, monkeypatch):
    def full(path, *data, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "replace_file", full)
    cache.before_compiling(lambda: lines.append("compiling, only this once"))
    assert fresh()(3) == 6
    assert len(lines) == 1 and "No space left" in lines[0]


def test_a_full_folder_is_read_also_where_it_cannot_be_written(folder, lines, monkeypatch):
    assert fresh()(3) == 6

    def read_only(path, *data, **settings):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cache, "replace_file", read_only)
    cache.before_compiling(lambda: lines.append("compiling"))
    kernel = fresh()
    assert kernel(3) == 6 and not lines
    cache.before_compiling(None)


def open_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path))
    return cache._open_folder()


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

    monkeypatch.setattr(cache, "cache_root", homeless)
    path, error = cache._open_folder()
    assert path is None and "home" in str(error)


def test_without_a_folder_kernels_run_and_nothing_but_a_line_is_left(tmp_path):
    (tmp_path / "cache").write_text("a file")
    code = (
        f"import os; from minisqx.kernels.compiler import cache, jit; os.chdir({str(tmp_path)!r});"
        " print([jit.njit(lambda x: 2 * x)(x) for x in (3, 1.5)], cache.folder())"
    )
    environment = os.environ | {"MINISQX_CACHE": str(tmp_path / "cache"), "MINISQX_QUIET": ""}
    for stream, expected in (("", 1), ("2>&-", 0)):
        command = f'exec "{sys.executable}" -W error -c "{code}" {stream}'
        done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and done.stdout == "[6, 3.0] None\n", done.stderr
        assert len(done.stderr.splitlines()) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


# What an entry is for.


CODE_SETTINGS = {
    "OPT": 0,
    "LOOP_VECTORIZE": 0,
    "SLP_VECTORIZE": 1,
    "ENABLE_AVX": 0,
    "DISABLE_INTEL_SVML": 1,
    "DEBUGINFO_DEFAULT": 1,
    "BOUNDSCHECK": 1,
    "CPU_NAME": "generic",
    "LLVM_REFPRUNE_PASS": 0,
    "FULL_TRACEBACKS": 1,  # adds to what a bounds check does
    "A_SETTING_OF_A_LATER_NUMBA": 1,
}


@pytest.mark.parametrize("name", CODE_SETTINGS)
def test_every_setting_of_numba_that_may_change_code_is_in_an_entrys_key(monkeypatch, name):
    before = identity.settings(numba.config)
    monkeypatch.setattr(numba.config, name, CODE_SETTINGS[name], raising=False)
    assert identity.settings(numba.config) != before


@pytest.mark.parametrize("name", ["NUMBA_NUM_THREADS", "CACHE_DIR", "DUMP_IR", "THREADING_LAYER", "CUDA_LOG_LEVEL", "HTML"])
def test_a_setting_that_leaves_code_as_it_is_compiles_nothing_again(monkeypatch, name):
    before = identity.settings(numba.config)
    monkeypatch.setattr(numba.config, name, "another")
    assert identity.settings(numba.config) == before


def test_code_of_other_settings_is_neither_run_nor_lost(folder, lines, monkeypatch):
    assert fresh()(3) == 6
    usual = entry(folder)
    monkeypatch.setattr(numba.config, "LOOP_VECTORIZE", 0)
    assert fresh()(3) == 6
    assert len(list(folder.glob("*.nbc"))) == 2 and usual.exists() and not lines


def package_with_rooms(folder):
    """A package that has a sub-package, as `kernels/` has `tiles/`, to put a module into."""
    room = folder / "tiles"
    room.mkdir(parents=True)
    for place in (folder, room):
        (place / "__init__.py").write_text("")
    return room


def source_files(folder, text):
    (folder / "product.py").write_text(text)


def byte_code_alone(folder, text):
    source_files(folder, text)
    py_compile.compile(str(folder / "product.py"), cfile=str(folder / "product.pyc"), doraise=True)
    (folder / "product.py").unlink()


def zipped(write):
    def done(folder, text):
        write(folder, text)
        package = folder.parent
        with zipfile.ZipFile(package.parent / "all.zip", "w") as archive:
            for file in package.rglob("*.py*"):
                archive.write(file, file.relative_to(package.parent))
                file.unlink()

    return done


FORMS = {
    "source": source_files,
    "byte code": byte_code_alone,
    "a zip of source": zipped(source_files),
    "a zip of byte code": zipped(byte_code_alone),
}


@pytest.mark.parametrize("form", FORMS)
def test_another_versions_kernels_have_another_folder_in_whatever_form(form, tmp_path, monkeypatch):
    found = []
    for number, constant in enumerate((3.0, 3.5, 3.0)):
        package = f"kernels_{number}"
        folder = package_with_rooms(tmp_path / str(number) / package)
        FORMS[form](folder, f"def f():\n    return 2 * {constant}")
        monkeypatch.syspath_prepend(str(tmp_path / str(number) / "all.zip" if "zip" in form else tmp_path / str(number)))
        found.append(identity.code_digest(package))
    assert found[0] != found[1]
    assert found[0] == found[2] or "byte code" in form  # which has its file's name and time


def test_another_versions_kernels_have_another_folder_in_a_frozen_program(tmp_path, monkeypatch):
    """There the code is, and no file."""
    plain = SourceFileLoader.get_data

    def get_data(loader, path):
        if path.startswith(str(tmp_path)) and path.endswith("product.py"):
            raise FileNotFoundError(path)
        return plain(loader, path)

    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for number, constant in enumerate(("{3.0, 'a', 'b'}", "{3.5, 'a', 'b'}", "{3.0, 'a', 'b'}")):
        folder = package_with_rooms(tmp_path / f"frozen_{number}")
        source_files(folder, f"def f(x):\n    return (lambda y: y in {constant})(x)")
        py_compile.compile(str(folder / "product.py"), doraise=True)
        with monkeypatch.context() as patch:
            patch.setattr(SourceFileLoader, "get_data", get_data)
            found.append(identity.code_digest(f"frozen_{number}"))
    assert found[0] == found[2] != found[1]


def test_without_any_code_to_tell_versions_apart_nothing_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(pkgutil, "iter_modules", lambda places: [])
    identity.name_of_all.cache_clear()
    try:
        found, error = open_folder(monkeypatch, tmp_path)
    finally:
        identity.name_of_all.cache_clear()
    assert found is None and "a change of their code would not be noticed" in str(error)


# The system's folder.


@pytest.fixture
def system(monkeypatch, tmp_path):
    """The system's folder, in a place of which the folders above seem to be root's alone."""
    if not hasattr(os, "getuid"):
        pytest.skip("there is none on Windows")
    root, plain = tmp_path / "system", os.stat

    def stat(path, **settings):
        above = not str(path).startswith(str(tmp_path))
        return plain("/", **settings) if above and isinstance(path, Path) else plain(path, **settings)

    monkeypatch.setattr(folders.os, "stat", stat)
    monkeypatch.setattr(cache, "system_cache", lambda: root)
    return root


def test_root_fills_the_systems_folder_and_others_may_read_it_and_no_more(system, folder, lines, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cache, "_refusal", None)
    before = os.umask(0o077)
    try:
        cache.fill_system_folder()
        assert fresh()(3) == 6
    finally:
        os.umask(before)
    path = cache.folder()
    assert path.is_relative_to(system) and entry(path).stat().st_mode & 0o777 == 0o644
    assert all(each.stat().st_mode & 0o777 == 0o755 for each in (system, system / "kernels", path))
    monkeypatch.setattr(cache, "_folder", folder)
    monkeypatch.setattr(cache, "_system", cache._open_system_folder()[0])
    cache.before_compiling(lambda: lines.append("compiling"))
    assert fresh()(3) == 6 and not lines and not list(folder.glob("*.nbc"))
    assert fresh()(1.5) == 3.0 and lines == ["compiling"] and len(list(folder.glob("*.nbc"))) == 1


def test_the_folder_above_the_systems_folder_is_made_or_the_fault_said(system, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("_folder", "_refusal", "_system", "_system_refusal"):
        monkeypatch.setattr(cache, name, getattr(cache, name))
    monkeypatch.setattr(cache, "system_cache", lambda: tmp_path / "var" / "cache" / "minisqx")
    (tmp_path / "var").write_text("in the way")
    before = os.umask(0o077)
    try:
        with pytest.raises(OptionError, match=r"^--system: '.*' can't be created \(.*\); expected"):
            cache.fill_system_folder()
        (tmp_path / "var").unlink()
        cache.fill_system_folder()
    finally:
        os.umask(before)
    assert cache.folder().is_relative_to(tmp_path / "var" / "cache" / "minisqx")


def test_only_root_fills_the_systems_folder(system, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OptionError, match="^--system: expected root"):
        cache.fill_system_folder()
    assert not system.exists()
    monkeypatch.setattr(cache, "system_cache", lambda: None)
    with pytest.raises(OptionError, match="^--system: not supported on this system"):
        cache.fill_system_folder()


@pytest.mark.parametrize("place", [".", "..", "../..", "../../.."])
def test_the_systems_folder_is_not_used_if_others_could_write_to_it_or_above_it(system, place):
    assert cache._open_system_folder() == (None, None)
    path = system / "kernels" / identity.name_of_all()
    path.mkdir(parents=True, mode=0o755)
    assert cache._open_system_folder() == (path, None)
    changed = (path / place).resolve()
    mode = changed.stat().st_mode
    for wrong in (0o775, 0o757, 0o1777):
        changed.chmod(wrong)
        found, error = cache._open_system_folder()
        assert found is None and f"others may write to {str(changed)!r}" in str(error)
    changed.chmod(mode)
    if os.getuid() == 0:
        os.chown(changed, 1234, -1)
        found, error = cache._open_system_folder()
        os.chown(changed, 0, -1)
        assert found is None and "belongs to another user" in str(error)


def test_a_link_to_a_folder_that_others_can_write_to_is_not_used(system, tmp_path):
    path, elsewhere = system / "kernels" / identity.name_of_all(), tmp_path / "elsewhere" / "mine"
    path.parent.mkdir(parents=True)
    elsewhere.mkdir(parents=True)
    path.symlink_to(elsewhere)
    assert cache._open_system_folder() == (elsewhere, None)
    elsewhere.parent.chmod(0o777)
    assert cache._open_system_folder()[0] is None


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_an_entry_that_others_could_write_to_is_not_run(folder, lines):
    assert fresh()(3) == 6
    path = entry(folder)
    path.chmod(0o646)
    assert fresh()(3) == 6
    assert len(lines) == 1 and "others may write to it" in lines[0] and path.stat().st_mode & 0o022 == 0


# What is said.


def test_compiling_is_told_in_one_line_on_stderr_unless_it_is_turned_off(folder, capsys, monkeypatch):
    monkeypatch.setattr(cache, "_tell", cache._announce)
    for quiet, expected in (("", 1), ("1", 0), ("0", 1)):
        monkeypatch.setenv("MINISQX_QUIET", quiet)
        monkeypatch.setattr(cache, "_last_compiled", float("-inf"))
        for kernel in (fresh(), jit.njit(lambda x: x + 1)):
            assert kernel(3) > 3
        assert capsys.readouterr().err.count("compiling kernels for this CPU") == expected
        for file in folder.glob("*.nbc"):
            file.unlink()


def test_kernels_that_are_compiled_later_are_told_of_again(folder, lines, monkeypatch):
    cache.before_compiling(lambda: lines.append("compiling"))
    assert fresh()(3) == 6 and fresh()(1.5) == 3.0 and lines == ["compiling"]
    monkeypatch.setattr(cache, "_last_compiled", cache._last_compiled - cache.PAUSE)
    assert fresh()(3j) == 6j and lines == ["compiling"] * 2
