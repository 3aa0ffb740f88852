"""Malicious weights files, data sets and archives, each with its expected outcome.

`test_hostile_files.py` tests all of them. `python -m tests.hostile_files FOLDER` writes them to a folder.
"""

import functools
import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD, Checkpoint, container, save_checkpoint
from minisqx.checkpoint.container import Span, pack, unpack
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.cifar10_files import binary_files, python_files, random_batches

SECRET = "/etc/hostname"
SPEC = SqueezeNextSpec(width=0.125)
IMAGES, LABELS = np.full((6, 8, 8, 3), 7, np.uint8), np.arange(6) % 2


class Hostile(NamedTuple):
    """build: writes the file to a path. expected: a pattern of the error; None if it must be read."""

    kind: str  # "weights" or "data"
    name: str
    build: Callable[[Path], object]
    expected: str | None


# Weights.


def _checkpoint(path: Path, spec: NetworkSpec = SPEC, **more) -> None:
    state = {name: np.ones(shape, np.float32) for name, shape in {**spec.parameter_shapes, **spec.buffer_shapes}.items()}
    described = {"classes": map(str, range(spec.num_classes)), "mean": CIFAR10_MEAN, "std": CIFAR10_STD}
    save_checkpoint(path, Checkpoint(spec, state, **described, **more))


@functools.cache
def _right() -> tuple[bytes, bytes]:
    """The payload and the index of a valid file."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        _checkpoint(Path(folder, "a.h5"))
        with open(Path(folder, "a.h5"), "rb") as file:
            contents = unpack(file)
            whole = Path(folder, "a.h5").read_bytes()
    payload, index = (whole[part.offset : part.offset + part.size] for part in (contents.payload, contents.index))
    return payload, index


def _by_h5py(change: Callable[[h5py.File, bytes, bytes], object], **options) -> Callable[[Path], object]:
    """A valid file after `change`, written by h5py, so that all of HDF5's checksums are right."""

    def build(path: Path) -> None:
        image, (payload, index) = io.BytesIO(), _right()
        with h5py.File(image, "w", **({"libver": ("v110", "v110")} | options)) as file:
            file.create_dataset("payload", data=np.frombuffer(payload, np.uint8))
            file.create_dataset("index", data=np.array(index, h5py.string_dtype("utf-8", len(index))))
            file.attrs["index_sha256"] = np.bytes_(hashlib.sha256(index).hexdigest())
            change(file, payload, index)
        path.write_bytes(image.getvalue())

    return build


def _other(name: str, make: Callable[[h5py.File, bytes], object]) -> Callable[[Path], object]:
    """A file whose object `name` is replaced by `make`."""

    def change(file: h5py.File, payload: bytes, index: bytes) -> None:
        del file[name]
        make(file, payload if name == "payload" else index)

    return _by_h5py(change)


def _payload(**options) -> Callable[[Path], object]:
    return _other("payload", lambda file, payload: file.create_dataset("payload", **_data(payload, options)))


def _data(payload: bytes, options: dict) -> dict:
    return options if "shape" in options else {"data": np.frombuffer(payload, np.uint8)} | options


def _virtual(file: h5py.File, payload: bytes) -> None:
    plan = h5py.VirtualLayout((len(payload),), np.uint8)
    plan[...] = h5py.VirtualSource(SECRET, "payload", (len(payload),))
    file.create_virtual_dataset("payload", plan)


def _compact(file: h5py.File, payload: bytes) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"payload", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((1000,)), plan)


def _linked(name: str, link: object) -> Callable[[Path], object]:
    return _other(name, lambda file, data: file.__setitem__(name, link))


def _attribute(value: object, **options) -> Callable[[Path], object]:
    def change(file: h5py.File, payload: bytes, index: bytes) -> None:
        del file.attrs["index_sha256"]
        file.attrs.create("index_sha256", file.ref if value is h5py.Reference else value, **options)

    return _by_h5py(change)


def _index(old: bytes, new: bytes) -> Callable[[Path], object]:
    """Another index, with a right checksum."""

    def build(path: Path) -> None:
        payload, index = _right()
        assert old in index
        path.write_bytes(pack(payload, index.replace(old, new, 1)))

    return build


def _entries(**entries) -> Callable[[Path], object]:
    def build(path: Path) -> None:
        payload, index = _right()
        path.write_bytes(pack(payload, json.dumps(json.loads(index) | entries).encode()))

    return build


def _network(**options) -> Callable[[Path], object]:
    """A valid description of a network without its tensors."""

    def build(path: Path) -> None:
        spec = SqueezeNextSpec(**options)
        layers = {layer.name: list(layer.parameter_shapes["weight"]) for layer in spec.layers}
        classes = list(map(str, range(spec.num_classes)))
        _entries(network=spec.to_dict(), layers=layers, classes=classes)(path)

    return build


def _structure(of_payload: Callable[[Span, Span], Span], root: Callable[[bytes], bytes] = lambda header: header):
    """A file with the payload's place from `of_payload`, given those of payload and index, and the root's header from `root`."""

    def build(path: Path) -> None:
        payload, index = _right()
        whole = pack(payload, index)
        path.write_bytes(whole)
        with open(path, "rb") as file:
            contents = unpack(file)
        old = container._header(container._dataset("payload", contents.payload))
        new = container._header(container._dataset("payload", of_payload(contents.payload, contents.index)))
        whole = whole.replace(old, new)
        end = whole.index(b"OHDR", 60)
        path.write_bytes(whole[:48] + root(whole[48:end]) + whole[end:])

    return build


def _endless(header: bytes) -> bytes:
    """A header that continues at its own beginning."""
    link = struct.pack("<BHB2Q", container._CONTINUATION, 16, 0, 48, len(header))
    body = header[8:-4]
    return container._summed(header[:8] + link + body[len(link) :])


def _ended(tail: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pack(*_right()) + tail)


def _zip() -> bytes:
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w") as archive:
        archive.writestr("archive/data.pkl", _trap(0))
    return image.getvalue()


def _sparse(start: bytes, size: int) -> Callable[[Path], object]:
    def build(path: Path) -> None:
        with open(path, "wb") as file:
            file.write(start)
            file.truncate(size)

    return build


def _content(content: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content())


class _Trap:
    def __reduce__(self):
        return os.system, ("touch it-ran",)


def _trap(protocol: int) -> bytes:
    return pickle.dumps({"data": _Trap()}, protocol=protocol)


_DEEP = b'"provenance":' + 200_000 * b"[" + 200_000 * b"]"
_WIDE = b'"provenance":{"a":[' + b"[0]," * 1_000_000 + b"0]}"

WEIGHTS = [
    Hostile("weights", name, build, expected)
    for name, build, expected in (
        ("payload behind a link to another file", _linked("payload", h5py.ExternalLink(SECRET, "/payload")), "nothing else"),
        ("payload behind a soft link", _linked("payload", h5py.SoftLink("/index")), "nothing else"),
        ("payload is the index", _other("payload", lambda f, _: f.__setitem__("payload", f["index"])), "type, shape or storage"),
        ("payload is the root", _other("payload", lambda f, _: f.__setitem__("payload", f["/"])), "nothing else"),
        ("payload is a group", _other("payload", lambda f, _: f.create_group("payload")), "not stored contiguously"),
        ("payload in another file", _payload(shape=(9000,), dtype="u1", external=[(SECRET, 0, 9000)]), "type, shape or storage"),
        ("payload put together from another file", _other("payload", _virtual), "damaged"),
        ("payload packed with gzip", _payload(compression="gzip"), "not stored contiguously|damaged"),
        ("payload with a plug-in's filter", _payload(compression="lzf"), "damaged"),
        ("payload in chunks", _payload(chunks=(1000,)), "damaged"),
        ("payload inside its header", _other("payload", _compact), "damaged"),
        ("payload of a terabyte that is nowhere", _payload(shape=(1 << 40,), dtype="u1"), "damaged"),
        ("payload that may grow", _payload(maxshape=(None,), chunks=(1000,)), "damaged"),
        ("payload of floats", _payload(data=np.zeros(1000, np.float32)), "type, shape or storage"),
        ("payload of two dimensions", _payload(data=np.zeros((10, 10), np.uint8)), "type, shape or storage"),
        ("payload of references", _payload(shape=(10,), dtype=h5py.ref_dtype), "damaged"),
        ("payload of text of any length", _payload(shape=(10,), dtype=h5py.string_dtype()), "damaged"),
        ("payload one byte short", lambda path: path.write_bytes(pack(_right()[0][:-1], _right()[1])), "its network needs"),
        ("index of any length", _other("index", lambda f, i: f.create_dataset("index", data=i.decode())), "damaged"),
        (
            "index of a gigabyte that is nowhere",
            _other("index", lambda f, i: f.create_dataset("index", (), "S1073741824")),
            "damaged",
        ),
        ("index larger than any", lambda path: path.write_bytes(pack(_right()[0], b" " * (9 << 20))), "at most 8388608"),
        ("checksum as text of any length", _attribute("0" * 64), "nothing else"),
        ("checksum as a reference", _attribute(h5py.Reference, dtype=h5py.ref_dtype), "nothing else"),
        ("checksum of 60,000 bytes", _attribute(np.bytes_(b"0" * 60_000)), "nothing else|header"),
        ("checksum of numbers", _attribute(np.zeros(8, np.uint64)), "nothing else"),
        ("one attribute more", _by_h5py(lambda f, *_: f.attrs.__setitem__("more", 1)), "nothing else"),
        ("one data set more", _by_h5py(lambda f, *_: f.__setitem__("more", 1)), "nothing else"),
        ("ten thousand attributes", _by_h5py(lambda f, *_: [f.attrs.__setitem__(str(n), n) for n in range(1000)]), "damaged"),
        ("HDF5 of the oldest kind", _by_h5py(lambda *_: None, libver="earliest"), "another version|cut off|checksum"),
        ("HDF5 behind a block of the user", _by_h5py(lambda *_: None, userblock_size=512), "not an HDF5 file"),
        ("something behind the end", _ended(b"PK\x03\x04 more"), "bytes instead of"),
        ("an archive behind the end", _ended(_zip()), "bytes instead of"),
        ("cut in the middle", lambda path: path.write_bytes(pack(*_right())[:4000]), "bytes instead of"),
        ("nothing but a signature, and a terabyte", _sparse(container.SIGNATURE, 1 << 40), "checksum"),
        ("payload over the index", _structure(lambda payload, index: Span(index.offset, payload.size)), "overlap"),
        ("payload over the headers", _structure(lambda payload, index: Span(0, payload.size)), "overlap"),
        ("payload beyond the end", _structure(lambda payload, index: Span(1 << 50, payload.size)), "overlap"),
        ("payload at the last address", _structure(lambda payload, index: Span((1 << 64) - 1, payload.size)), "overlap"),
        ("payload larger than the file", _structure(lambda payload, index: Span(payload.offset, 1 << 40)), "overlap"),
        ("header without an end", _structure(lambda payload, index: payload, _endless), "damaged"),
        ("index with NaN", _index(b'"training":null', b'"training":{"loss":NaN}'), "finite"),
        ("index with a number beyond all", _index(b'"provenance":{}', b'"provenance":{"a":1e999}'), "finite"),
        ("index that says something twice", _index(b'"training":null', b'"training":null,"training":null'), "twice"),
        ("index nested 200,000 deep", _index(b'"provenance":{}', _DEEP), "recursion"),
        ("index of a million small lists", _index(b'"provenance":{}', _WIDE), None),
        ("index in another encoding", _index(b'"training":null', b'"training":"\xff"'), "damaged"),
        ("index cut off", _index(b'"training":null}', b""), "damaged"),
        ("version true", _index(b'"version":1', b'"version":true'), "version"),
        ("width of 400 digits", _index(b'"width":0.125', b'"width":1' + b"0" * 400), "width"),
        ("width of 5,000 digits", _index(b'"width":0.125', b'"width":1' + b"0" * 5000), "damaged"),
        ("family that is a list", _index(b'"family":"squeezenext"', b'"family":["squeezenext"]'), "family"),
        ("activation that is a dict", _index(b'"activation":"elu"', b'"activation":{"a":1}'), "activation"),
        ("option that nobody knows", _index(b'"width":0.125', b'"width":0.125,"__class__":"os.system"'), "entries"),
        ("class that writes to the terminal", _index(b'"classes":["0"', b'"classes":["\\u001b[2J"'), "printable"),
        ("classes as one text", _entries(classes="0123456789"), "classes"),
        ("normalisation of text", _entries(mean=["0", "0", "0"]), "numbers"),
        ("optimizer of a million arrays", _entries(optimizer=list(map(str, range(300_000)))), "network needs"),
        ("network of 20 billion parameters", _network(width=16, blocks=(100,) * 4, num_classes=100_000), "its network needs"),
        ("network of 100,000 classes", _network(width=0.125, num_classes=100_000), "its network needs"),
        ("a pickle", _content(lambda: _trap(4)), "not an HDF5 file"),
        ("PyTorch's archive of pickles", _content(_zip), "not an HDF5 file"),
        ("nothing", _content(lambda: b""), "empty"),
        ("a pipe", lambda path: os.mkfifo(path), "not a file"),
        ("a device that never ends", lambda path: path.symlink_to("/dev/zero"), "not a file"),
        ("weights that are all NaN", lambda path: path.write_bytes(_all_nan()), None),
    )
]


def _all_nan() -> bytes:
    payload, index = _right()
    payload = np.full(len(payload) // 4, np.nan, "<f4").tobytes()
    entries = json.loads(index) | {"payload_sha256": hashlib.sha256(payload).hexdigest()}
    return pack(payload, json.dumps(entries).encode())


# Data sets in HDF5.


def _hdf5(**content) -> Callable[[Path], object]:
    """A data set with some objects replaced by `content`: arrays, links, or functions of (file, name)."""

    def build(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, value in ({"images": IMAGES, "labels": LABELS} | content).items():
                if callable(value):
                    value(file, name)
                else:
                    file[name] = value

    return build


def _made(*shape, **options) -> Callable[[h5py.File, str], object]:
    return lambda file, name: file.create_dataset(name, *shape, **options)


def _virtual_images(file: h5py.File, name: str) -> None:
    plan = h5py.VirtualLayout(IMAGES.shape, np.uint8)
    plan[...] = h5py.VirtualSource(SECRET, name, IMAGES.shape)
    file.create_virtual_dataset(name, plan)


def _one_huge_chunk(file: h5py.File, name: str) -> None:
    options = {"chunks": (1, 30_000, 30_000, 3), "maxshape": (6, 30_000, 30_000, 3), "compression": "gzip"}
    file.create_dataset(name, IMAGES.shape, np.uint8, **options)


HDF5 = [
    Hostile("data", name, build, expected)
    for name, build, expected in (
        (
            "images in another file",
            _hdf5(images=_made(IMAGES.shape, "u1", external=[(SECRET, 0, IMAGES.nbytes)])),
            "another file",
        ),
        ("images put together from another file", _hdf5(images=_virtual_images), "another file"),
        ("images behind a link to another file", _hdf5(images=h5py.ExternalLink(SECRET, "images")), "link"),
        ("labels behind a soft link", _hdf5(labels=h5py.SoftLink("/images")), "link"),
        ("images of terabytes that are nowhere", _hdf5(images=_made((10**6, 2000, 2000, 3), "u1")), "are in the file"),
        ("chunks that are nowhere", _hdf5(images=_made((6, 900, 900, 3), "u1", chunks=(1, 900, 900, 3))), "are in the file"),
        ("one chunk of gigabytes", _hdf5(images=_one_huge_chunk), "are in the file"),
        ("images with a plug-in's filter", _hdf5(images=_made(data=IMAGES, compression="lzf")), "filters"),
        ("images with a checksum that crashes HDF5", _hdf5(images=_made(data=IMAGES, fletcher32=True)), "filters"),
        ("labels of references", _hdf5(labels=_made((6,), h5py.ref_dtype)), "integers"),
        ("labels of any length", _hdf5(labels=_made((6,), h5py.vlen_dtype(np.int64))), "integers"),
        ("labels of records", _hdf5(labels=np.zeros(6, [("a", "i8"), ("b", "S9")])), "integers"),
        ("labels of 16 numbers each", _hdf5(labels=_made((6,), np.dtype(("i8", (16,))))), "integers"),
        ("labels below zero", _hdf5(labels=LABELS - 1), "label -1"),
        ("a label of 2 ** 64 - 1", _hdf5(labels=np.array([0, 1, 0, 1, 0, 2**64 - 1], "u8")), "label -1"),
        ("a label of 10 ** 9", _hdf5(labels=LABELS * 10**9), "too large"),
        ("more labels than images", _hdf5(labels=np.zeros(10**6, "u1")), "one per image"),
        ("a class name without an end", _hdf5(classes=["a", "b" * 10**7]), "bytes; expected at most"),
        ("class names of a gigabyte", _hdf5(classes=_made((2,), "S1073741823")), "list of names"),
        ("a million class names", _hdf5(classes=_made((10**6,), "S1")), "list of names"),
        ("class names that are nowhere", _hdf5(classes=_made((2,), "S1000")), "can't be the name"),
        ("class names as references", _hdf5(classes=_made((2,), h5py.ref_dtype)), "list of names"),
        ("a class that writes to the terminal", _hdf5(classes=["a", "\x1b[2J"]), "can't be the name"),
        ("images without a pixel", _hdf5(images=np.zeros((6, 0, 8, 3), "u1")), "no image"),
        ("images as a group", _hdf5(images=lambda file, name: file.create_group(name)), "link or a group"),
        ("images named as a type", _hdf5(images=lambda file, name: file.__setitem__(name, np.dtype("u1"))), "link or a group"),
        ("a pickle beside the images", _hdf5(more=np.frombuffer(_trap(2), np.uint8)), None),
    )
]

# Archives and folders of CIFAR-10.

_FOLDER = "cifar-10-batches-bin"
_META = f"{_FOLDER}/batches.meta.txt"


@functools.cache
def _files() -> dict[str, bytes]:
    return {f"{_FOLDER}/{name}": content for name, content in binary_files(random_batches(records=2)).items()}


def _entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **more) -> bytes:
    """The bytes of a member of a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, more.pop("size", len(content))
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b"\0")


def _archive(*first: bytes, without: str = "", after: bytes = bytes(1024)) -> Callable[[Path], object]:
    """A valid archive with other members before its own."""

    def build(path: Path) -> None:
        members = b"".join(_entry(name, content) for name, content in _files().items() if name != without)
        path.write_bytes(gzip.compress(b"".join(first) + members + after, 1))

    return build


def _with_number(field: bytes, at: int = 124) -> bytes:
    """A header with this size field (or field at `at`), with a right checksum."""
    header = bytearray(_entry(_META))
    header[at : at + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _bomb(path: Path) -> None:
    path.write_bytes(gzip.compress(_entry(f"{_FOLDER}/readme.html", size=1 << 30)) + gzip.compress(bytes(1 << 20)) * 1024)


def _pax(size: int) -> bytes:
    return _entry("pax", b"%d path=" % size + b"a" * (size - 20), tarfile.XHDTYPE)


_ONE_PLAIN = "not a regular file"
_NOT_PART = "not part of CIFAR-10"
ARCHIVES = [
    Hostile("data", name, build, expected)
    for name, build, expected in (
        (
            "a member that is a symbolic link",
            _archive(_entry(_META, kind=tarfile.SYMTYPE, linkname=SECRET), without=_META),
            _ONE_PLAIN,
        ),
        (
            "a member that is a hard link",
            _archive(_entry(_META, kind=tarfile.LNKTYPE, linkname=SECRET), without=_META),
            _ONE_PLAIN,
        ),
        ("a member that is a device", _archive(_entry(_META, kind=tarfile.CHRTYPE), without=_META), _ONE_PLAIN),
        ("a member that is a pipe", _archive(_entry(_META, kind=tarfile.FIFOTYPE), without=_META), _ONE_PLAIN),
        ("a member that is sparse", _archive(_entry(_META, kind=tarfile.GNUTYPE_SPARSE), without=_META), _ONE_PLAIN),
        ("a folder with content", _archive(_entry(f"{_FOLDER}/", b"abc", kind=tarfile.DIRTYPE)), _ONE_PLAIN),
        ("an absolute name", _archive(_entry("/etc/passwd", b"root")), _NOT_PART),
        ("a name that leads out", _archive(_entry(f"{_FOLDER}/../../x", b"x")), _NOT_PART),
        ("a name that starts right", _archive(_entry(f"{_FOLDER}/data_batch_1.bin.py", b"x")), _NOT_PART),
        ("a program beside the batches", _archive(_entry(f"{_FOLDER}/run.sh", b"rm")), _NOT_PART),
        (
            "ten thousand long names in a row",
            _archive(_entry("././@LongLink", b"a" * 100, tarfile.GNUTYPE_LONGNAME) * 10_000),
            _NOT_PART,
        ),
        ("ten thousand headers in a row", _archive(_pax(60) * 10_000), _NOT_PART),
        ("a header of 100 megabytes", _archive(_pax(100_000_000)), _NOT_PART),
        ("a header for all", _archive(_entry("pax", b"20 path=/etc/passwd\n", tarfile.XGLTYPE)), _NOT_PART),
        ("a member twice", _archive(_entry(_META, b"cat\n")), "twice"),
        ("a member missing", _archive(without=f"{_FOLDER}/data_batch_4.bin"), "has no"),
        ("a size in base 256", _archive(_with_number(b"\x80" + bytes(3) + b"\x7f" * 8)), "number in a header"),
        ("a size below zero", _archive(_with_number(b"-0000000001\0")), "number in a header"),
        ("a size of 8 gigabytes", _archive(_with_number(b"77777777777\0")), "at most"),
        ("a size beyond the end", _archive(after=_entry(f"{_FOLDER}/readme.html", size=10**8)), "cut off"),
        ("a header changed afterwards", _archive(_entry(f"{_FOLDER}/readme.html").replace(b"readme", b"README")), "checksum"),
        ("no end", _archive(after=b""), "cut off"),
        ("something behind the end", _archive(after=bytes(1024) + b"more"), "after the end"),
        ("a gigabyte of zeros", _bomb, "unpacks to more"),
        ("gzip in gzip", _content(lambda: gzip.compress(gzip.compress(b"x" * 10_000))), "damaged"),
        ("gzip without content", _content(lambda: gzip.compress(b"")), "cut off"),
        ("gzip cut off", lambda path: (_archive()(path), path.write_bytes(path.read_bytes()[:-9])), "cut off"),
        (
            "a batch with one image too many",
            _archive(_entry(f"{_FOLDER}/data_batch_1.bin", bytes(3073 * 10_001))),
            "at most 30730000",
        ),
        (
            "a batch of no whole images",
            _archive(_entry(f"{_FOLDER}/data_batch_1.bin", bytes(3072)), without=f"{_FOLDER}/data_batch_1.bin"),
            "multiple of 3073",
        ),
        ("class names of a megabyte", _archive(_entry(_META, b"a" * (1 << 20)), without=_META), "at most 65536"),
        ("both versions in one", _archive(_entry("cifar-10-batches-py/batches.meta", b"x")), "both versions"),
        ("an archive of another kind", _content(_zip), "neither a CIFAR-10 archive"),
        ("a device that never ends", lambda path: path.symlink_to("/dev/zero"), "neither a file nor a folder"),
        ("a pipe", lambda path: os.mkfifo(path), "neither a file nor a folder"),
        ("a link to itself", lambda path: path.symlink_to(path), "can't be read"),
    )
]

# Pickles, in the folder of the python version.

_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
_UINT8 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"


def _batch(body: bytes, key: bytes = b"U\x04data") -> Callable[[Path], object]:
    return _pickled(b"\x80\x02}" + key + body + b"s.")


def _pickled(content: bytes) -> Callable[[Path], object]:
    def build(path: Path) -> None:
        path.mkdir()
        for name, right in (python_files(random_batches(records=2)) | {"data_batch_3": content}).items():
            (path / name).write_bytes(right)

    return build


_NOT_RUN = "nothing of it was run"
PICKLES = [
    Hostile("data", f"pickle: {name}", build, expected)
    for name, build, expected in (
        *((f"os.system, protocol {protocol}", _pickled(_trap(protocol)), _NOT_RUN) for protocol in range(6)),
        ("builtins.eval", _batch(b"cbuiltins\neval\nU\x011\x85R"), _NOT_RUN),
        ("numpy.load", _batch(b"cnumpy\nload\nU\x01x\x85R"), _NOT_RUN),
        ("an instance", _batch(b"(K\x01inumpy\nndarray\n"), _NOT_RUN),
        ("an object", _batch(b"(K\x01cnumpy\nndarray\no"), _NOT_RUN),
        ("a new object", _batch(b"cnumpy\nndarray\n)\x81"), _NOT_RUN),
        ("the registry of extensions", _batch(b"\x82\x01"), _NOT_RUN),
        ("a persistent id", _batch(b"U\x01xQ"), _NOT_RUN),
        ("another codec", _batch(b"c_codecs\nencode\nU\x01xU\x05utf_7\x86R"), _NOT_RUN),
        ("an array of objects", _batch(b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R"), _NOT_RUN),
        ("an array larger than its bytes", _batch(_ARRAY + b"(K\x01K\x05\x85" + _UINT8 + b"\x89U\x01xtb"), _NOT_RUN),
        (
            "an array of no size at all",
            _batch(_ARRAY + b"(K\x01K\x00\x8a\x0a" + b"\xff" * 9 + b"\x00\x86" + _UINT8 + b"\x89U\x00tb"),
            "damaged|no 'data'",
        ),
        ("doubled 64 times", _batch(b"U\x01x" + b"q\x01h\x01\x86" * 64), "no 'data'"),
        ("a list in itself", _batch(b"]q\x01h\x01a", b"U\x06labels"), "no 'data'"),
        ("a million steps", _batch(b"]q\x01" + b"h\x010" * 600_000), _NOT_RUN),
        ("bytes of a terabyte", _batch(b"\x8e" + struct.pack("<Q", 1 << 40) + b"x"), "damaged|" + _NOT_RUN),
        ("a memo of 4 billion", _batch(b"Nr\xff\xff\xff\xff"), "no 'data'"),
        ("a mark that is not there", _batch(b"t"), "damaged"),
        ("text with no end", _pickled(b"\x80\x02}U\x04dataV" + b"a" * 10_000), "damaged|" + _NOT_RUN),
        ("larger than any batch", _pickled(b"\x80\x02" + bytes(49 << 20)), "at most"),
        ("only a number", _pickled(b"\x80\x02K\x01."), "expected the dictionary"),
    )
]

HOSTILE = [*WEIGHTS, *HDF5, *ARCHIVES, *PICKLES]

if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for number, hostile in enumerate(HOSTILE):
        hostile.build(target / f"{number:03d}-{hostile.kind}")
        print(f"{number:03d}-{hostile.kind}: {hostile.name}: {hostile.expected or 'read'}")
