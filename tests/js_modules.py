"""Exported JavaScript modules, run by Node.js."""

import json
import subprocess
from pathlib import Path
from shutil import which

import numpy as np
import pytest

RUN = """
import { readFileSync } from "node:fs";
import { load } from "./net.mjs";

const network = await load();
const bytes = readFileSync("images.bin"), size = 3 * network.height * network.width;
const found = [];
for (let at = 0; at < bytes.length; at += size) found.push(network.logits(bytes.subarray(at, at + size)));
console.log(JSON.stringify(found));
"""


def node(folder: Path, script: str, *arguments) -> list:
    """What a script prints, which imports folder/net.mjs; skips the test without Node.js."""
    if which("node") is None:
        pytest.skip("there is no node: install Debian's nodejs")
    (folder / "run.mjs").write_text(script)
    command = ["node", "run.mjs", *map(str, arguments)]
    return json.loads(subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)


def module_logits(folder: Path, images: np.ndarray) -> np.ndarray:
    """Logits float64 (N, classes) by folder/net.mjs of images uint8 (N, H, W, 3)."""
    images.tofile(folder / "images.bin")
    return np.array(node(folder, RUN))
