"""`examples/edge`: the camera example, its service and its container."""

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from shutil import which

import numpy as np
import pytest

import minisqx
from minisqx.images.pillow import Image

EDGE = Path(__file__).parent.parent / "examples" / "edge"


@pytest.fixture(scope="module")
def edge():
    spec = importlib.util.spec_from_file_location("edge_camera", EDGE / "edge_camera.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Answers:
    """A model of two classes whose answers are given."""

    classes = ("left", "right")

    def __init__(self, shares):
        self._shares = iter(shares)

    def infer(self, frame, bgr):
        share = next(self._shares)
        return minisqx.Prediction(np.array([share, 1 - share]), self.classes)


def frames_in(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number:03}.png")
    return folder


def test_probabilities_are_averages_in_which_older_frames_count_less(edge):
    random = np.random.default_rng(0)
    frames = random.dirichlet(np.ones(4), 7)
    smoother = edge.Smoother(half_life=2)
    for number in range(1, 8):
        found = smoother.add(frames[number - 1])
        weights = 0.5 ** (np.arange(number)[::-1] / 2)
        assert np.allclose(found, np.average(frames[:number], axis=0, weights=weights), rtol=1e-12)
    plain = edge.Smoother(half_life=0)
    assert all(np.array_equal(plain.add(frame), frame) for frame in frames)


def test_a_line_is_printed_when_the_smoothed_class_changes(edge, tmp_path, monkeypatch, capsys):
    shares = [*[0.95] * 6, 0.2, 0.95, 0.95, *[0.05] * 8]  # one frame alone changes nothing
    monkeypatch.setattr(minisqx, "load", lambda name: Answers(shares))
    assert edge.main([str(frames_in(tmp_path / "in", len(shares))), "--threshold", "0.6"]) == 0
    printed = capsys.readouterr()
    assert [line.split()[2] for line in printed.out.splitlines()] == ["left", "none", "right"]
    assert f"{len(shares)} frames, " in printed.err


def test_frames_are_named_by_a_real_model_and_broken_ones_skipped(edge, tmp_path, capsys):
    folder = frames_in(tmp_path / "in", 3)
    (folder / "001.png").write_bytes(b"no image")
    assert edge.main([str(folder), "--threshold", "0", "--half-life", "0"]) == 0
    printed = capsys.readouterr()
    best = minisqx.infer(str(folder / "000.png"), "shallow-06-0.2x")
    assert f"000.png  {best.label}  {100 * best.probability:.1f} %" in printed.out
    assert "skipped" in printed.err and "2 frames, " in printed.err


def test_new_frames_are_followed_until_the_service_is_stopped(tmp_path):
    folder = frames_in(tmp_path / "in", 1)
    command = [sys.executable, str(EDGE / "edge_camera.py"), str(folder), "--follow", "--half-life", "0", "--threshold", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "000.png" in process.stdout.readline()
        half = folder / "001.png"
        content = (folder / "000.png").read_bytes()
        half.write_bytes(content[:40])
        time.sleep(0.2)
        half.write_bytes(content)
        noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)  # of another class than the dark frame
        Image.fromarray(noise).save(folder / ".002.png", "PNG")
        (folder / ".003.png").write_bytes(content)
        for name in ("002.png", "003.png"):
            os.replace(folder / f".{name}", folder / name)
            assert name in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "4 frames, " in errors and "skipped" not in errors


def test_a_camera_is_read_by_opencv_with_its_order_of_colours(edge, monkeypatch, capsys):
    class Camera:
        CAP_PROP_BUFFERSIZE = 38

        def __init__(self, source):
            assert source == 0
            self._left, self.released = 3, False

        def isOpened(self):
            return True

        def set(self, name, value):
            return True

        def read(self):
            self._left -= 1
            frame = np.zeros((32, 32, 3), np.uint8)
            frame[..., 0] = 255  # blue
            return self._left >= 0, frame

        def release(self):
            Camera.count = next(released)

    released = itertools.count(1)
    module = type(sys)("cv2")
    module.VideoCapture, module.CAP_PROP_BUFFERSIZE = Camera, 38
    monkeypatch.setitem(sys.modules, "cv2", module)
    assert edge.main(["0", "--threshold", "0", "--half-life", "0"]) == 0
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 2] = 255
    best = minisqx.infer(blue, "shallow-06-0.2x")
    printed = capsys.readouterr()
    assert f"frame 0  {best.label}  {100 * best.probability:.1f} %" in printed.out and Camera.count == 1
    assert "3 frames, " in printed.err


def test_without_opencv_a_camera_is_one_line(edge, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SystemExit, match="pip install opencv-python-headless"):
        edge.main(["0"])


def test_systemd_accepts_the_service(tmp_path):
    if which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: install Debian's systemd")
    text = (EDGE / "minisqx-camera.service").read_text(encoding="utf-8")
    service = tmp_path / "minisqx-camera.service"
    service.write_text(text.replace("/opt/minisqx/bin/python", sys.executable), encoding="utf-8")
    found = subprocess.run(["systemd-analyze", "verify", str(service)], capture_output=True, text=True)
    assert found.returncode == 0 and "minisqx-camera" not in found.stderr, found.stderr


def test_the_container_copies_what_the_repository_has(tmp_path):
    lines = (EDGE / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    names = [name for names in copied for name in names]
    assert "pyproject.toml" in names and all((EDGE.parent.parent / name).exists() for name in names)
    users = [line for line in lines if line.startswith("USER ")]
    warm = max(at for at, line in enumerate(lines) if "warmup --system" in line)
    assert users == ["USER camera"] and lines.index(users[0]) > warm
