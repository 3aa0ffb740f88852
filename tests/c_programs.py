"""Exported C, compiled and run: by the machine's compilers, and by cross-compilers under QEMU."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
# With these, results have the same bits everywhere.
EXACT = ("-O2", "-ffp-contract=off")
# Reads images, and writes the logits and the probabilities of each. The memory is full of NaN first: an export must not read it.
DRIVER = """
#include "net.h"
#include <stdio.h>
#include <string.h>

static uint8_t rgb[3 * NET_HEIGHT * NET_WIDTH];
static net_memory memory;

int main(void)
{
    float out[NET_CLASSES];
    while (fread(rgb, sizeof rgb, 1, stdin) == 1) {
        memset(&memory, 0xff, sizeof memory);
        net_logits(rgb, out, &memory);
        fwrite(out, sizeof out, 1, stdout);
        net_infer(rgb, out, &memory);
        fwrite(out, sizeof out, 1, stdout);
    }
    return 0;
}
"""
STATIC_DRIVER = (
    DRIVER.replace(", &memory)", ")")
    .replace("static net_memory memory;", "")
    .replace("        memset(&memory, 0xff, sizeof memory);\n", "")
)


@dataclass(frozen=True)
class Compiler:
    """command: the compiler, and what it needs for a program that `emulator` runs. package: Debian's, which has it."""

    command: Sequence[str]
    package: str
    emulator: Sequence[str] = field(default=())

    def require(self) -> None:
        """Skips the test where the compiler or the emulator is missing."""
        for program, package in ((self.command[0], self.package), *((name, "qemu-user") for name in self.emulator[:1])):
            if shutil.which(program) is None:
                pytest.skip(f"there is no {program}: install Debian's {package}")


COMPILERS = {
    "gcc": Compiler(["gcc"], "gcc"),
    "clang": Compiler(["clang"], "clang"),
    "arm": Compiler(["arm-linux-gnueabihf-gcc", "-static"], "gcc-arm-linux-gnueabihf", ["qemu-arm"]),
    "aarch64": Compiler(["aarch64-linux-gnu-gcc", "-static"], "gcc-aarch64-linux-gnu", ["qemu-aarch64"]),
}


def compiled(folder: Path, compiler: str, *flags: str, driver: str = DRIVER) -> Path:
    """Compiles folder/net.c with a driver; skips the test without that compiler."""
    used = COMPILERS[compiler]
    used.require()
    program = folder / f"{compiler}{''.join(flags).replace('/', '')}"
    (folder / "driver.c").write_text(driver)
    subprocess.run([*used.command, *WARNINGS, *flags, "-o", program, folder / "net.c", folder / "driver.c"], check=True)
    return program


def outputs(program: Path, compiler: str, images: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(logits, probabilities) float32 (N, classes) of images uint8 (N, H, W, 3)."""
    command = [*COMPILERS[compiler].emulator, program]
    run = subprocess.run(command, input=images.tobytes(), stdout=subprocess.PIPE, check=True)
    found = np.frombuffer(run.stdout, "<f4").reshape(len(images), 2, classes)
    return found[:, 0], found[:, 1]
