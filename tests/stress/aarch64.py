"""The numeric tests on 64-bit ARM, emulated: `sudo python -m tests.stress.aarch64 --folder FOLDER`.

Unpacks Debian for arm64 into FOLDER (600 MB, once), and installs this checkout and aarch64 wheels in it, both without emulation,
since Python needs no set-up. Then it runs there, under qemu-user: `minisqx info`, one `minisqx infer`, `tests.stress.cpus
--write`, and the numeric tests file by file. Prints the results, and exits with 1 if anything failed or timed out. Kernels are
compiled under emulation, too, but only once.

It needs Linux, root, pip, and Debian's packages debootstrap and qemu-user-static. Mounts are private to each emulated command
and end with it; only qemu's registration in binfmt_misc remains, which the package itself makes on systems with systemd.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path

from PIL import Image

from minisqx.data.shapes import draw_shapes

TOP = Path(__file__).parents[2]
# Test files, as in tests/test_NAME.py.
TESTS = (
    "inference",
    "kernels_product",
    "kernels_activation",
    "kernels_im2col",
    "kernels_max_pool",
    "golden",
    "gradients",
    "naive",
    "initial_weights",
    "kernels_convolution",
    "kernels_classifier",
    "kernels_batch_norm",
    "kernels_channels_last",
    "kernels_dropout",
    "kernels_inference",
    "kernels_layout",
    "kernels_residual",
    "kernels_resize",
    "kernels_sampling",
    "kernels_windows",
    "squeezenet",
    "layer_gradients",
    "determinism",
)
BINFMT = Path("/proc/sys/fs/binfmt_misc")
REGISTRATION = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
# The glibc versions of wheels, up to bookworm's.
PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37))]
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONPATH": "/packages",
    "PYTHONUNBUFFERED": "1",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "MINISQX_CACHE": "/cache",
}
# Own mount and process namespaces: no process that is started here outlives it.
ISOLATED = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
ENTER = """
mount -t proc proc "$0/proc" && mount --bind "$0/cpuinfo" "$0/proc/cpuinfo" && mount --rbind /dev "$0/dev" &&
exec chroot "$0" env --chdir=/checks "$@"
"""
# qemu shows the host's; LLVM selects instructions by this file, so it is that of a Raspberry Pi 5 (Cortex-A76).
CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1
"""


class Machine:
    """An emulated ARM computer whose disk is the folder `root`."""

    def __init__(self, folder: Path):
        self.folder, self.root = folder, folder / "root"

    def run(self, *command: str, minutes: float = 60, **options) -> subprocess.CompletedProcess:
        """Runs a command in it. Raises CalledProcessError if it fails, TimeoutExpired after `minutes`."""
        options = {"check": True, "text": True, "env": ENVIRONMENT, "timeout": 60 * minutes} | options
        return subprocess.run([*ISOLATED, "sh", "-c", ENTER, str(self.root), *command], **options)

    def build(self, suite: str, mirror: str) -> None:
        """Builds a minimal Debian with Python and OpenMP, unless it is complete."""
        complete = self.root / "complete"
        if complete.exists():
            return
        shutil.rmtree(self.root, ignore_errors=True)
        options = ["--arch=arm64", "--variant=minbase", "--foreign", "--include=python3,libgomp1"]
        subprocess.run(["debootstrap", *options, suite, str(self.root), mirror], check=True, stdout=subprocess.DEVNULL)
        for package in sorted((self.root / "var/cache/apt/archives").glob("*.deb")):
            tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", str(self.root)], input=tar, check=True)
        for name in ("proc", "dev"):
            # In a container, debootstrap leaves links to the host's folders.
            if (self.root / name).is_symlink():
                (self.root / name).unlink()
            (self.root / name).mkdir(exist_ok=True)
        (self.root / "cpuinfo").write_text(CPUINFO)
        complete.touch()

    def install(self) -> None:
        """Installs this checkout, its requirements and pytest; and the tests in a folder without the package's sources."""
        project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
        wanted = [name for name in project["optional-dependencies"]["dev"] if name.startswith("pytest")]
        python = os.readlink(self.root / "usr/bin/python3").removeprefix("python")
        packages, checks = self.root / "packages", self.root / "checks"
        for folder in (packages, checks):
            shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        platforms = [f"--platform={platform}" for platform in PLATFORMS]
        versions = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]
        with tempfile.TemporaryDirectory(prefix="minisqx-checkout-") as name:
            checkout = copy_checkout(Path(name, "checkout"))
            subprocess.run([*pip, "wheel", "--no-deps", f"--wheel-dir={name}", str(checkout)], check=True)
            (wheel,) = Path(name).glob("*.whl")
            subprocess.run([*pip, "install", f"--target={packages}", *versions, str(wheel), *wanted], check=True)
            shutil.move(checkout / "tests", checks / "tests")
            shutil.copy(checkout / "pyproject.toml", checks)

    def test(self, name: str, minutes: float) -> Counter:
        """Runs a test file. Returns the number of tests by outcome, and "stopped": 1 if it timed out."""
        log = self.folder / f"test_{name}.log"
        command = ["python3", "-m", "pytest", "-vv", "-p", "no:cacheprovider", f"tests/test_{name}.py"]
        with log.open("w") as file:
            try:
                done = self.run(*command, minutes=minutes, check=False, stdout=file, stderr=subprocess.STDOUT)
                ended = {"crashed": 1} if done.returncode not in (0, 1) else {}
            except subprocess.TimeoutExpired:
                ended = {"stopped": 1}
        return count(log.read_text()) + Counter(ended)


def count(output: str) -> Counter:
    """Tests by outcome in the output of `pytest -vv`, which may be incomplete."""
    return Counter(
        outcome.lower() for outcome in re.findall(r"^tests/\S+::.* (PASSED|FAILED|ERROR|SKIPPED)\b", output, re.MULTILINE)
    )


def copy_checkout(folder: Path) -> Path:
    """Copies the tracked files in their current state."""
    for name in subprocess.run(["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, folder / name)
    return folder


def host_mirror() -> tuple[str, str]:
    """(suite, mirror) of the first source in this machine's apt configuration."""
    command = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines() if shutil.which("apt-get") else []
    if not lines:
        raise SystemExit("apt has no Debian mirror here; give --suite and --mirror")
    suite, mirror = lines[0].split()
    return suite, mirror


def prepare_emulation() -> None:
    """Registers qemu with the kernel for ARM programs. Raises SystemExit if something is missing."""
    if os.geteuid() != 0:
        raise SystemExit("this builds a root file system: run it as root")
    missing = [tool for tool in ("debootstrap", "unshare", "qemu-aarch64-static") if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"there is no {' and no '.join(missing)}: apt-get install debootstrap qemu-user-static")
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=True)
    if not (BINFMT / "qemu-aarch64").exists():
        (BINFMT / "register").write_text(REGISTRATION.read_text().strip())


def infer(machine: Machine) -> bool:
    """Whether the included weights give the same prediction in the emulated machine as here."""
    picture = machine.root / "checks/shape.png"
    Image.fromarray(draw_shapes().test.images[0]).resize((100, 80)).save(picture)
    here = subprocess.run([sys.executable, "-m", "minisqx", "infer", str(picture)], cwd=TOP, capture_output=True, text=True)
    there = machine.run("python3", "-m", "minisqx", "infer", "shape.png", check=False, capture_output=True)
    answers = [done.stdout.replace(str(picture), picture.name).strip() for done in (here, there)]
    print("infer here: ", answers[0], here.stderr, sep="\n")
    print("infer there:", answers[1], there.stderr, sep="\n", flush=True)
    return answers[0] == answers[1] != ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress.aarch64", description="The numeric tests on 64-bit ARM, emulated."
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir(), "minisqx-aarch64"), help="(default: %(default)s)"
    )
    parser.add_argument("--suite", help="Debian's suite, with --mirror (default: this machine's)")
    parser.add_argument("--mirror", help="Debian's mirror (default: that of this machine's apt)")
    parser.add_argument("--tests", nargs="*", default=TESTS, metavar="NAME", help="test files, as in tests/test_NAME.py")
    parser.add_argument("--minutes", type=float, default=60, help="time limit per test file (default: %(default)s)")
    arguments = parser.parse_args()
    prepare_emulation()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    machine, began = Machine(arguments.folder), time.monotonic()
    suite, mirror = (arguments.suite, arguments.mirror) if arguments.mirror else host_mirror()
    machine.build(suite, mirror)
    machine.install()
    machine.run("python3", "-m", "minisqx", "info")
    same = infer(machine)
    machine.run("python3", "-m", "tests.stress.cpus", "--write", "aarch64.npz")
    shutil.copy(machine.root / "checks/aarch64.npz", arguments.folder)
    total = Counter()
    for name in arguments.tests:
        started = time.monotonic()
        outcomes = machine.test(name, arguments.minutes)
        total += outcomes
        print(f"test_{name}: {in_words(outcomes)}, {time.monotonic() - started:.0f} s", flush=True)
    answer = "the same answer as here" if same else "ANOTHER ANSWER than here"
    print(f"aarch64: {in_words(total)} in {len(arguments.tests)} files of tests; infer gives {answer}")
    print(f"{(time.monotonic() - began) / 60:.0f} minutes; logs and aarch64.npz are in {arguments.folder}")
    return 0 if same and total and not total.keys() - {"passed", "skipped"} else 1


def in_words(outcomes: Counter) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()) or "nothing ran"


if __name__ == "__main__":
    sys.exit(main())
