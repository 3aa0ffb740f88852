"""Names what a camera sees, as long as it is sure.

    python edge_camera.py frames/                  the images of a folder, in the order of their names
    python edge_camera.py frames/ --follow         and those that another program still writes into it
    python edge_camera.py 0                        camera 0, by OpenCV (pip install opencv-python-headless)
    python edge_camera.py rtsp://camera/stream     a stream or a film, by OpenCV

A line is printed when the class changes: the time, the frame, the class, its probability. Probabilities are averages over the
last frames, so one bad frame changes nothing. Every ten seconds a line on stderr says how many frames a second were named.
SIGTERM and Ctrl-C end it.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import minisqx
from minisqx.errors import ImageError

NONE = "none"  # no class reaches the threshold
WAIT = 0.05  # seconds between two looks into a folder
HALF_WRITTEN = 2.0  # seconds for which a file that can't be read may still be written
REPORT = 10.0  # seconds

Frame = tuple[str, Path | np.ndarray]  # its name, and its file or its pixels


class Smoother:
    """The average of probabilities over frames, in which a frame counts half as much after `half_life` more frames."""

    def __init__(self, half_life: float) -> None:
        self._keep = 0.5 ** (1 / half_life) if half_life else 0.0
        self._sum, self._weight = 0.0, 0.0

    def add(self, probabilities: np.ndarray) -> np.ndarray:
        """The average after this frame, (classes,)."""
        self._sum = self._keep * self._sum + probabilities
        self._weight = self._keep * self._weight + 1
        return self._sum / self._weight


def folder_frames(folder: Path, follow: bool) -> Iterator[Frame]:
    """The files of a folder by name. follow: waits for more, whose names must come after those before."""
    last = ""
    while True:
        new = sorted(entry.name for entry in os.scandir(folder) if entry.name > last and entry.is_file())
        for name in (name for name in new if not name.startswith(".")):
            last = name
            yield name, folder / name
        if not follow:
            return
        if not new:
            time.sleep(WAIT)


def camera_frames(source: str) -> Iterator[Frame]:
    try:
        import cv2
    except ImportError:
        sys.exit("a camera needs OpenCV: pip install opencv-python-headless (or give a folder of frames)")
    camera = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not camera.isOpened():
        sys.exit(f"{source!r} can't be opened: expected a folder of frames, a camera's number, or a film or stream of OpenCV's")
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, where the driver allows it
    number = 0
    try:
        while True:
            found, frame = camera.read()
            if not found:
                return
            yield f"frame {number}", frame
            number += 1
    finally:
        camera.release()


def predict(model: minisqx.Model, frame: Path | np.ndarray, patient: bool) -> minisqx.Prediction | None:
    """The answer for a frame; None, with a line on stderr, if it can't be read. patient: a file may still be written."""
    while True:
        try:
            return model.infer(frame, bgr=not isinstance(frame, Path))  # OpenCV's frames have blue first
        except ImageError as error:
            is_new = patient and isinstance(frame, Path) and frame.exists() and time.time() - frame.stat().st_mtime < HALF_WRITTEN
            if not is_new:
                print(f"skipped: {error}", file=sys.stderr, flush=True)
                return None
            time.sleep(WAIT)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Names what a camera sees, as long as it is sure.")
    parser.add_argument("source", help="a folder of frames, or a camera's number, a film or a stream for OpenCV")
    text = "a checkpoint, such as runs/mine/best.h5 (default: %(default)s)"
    parser.add_argument("--model", default="shallow-06-0.2x", help=text)
    parser.add_argument("--threshold", type=float, default=0.6, help="the least probability of a class (default: %(default)s)")
    text = "frames after which a frame counts half as much; 0: no smoothing (default: %(default)s)"
    parser.add_argument("--half-life", type=float, default=3.0, help=text)
    parser.add_argument("--follow", action="store_true", help="wait for new files of the folder")
    args = parser.parse_args(arguments)
    if not 0 <= args.threshold <= 1 or not args.half_life >= 0:
        parser.error("expected a --threshold from 0 to 1 and a --half-life of 0 or more")
    signal.signal(signal.SIGTERM, lambda *given: sys.exit(0))  # so that a camera is released

    model = minisqx.load(args.model)
    is_folder = os.path.isdir(args.source)
    frames = folder_frames(Path(args.source), args.follow) if is_folder else camera_frames(args.source)
    smoother, shown, count, busy = Smoother(args.half_life), "", 0, 0.0
    began = reported = time.monotonic()

    def report() -> None:
        seconds = time.monotonic() - began
        rate = f"{count / seconds:.1f} frames a second" if seconds else "no time"
        speed = f"{1000 * busy / count:.2f} ms a frame to read and name it" if count else "no frames"
        print(f"{count} frames, {rate}; {speed}", file=sys.stderr, flush=True)

    try:
        for name, frame in frames:
            start = time.perf_counter()
            prediction = predict(model, frame, args.follow)
            busy += time.perf_counter() - start
            if prediction is None:
                continue
            count += 1
            average = smoother.add(prediction.probabilities)
            best = int(average.argmax())
            label = model.classes[best] if average[best] >= args.threshold else NONE
            if label != shown:
                print(f"{time.strftime('%H:%M:%S')}  {name}  {label}  {100 * average[best]:.1f} %", flush=True)
                shown = label
            if time.monotonic() - reported >= REPORT:
                report()
                reported = time.monotonic()
    except KeyboardInterrupt:
        pass
    finally:
        report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
