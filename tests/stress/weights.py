"""Reads mutated weights files: `python -m tests.stress.weights --count 100000 --seed 0`.

None may crash, hang, take 256 MB, open another file, or fail with anything but a one-line `CheckpointError`. Half of the
mutations are blind. The others know the format and correct every checksum, so that they reach the code behind it.
"""

import argparse
import functools
import hashlib
import io
import json
import random
import struct
import sys

import h5py
import numpy as np

from minisqx.checkpoint import Checkpoint, container, load_checkpoint, save_checkpoint
from minisqx.checkpoint.container import Span, pack
from minisqx.spec import NetworkSpec, zoo
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.stress.watched import read_all

NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    511,
    512,
    1 << 15,
    1 << 16,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 64) - 1,
)
VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1e308, -0.0, 1e-320, "", "x", "\0", "\ud800", "nan", "é" * 1000),
    *([], {}, [[]], [1, 2, 3, 4], [100, 100, 100, 100], {"a": 1}, [None] * 1000, 16, 4096, 100_000, [4096, 4096]),
]
TEXTS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"[",
    b"{",
    b'"',
    b"\\u0000",
    b"\xff",
    b"9" * 5000,
    b"[" * 5000,
    b"null",
    b'"a":1,"a":2,',
)


@functools.cache
def seeds() -> list[tuple[bytes, bytes, bytes]]:
    """Valid files as (file, payload, index): with and without training state, from `pack` and from h5py in its variants."""
    numbers = np.random.default_rng(0)
    found = [path.read_bytes() for path in zoo.weights().values()]
    for spec, training in ((SqueezeNextSpec(width=0.125), True), (SqueezeNextSpec(width=0.2, num_classes=3), False)):
        state = {
            name: numbers.normal(size=shape).astype(np.float32)
            for name, shape in {**spec.parameter_shapes, **spec.buffer_shapes}.items()
        }
        more = {
            "optimizer": {"velocity": np.zeros(spec.parameters, np.float32)},
            "training": {"epoch": 3, "rows": [{"loss": 0.1}]},
        }
        checkpoint = Checkpoint(spec, state, metrics={"a": 0.5}, provenance={"data": "x"}, **(more if training else {}))
        found.append(_saved(checkpoint))
    for whole in found[-2:]:
        payload, index = _parts(whole)
        found += [_by_h5py(payload, index, track_times) for track_times in (False, True)]
    return [(whole, *_parts(whole)) for whole in found]


def _saved(checkpoint: Checkpoint) -> bytes:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        save_checkpoint(file.name, checkpoint)
        return open(file.name, "rb").read()


def _parts(whole: bytes) -> tuple[bytes, bytes]:
    with h5py.File(io.BytesIO(whole)) as file:
        return file["payload"][()].tobytes(), bytes(file["index"][()])


def _by_h5py(payload: bytes, index: bytes, track_times: bool, **storage) -> bytes:
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        file.create_dataset("payload", data=np.frombuffer(payload, np.uint8), track_times=track_times, **storage)
        file.create_dataset("index", data=np.array(index, h5py.string_dtype("utf-8", len(index))), track_times=track_times)
        file.attrs["index_sha256"] = np.bytes_(hashlib.sha256(index).hexdigest())
    return image.getvalue()


def some_bits(whole: bytes, draw: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(draw.choice((1, 1, 2, 8, 100))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def some_bytes(whole: bytes, draw: random.Random) -> bytes:
    data, at, length = bytearray(whole), draw.randrange(len(whole)), draw.choice((1, 2, 4, 8, 100, 1000))
    data[at : at + length] = draw.choice((draw.randbytes(length), bytes(length), b"\xff" * length))
    return bytes(data[: len(whole)])


def cut(whole: bytes, draw: random.Random) -> bytes:
    return whole[: draw.choice((draw.randrange(len(whole)), draw.randrange(600), len(whole) - draw.randrange(1, 9)))]


def longer(whole: bytes, draw: random.Random) -> bytes:
    return whole + draw.choice((b"\0", bytes(4096), draw.randbytes(10), whole, whole[:500]))


def spliced(whole: bytes, draw: random.Random) -> bytes:
    other = draw.choice(seeds())[0]
    (a, b), (c, d) = (sorted(draw.randrange(len(file)) for _ in range(2)) for file in (whole, other))
    return draw.choice((whole[:a] + other[a:], whole[:a] + whole[b:], whole[:a] + other[c:d] + whole[b:], whole[:b] + whole[a:]))


def repaired_headers(whole: bytes, draw: random.Random) -> bytes:
    """Changes bytes of HDF5's structures, and corrects each structure's checksum."""
    blocks: list[Span] = [Span(0, 48)]
    file = io.BytesIO(whole)
    root = int.from_bytes(whole[36:44], "little")
    messages = container._messages(file, root, blocks)  # type: ignore[arg-type]
    for message_type, body in messages:
        if message_type == container._LINK:
            container._messages(file, int.from_bytes(body[-8:], "little"), blocks)  # type: ignore[arg-type]
    data = bytearray(whole)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        block = draw.choice(blocks)
        at, width = block.offset + draw.randrange(block.size - 4), draw.choice((1, 1, 2, 4, 8))
        change = draw.choice((draw.choice(NUMBERS), draw.randrange(1 << 64), data[at] ^ 1 << draw.randrange(8), len(whole)))
        width = min(width, block.offset + block.size - 4 - at)
        data[at : at + width] = (change & (1 << 8 * width) - 1).to_bytes(width, "little")
    for block in blocks:
        end = block.offset + block.size - 4
        data[end : end + 4] = struct.pack("<I", container.lookup3(bytes(data[block.offset : end])))
    return bytes(data)


def built(payload: bytes, index: bytes, draw: random.Random) -> bytes:
    """A file of valid structures with wrong messages: other types, sizes, addresses, too many or too few."""
    checksum = hashlib.sha256(index).hexdigest().encode()

    def changed(messages: list) -> list:
        for _ in range(draw.choice((0, 1, 1, 2))):
            at = draw.randrange(len(messages))
            message_type, body = messages[at]
            where = draw.randrange(len(body) + 1)
            number = draw.choice((*NUMBERS, draw.randrange(1 << 64))).to_bytes(8, "little")
            other = body[:where] + number[: draw.choice((1, 2, 4, 8))] + body[where + 1 :]
            bodies = (other, body[:where], body, body + other)
            types = (message_type, message_type, draw.randrange(30), message_type)
            message = draw.choice(tuple(zip(types, bodies)))
            messages = draw.choice(
                (
                    [*messages[:at], message, *messages[at + 1 :]],
                    [*messages, message],
                    [*messages, messages[at]],
                    messages[:at] + messages[at + 1 :] or messages,
                )
            )
        return messages

    def shifted(part: Span) -> Span:
        offset, size = (
            draw.choice((value,) * 30 + (value + 1, value - 1, 2 * value, *NUMBERS)) for value in (part.offset, part.size)
        )
        return Span(max(offset, 0) % 2**64, max(size, 0) % 2**64)

    pieces = [
        bytes(48),
        container._header(changed(container._root(0, 0, checksum))),
        *(
            container._header(container._dataset(name, Span(0, len(part))))
            for name, part in (("payload", payload), ("index", index))
        ),
    ]
    at = [0]
    for piece in (*pieces, payload, index):
        at.append(at[-1] + len(piece))
    places = [draw.choice((place,) * 40 + (0, 48, at[-1], (1 << 64) - 1)) for place in at]
    root = container._header(changed(container._root(places[2], places[3], checksum)))
    of_payload = container._header(changed(container._dataset("payload", shifted(Span(places[4], len(payload))))))
    of_index = container._header(changed(container._dataset("index", shifted(Span(places[5], len(index))))))
    body = root + of_payload + of_index + payload + index
    start = struct.pack("<8s4B4Q", container.SIGNATURE, 3, 8, 8, 0, 0, (1 << 64) - 1, 48 + len(body), 48)
    return container._summed(start) + body


def other_json(payload: bytes, index: bytes, draw: random.Random) -> bytes:
    """Other content in the index, in valid JSON with a right checksum."""
    entries = json.loads(index)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        places = [(entries, key) for key in entries]
        for holder, key in places:  # grows
            inner = holder[key]
            if isinstance(inner, dict):
                places += [(inner, k) for k in inner]
            elif isinstance(inner, list):
                places += [(inner, k) for k in range(len(inner))]
        holder, key = draw.choice(places)
        match draw.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[draw.choice(("", "a", "family", "version", "more"))] = holder[key]
            case 2:
                other, at = draw.choice(places)
                holder[key] = other[at] if other is not holder and not isinstance(other[at], (dict, list)) else 1
            case _:
                holder[key] = draw.choice(VALUES)
        entries = json.loads(json.dumps(entries))  # so that no part is shared
        if not entries:
            break
    return pack(payload, json.dumps(entries).encode(errors="surrogatepass"))


def other_text(payload: bytes, index: bytes, draw: random.Random) -> bytes:
    """An index that is damaged as text, with a right checksum."""
    at, length = draw.randrange(len(index)), draw.choice((0, 1, 5, 50))
    put = draw.choice((*TEXTS, draw.randbytes(3), index[:at], b"[[0]," * 200_000))
    return pack(payload, index[:at] + put + index[at + length :])


def other_payload(payload: bytes, index: bytes, draw: random.Random) -> bytes:
    """Other tensors, or too many or too few, with right checksums: read if the size is right."""
    change = draw.choice((some_bits, some_bytes, cut, longer, lambda data, draw: draw.randbytes(len(data))))
    payload = change(payload, draw)
    entries = json.loads(index) | {"payload_sha256": hashlib.sha256(payload).hexdigest()}
    return pack(payload, json.dumps(entries).encode())


@functools.cache
def network(number: int) -> dict:
    """The entries of an index for a network of any size."""
    draw = random.Random(number)
    if number < 3:
        spec: NetworkSpec = SqueezeNetSpec(num_classes=(1, 10, 100_000)[number])
    else:
        blocks = tuple(draw.choice((1, 2, 100)) for _ in range(4))
        spec = SqueezeNextSpec(
            width=draw.choice((0.125, 0.2, 1, 16)), blocks=blocks, num_classes=draw.choice((1, 10, 10, 100_000))
        )
    layers = {layer.name: list(layer.parameter_shapes["weight"]) for layer in spec.layers}
    return {"network": spec.to_dict(), "layers": layers, "classes": [str(number) for number in range(spec.num_classes)]}


def other_network(payload: bytes, index: bytes, draw: random.Random) -> bytes:
    """The description of another network with these tensors."""
    return pack(payload, json.dumps(json.loads(index) | network(draw.randrange(40))).encode())


BLIND = (some_bits, some_bytes, cut, longer, spliced)
KNOWING = (built, other_json, other_json, other_text, other_payload, other_network)


def make(seed: int, number: int) -> tuple[str, bytes, bool]:
    """Mutation number `number`, as (its name, file, whether it must be refused)."""
    draw = random.Random(f"{seed} {number}")
    whole, payload, index = draw.choice(seeds())
    if number % 2:
        mutation = draw.choice(BLIND)
        content = mutation(whole, draw)
        return mutation.__name__, content, content not in [file for file, *_ in seeds()]
    if draw.random() < 0.35:
        return "repaired_headers", repaired_headers(whole, draw), False
    knowing = draw.choice(KNOWING)
    return knowing.__name__, knowing(payload, index, draw), False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{options.count} mutated weights files, seed {options.seed}")
    sys.exit(1 if read_all(options.count, functools.partial(make, options.seed), load_checkpoint, ".h5") else 0)


if __name__ == "__main__":
    main()
