"""Two ranks as two hosts, in network namespaces with a set delay and speed: `python -m tests.stress.hosts --delay-us 100`.

Runs `benchmarks.ranks` in them, which prints the measured time of a step beside the predicted one. Needs root, `ip`, a C
compiler, and MPICH. The cable is `delay_line.c`, since not every kernel has `tc netem`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import mpi_runs

NAMES = ("minisqx-a", "minisqx-b")
MTU = 65_000


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def hosts(delay: float, speed: float) -> Iterator[None]:
    """Two namespaces with a cable between them. delay: microseconds. speed: megabytes a second."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "delay_line")
        subprocess.run(["gcc", "-O2", "-o", program, str(Path(__file__).parent / "delay_line.c")], check=True)
        for name in NAMES:
            ip("netns", "add", name)
        cable = None
        try:
            cable = subprocess.Popen([program, *NAMES, str(delay), str(speed)], stdout=subprocess.PIPE, text=True)
            assert cable.stdout is not None and cable.stdout.readline() == "ready\n"
            for number, name in enumerate(NAMES, start=1):
                inside = ("netns", "exec", name, "ip")
                ip(*inside, "address", "add", f"10.77.0.{number}/24", "dev", "cable")
                ip(*inside, "link", "set", "cable", "mtu", str(MTU), "up")
                ip(*inside, "link", "set", "lo", "up")
            yield
        finally:
            if cable is not None:
                cable.kill()
                cable.wait()
            for name in NAMES:
                ip("netns", "delete", name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.hosts", description=__doc__.splitlines()[0])
    parser.add_argument("--delay-us", type=float, default=100, metavar="US", help="of each way (default: 100)")
    parser.add_argument("--speed-mbs", type=float, default=1250, metavar="MB/S", help="of each way (default: 1250, 10 Gbit/s)")
    parser.add_argument("words", nargs="*", metavar="WORD", help="of benchmarks.ranks, after --")
    chosen = parser.parse_args(arguments)
    if mpi_runs.missing():
        raise SystemExit(mpi_runs.missing())
    # No shared memory between the ranks, although they are on one machine.
    settings = os.environ | {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp", "UCX_NET_DEVICES": "cable"}
    words = [str(mpi_runs.LAUNCHER)]
    for name in NAMES:
        words += [*([":"] if len(words) > 1 else []), "-n", "1", "ip", "netns", "exec", name, sys.executable]
        words += ["-m", "benchmarks.ranks", *chosen.words]
    with hosts(chosen.delay_us, chosen.speed_mbs):
        print(f"delay {chosen.delay_us:g} us, {chosen.speed_mbs:g} MB/s", flush=True)
        return subprocess.run(words, env=settings, cwd=mpi_runs.REPOSITORY, timeout=240).returncode


if __name__ == "__main__":
    sys.exit(main())
