"""The memory of reading an image: `python -m tests.stress.image_memory --side 2500`. Linux only.

Prints for every format and pixel type the peak memory in bytes per pixel, without that of an idle process: for `load_image(path)`
and for `load_image(path, (32, 32))`, as in `infer`. Exits with 1 if one exceeds `MAX_BYTES_PER_PIXEL`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

# Slightly over the measured 17 bytes per pixel, which are 1.2 GB for the largest image that is read.
MAX_BYTES_PER_PIXEL = 18

CASES = {
    "JPEG": ("JPEG", "RGB", {}),
    "JPEG, turned": ("JPEG", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    "JPEG, grey": ("JPEG", "L", {}),
    "JPEG, progressive 4:4:4": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "JPEG, progressive CMYK": ("JPEG", "CMYK", {"progressive": True}),
    "PNG": ("PNG", "RGB", {"compress_level": 1}),
    "PNG, 1 bit": ("PNG", "1", {"compress_level": 1}),
    "PNG, alpha": ("PNG", "RGBA", {"compress_level": 1}),
    "PNG, palette": ("PNG", "P", {"compress_level": 1}),
    "PNG, 16 bits": ("PNG", "I;16", {"compress_level": 1}),
    "BMP": ("BMP", "RGB", {}),
    "GIF": ("GIF", "P", {}),
    "PPM": ("PPM", "RGB", {}),
    "PPM, 16 bits": ("PPM", "I;16", {}),
    "PPM, fractions": ("PPM", "F", {}),
    "TIFF": ("TIFF", "RGB", {}),
    "TIFF, turned": ("TIFF", "RGB", {"tiffinfo": {274: 6}}),
    "TIFF, CMYK, LZW": ("TIFF", "CMYK", {"compression": "tiff_lzw"}),
    "TIFF, LAB": ("TIFF", "LAB", {}),
    "WebP": ("WEBP", "RGB", {"method": 0}),
    "WebP, lossless, alpha": ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
    "TIFF, fax": ("TIFF", "1", {"compression": "group4"}),
    "AVIF": ("AVIF", "RGB", {"speed": 10}),
    "AVIF, 4:4:4, alpha": ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
}


def make(path: Path, side: int, file_format: str, mode: str, options: dict) -> None:
    """Writes an image of noise in blocks of 4 x 4 pixels, so that the file is neither tiny nor slow to write."""
    small = np.random.default_rng(0).integers(0, 256, (side // 4 + 1, side // 4 + 1, 4), np.uint8)
    noise = small.repeat(4, 0).repeat(4, 1)[:side, :side]
    if mode in ("F", "I;16"):
        picture = Image.fromarray(noise[:, :, 0].astype(np.float32 if mode == "F" else np.uint16) * (1 if mode == "F" else 257))
    elif mode in ("RGBA", "CMYK"):
        picture = Image.frombytes(mode, (side, side), noise.tobytes())
    elif mode == "LAB":
        picture = Image.frombytes(mode, (side, side), noise[:, :, :3].tobytes())
    else:
        picture = Image.fromarray(noise[:, :, :3].copy()).convert(mode)
    picture.save(path, file_format, **options)


def measure(path: str, fitted: bool) -> int:
    """Peak memory in bytes, less that of a process that has read a small image."""
    from minisqx.images.load import load_image

    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small"
        for case in CASES.values():
            make(small, 64, *case)
            load_image(small)
            load_image(small, (32, 32))  # loads the kernels, too
    before = peak_memory(reset=True)
    load_image(path, (32, 32) if fitted else None)
    return peak_memory() - before


def peak_memory(reset: bool = False) -> int:
    """This process's peak resident memory in bytes; reset: measure from now on."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.image_memory", description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2500, help="side of the images in pixels (default: 2500)")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "HOW"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(measure(args.measure[0], args.measure[1] == "fitted"))
        return 0
    worst = 0.0
    print(f"{'format':26}{'file':>8}{'array':>8}{'infer':>8}   (bytes per pixel, images of {args.side} x {args.side})")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        for name, case in CASES.items():
            make(path, args.side, *case)
            row = [path.stat().st_size]
            for how in ("array", "fitted"):
                command = [sys.executable, "-m", "tests.stress.image_memory", "--measure", str(path), how]
                row.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            pixels = args.side**2
            print(f"{name:26}" + "".join(f"{value / pixels:8.1f}" for value in row), flush=True)
            worst = max(worst, *(value / pixels for value in row[1:]))
    print(f"worst: {worst:.1f}; expected at most {MAX_BYTES_PER_PIXEL}")
    return worst > MAX_BYTES_PER_PIXEL


if __name__ == "__main__":
    sys.exit(main())
