"""Checkpoints: what is saved comes back, a damaged file never does, and a failed save destroys nothing."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD, Checkpoint, load_checkpoint, save_checkpoint
from minisqx.checkpoint.container import lookup3, pack, unpack
from minisqx.checkpoint.model_file import MAX_INDEX_BYTES
from minisqx.errors import CheckpointError, OptionError
from minisqx.spec import zoo
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training.option_checks import MAX_EPOCHS
from minisqx.training.options import TrainingOptions
from minisqx.training.run_folder import COLUMNS

SPEC = SqueezeNextSpec(width=0.2)


def random_state(spec, dtype="float32"):
    generator = np.random.default_rng(0)
    shapes = {**spec.parameter_shapes, **spec.buffer_shapes}
    return {name: generator.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@pytest.fixture
def saved(tmp_path):
    """The path of a checkpoint as small as they come, with classes and normalisation."""
    path = tmp_path / "weights.h5"
    save_checkpoint(path, Checkpoint(SPEC, random_state(SPEC), tuple("0123456789"), CIFAR10_MEAN, CIFAR10_STD))
    return path


def assert_refused(path, *words):
    """`path` is refused with one line that names it."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    line = str(caught.value)
    assert "\n" not in line and str(path) in line
    for word in words:
        assert word in line
    return line


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_that_was_saved_comes_back_bit_for_bit(tmp_path, dtype):
    spec = SqueezeNextSpec(
        width=0.3, blocks=(1, 2, 1, 1), num_classes=3, input_size=(48, 64), stem_padding=1, block_order="conv-bn-act"
    )
    before = Checkpoint(
        spec,
        random_state(spec, dtype),
        classes=("cat", "dog & Co", "Übersee"),
        mean=(0.1, 0.2, 1 / 3),
        std=(0.5, 0.25, 0.7),
        metrics={"test_accuracy": np.float32(0.5), "epoch": np.int64(30)},
        provenance={"data": "CIFAR-10", "recipe": {"lr": 0.1, "milestones": None}, "command": "minisqx train"},
        optimizer={"velocity": np.arange(spec.parameters, dtype=dtype)},
        training={"epoch": 30, "history": [{"loss": 0.1}, {"loss": 1e-300}]},
    )
    save_checkpoint(tmp_path / "last.h5", before)
    after = load_checkpoint(tmp_path / "last.h5")
    for name in ("spec", "classes", "mean", "std", "metrics", "provenance", "training", "dtype"):
        assert getattr(after, name) == getattr(before, name), name
    assert list(after.state) == [*spec.parameter_shapes, *spec.buffer_shapes]
    for name, array in before.state.items():
        assert after.state[name].tobytes() == array.tobytes() and after.state[name].shape == array.shape, name
        assert after.state[name].flags.writeable
    assert after.optimizer["velocity"].tobytes() == before.optimizer["velocity"].tobytes()


def test_what_is_not_given_is_not_in_the_file_either(tmp_path):
    save_checkpoint(tmp_path / "bare.h5", Checkpoint(SPEC, random_state(SPEC)))
    checkpoint = load_checkpoint(tmp_path / "bare.h5")
    assert (checkpoint.classes, checkpoint.mean, checkpoint.std) == (None, None, None)
    assert checkpoint.optimizer is None and checkpoint.training is None


def test_not_a_number_is_kept_as_it_is(tmp_path):
    state = random_state(SPEC)
    state["stem.bias"][:2] = np.nan, -np.inf
    save_checkpoint(tmp_path / "a.h5", Checkpoint(SPEC, state))
    assert load_checkpoint(tmp_path / "a.h5").state["stem.bias"].tobytes() == state["stem.bias"].tobytes()


def test_the_smallest_network_of_the_paper_takes_at_most_56_kilobytes(tmp_path):
    provenance = {"data": "CIFAR-10 (JPEG)", "recipe": {str(n): n for n in range(30)}, "command": "minisqx train " + "x" * 500}
    metrics = {f"metric {n}": 1 / 3 for n in range(10)}
    save_checkpoint(tmp_path / "a.h5", Checkpoint(SPEC, random_state(SPEC), metrics=metrics, provenance=provenance))
    assert (tmp_path / "a.h5").stat().st_size <= 57_344


def test_other_programs_can_find_the_tensors_with_the_index_alone(saved):
    with h5py.File(saved) as file:
        index, payload = json.loads(file["index"][()]), file["payload"][()].tobytes()
    assert index["payload_sha256"] == hashlib.sha256(payload).hexdigest()
    stem = np.frombuffer(payload, index["dtype"], count=int(np.prod(index["layers"]["stem"]))).reshape(index["layers"]["stem"])
    np.testing.assert_array_equal(stem, load_checkpoint(saved).state["stem.weight"])


def test_a_flipped_bit_is_caught_wherever_it_is(saved):
    whole = saved.read_bytes()
    with h5py.File(saved) as file:
        first = file["payload"].id.get_offset()
        last = file["index"].id.get_offset()
    # All of HDF5's own structures; of the tensors and the index, which checksums cover, some.
    places = [*range(first), *range(first, last, 997), *range(last, len(whole) - 500, 17), *range(len(whole) - 500, len(whole))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        saved.write_bytes(damaged)
        assert_refused(saved)


def test_a_file_that_was_cut_off_is_refused_wherever_it_ends(saved):
    whole = saved.read_bytes()
    for length in [*range(0, 600, 7), *range(600, len(whole), 499), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        assert_refused(saved)


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path):
    assert_refused(tmp_path / "missing.h5", "there is no checkpoint")
    assert_refused(tmp_path, "is not a file")
    (tmp_path / "empty.h5").write_bytes(b"")
    assert_refused(tmp_path / "empty.h5", "is empty")
    (tmp_path / "picture.h5").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert_refused(tmp_path / "picture.h5", "is not an HDF5 file")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros((1, 2, 2, 3), np.uint8)
    assert_refused(tmp_path / "other.h5", "not from minisqx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    assert_refused(tmp_path / "pipe.h5", "is not a file")


def rewrite(path, change=None, payload=None, **storage):
    """Writes the file again with h5py, as someone would who can make checksums: with a changed index or another payload."""
    with h5py.File(path) as file:
        entries, old = json.loads(file["index"][()]), file["payload"][()]
    payload = old if payload is None else payload
    entries["payload_sha256"] = hashlib.sha256(payload.tobytes()).hexdigest()
    if change:
        change(entries)
    index = json.dumps(entries).encode()
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        file.create_dataset("payload", data=payload, **storage)
        file["index"] = np.array(index, h5py.string_dtype("utf-8", len(index)))
        file.attrs["index_sha256"] = np.bytes_(hashlib.sha256(index).hexdigest())
    path.write_bytes(image.getvalue())


@pytest.mark.parametrize("track_times", [False, True])
def test_a_file_that_h5py_wrote_is_read_like_ours_also_with_times_in_it(saved, track_times):
    before = load_checkpoint(saved)
    rewrite(saved, track_times=track_times)
    after = load_checkpoint(saved)
    assert all(after.state[name].tobytes() == array.tobytes() for name, array in before.state.items())


def test_the_same_checkpoint_is_the_same_bytes(saved, tmp_path):
    save_checkpoint(tmp_path / "again.h5", load_checkpoint(saved))
    assert (tmp_path / "again.h5").read_bytes() == saved.read_bytes()


def test_the_weights_that_come_along_are_read():
    assert zoo.weights() and all(load_checkpoint(path).metrics for path in zoo.weights().values())


def test_hdf5s_library_has_no_part_in_it(saved):
    code = f"import sys; from minisqx.checkpoint import *; load_checkpoint({str(saved)!r}); print('h5py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "text, value",
    # Published with lookup3: driver5 of lookup3.c.
    [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)],
)
def test_the_checksum_of_hdf5_is_lookup3(text, value):
    assert lookup3(text) == value


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda e: e["network"].update(width=0.3), "don't fit its network"),
        (lambda e: e["network"].update(width=0), "width 0"),
        (lambda e: e["network"].update(depth=3), "depth"),
        (lambda e: e["network"].pop("blocks"), "blocks"),
        (lambda e: e.update(network=[]), "damaged"),
        (lambda e: e["layers"].update(stem=[12, 3, 1, 9]), "don't fit its network"),
        (lambda e: e["layers"].pop("head"), "don't fit its network"),
        (lambda e: e.update(classes=["one"]), "1 class names"),
        (lambda e: e.update(classes=["same"] * 10), "twice"),
        (lambda e: e.update(classes=[*"012345678", "\x1b[31m"]), "printable"),
        (lambda e: e.update(mean=[0, 0]), "mean"),
        (lambda e: e.update(std=[1, 1, 0]), "standard deviation"),
        (lambda e: e.update(mean=None), "no mean"),
        (lambda e: e.update(metrics={"accuracy": "high"}), "accuracy"),
        (lambda e: e.update(optimizer=["velocity"]), "payload"),
        (lambda e: e.update(dtype="float64"), "payload"),
        (lambda e: e.update(dtype="int8"), "damaged"),
        (lambda e: e.update(version=2), "version 2"),
        (lambda e: e.update(format="other"), "another format"),
        (lambda e: e.pop("classes"), "classes"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved, change, words):
    rewrite(saved, change)
    assert_refused(saved, words)


@pytest.mark.parametrize(
    "payload, storage",
    [
        (np.zeros(SPEC.state_bytes - 4, np.uint8), {}),
        (np.zeros(SPEC.state_bytes, np.int8), {}),
        (np.zeros((SPEC.state_bytes, 1), np.uint8), {}),
        (np.zeros(SPEC.state_bytes, np.uint8), {"compression": "gzip"}),
        (np.zeros(SPEC.state_bytes, np.uint8), {"chunks": (1024,)}),
    ],
)
def test_a_payload_of_another_size_type_or_storage_is_refused(saved, payload, storage):
    rewrite(saved, payload=payload, **storage)
    assert_refused(saved)


def add_a_data_set(file, other):
    file["more"] = 1


def add_an_attribute(file, other):
    file.attrs["more"] = 1


def link_to_another_file(file, other):
    del file["payload"]
    # By its name alone: a long path would not fit into the object header.
    file["payload"] = h5py.ExternalLink(other.name, "/payload")


@pytest.mark.parametrize("change", [add_a_data_set, add_an_attribute, link_to_another_file])
def test_links_and_additions_are_refused(saved, tmp_path, change):
    other = tmp_path / "other.h5"
    other.write_bytes(saved.read_bytes())
    with h5py.File(saved, "r+") as file:
        change(file, other)
    assert_refused(saved, "nothing else")


@pytest.mark.parametrize(
    "old, new",
    [
        (b'"training":null', b'"training":NaN'),
        (b'"training":null', b'"training":1e9 '),
        (b'"training":null', b'"version": 1,"training":null'),
        (b'"training":null', b'"training":null,"more":0'),
        (b'"version":1', b'"version":true'),
        (b'"provenance":{}', b'"provenance":[]'),
        (b'"metrics":{}', b'"metrics":{"loss":1' + 400 * b"0" + b"}"),
        (b'"mean":[0.4914', b'"mean":["0.49"'),
        (b'"width":0.2', b'"width":1' + 400 * b"0"),
        (b'"width":0.2', b'"width":{}'),
        (b'"optimizer":null', b'"optimizer":[7]'),
        (b'"provenance":{}', b'"provenance":' + 100_000 * b"[" + 100_000 * b"]"),
    ],
)
def test_an_index_with_the_right_checksum_and_the_wrong_json_is_refused(saved, old, new):
    with open(saved, "rb") as file:
        contents = unpack(file)
    whole = saved.read_bytes()
    payload, index = (whole[part.offset : part.offset + part.size] for part in (contents.payload, contents.index))
    assert old in index
    saved.write_bytes(pack(payload, index.replace(old, new)))
    assert len(assert_refused(saved)) < 600 + len(str(saved))


def test_a_checkpoint_has_room_for_the_history_of_the_longest_run(tmp_path):
    row = dict.fromkeys(COLUMNS, -1.2345678901234567e-100)
    checkpoint = Checkpoint(SPEC, random_state(SPEC), training={"state": {"history": [row] * MAX_EPOCHS}})
    save_checkpoint(tmp_path / "long.h5", checkpoint)
    assert len(load_checkpoint(tmp_path / "long.h5").training["state"]["history"]) == MAX_EPOCHS
    with pytest.raises(OptionError, match="a whole number from 1 to 10000$"):
        TrainingOptions(epochs=MAX_EPOCHS + 1)


def test_an_index_larger_than_any_needs_is_refused_unread(saved):
    saved.write_bytes(pack(b"", bytes(MAX_INDEX_BYTES + 1)))
    assert_refused(saved, "at most 8388608")


@pytest.mark.parametrize("path", [5, ["a.h5"], None, "a\0.h5", "x" * 5000, "link.h5/a.h5", "loop.h5"])
def test_a_path_that_can_be_none_is_refused_in_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.h5").write_bytes(b"")
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    if isinstance(path, str) and path != "loop.h5":
        with pytest.raises(CheckpointError):
            save_checkpoint(path, Checkpoint(SPEC, random_state(SPEC)))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda parts: parts["state"].pop("head.bias"), "head.bias"),
        (lambda parts: parts["state"].update(extra=np.zeros(1, np.float32)), "extra"),
        (lambda parts: parts["state"].update({"head.bias": np.zeros(7, np.float32)}), "head.bias"),
        (lambda parts: parts["state"].update({"head.bias": np.zeros(25)}), "float32, float64"),
        (lambda parts: parts.update(classes=("a", "b")), "2 class names"),
        (lambda parts: parts.update(metrics={"loss": float("nan")}), "loss"),
        (lambda parts: parts.update(classes="0123456789"), "a list of names"),
        (lambda parts: parts.update(mean=(0, 0, 0), std=(1, 1, -1)), "standard deviation"),
        (lambda parts: parts.update(mean=(0, 0, 0)), "no standard deviation: expected both"),
        (lambda parts: parts.update(mean=0.5, std=(1, 1, 1)), "mean 0.5: expected three"),
        (lambda parts: parts.update(optimizer={"velocity": np.zeros(3, np.float32)}), "velocity"),
    ],
)
def test_parts_that_do_not_fit_each_other_make_no_checkpoint(change, words):
    parts = {"spec": SPEC, "state": random_state(SPEC)}
    change(parts)
    with pytest.raises(CheckpointError, match=words):
        Checkpoint(**parts)


@pytest.mark.parametrize("training", [{"loss": float("inf")}, {"when": object()}])
def test_training_state_that_is_no_json_is_refused_before_a_file_is_written(saved, training):
    before = saved.read_bytes()
    with pytest.raises(CheckpointError, match="JSON"):
        save_checkpoint(saved, Checkpoint(SPEC, random_state(SPEC), training=training))
    assert saved.read_bytes() == before


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_file_and_no_other(saved, monkeypatch, step, fault):
    before = saved.read_bytes()

    def fail(*arguments):
        raise fault

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(CheckpointError if isinstance(fault, OSError) else KeyboardInterrupt) as caught:
        save_checkpoint(saved, Checkpoint(SPEC, random_state(SPEC)))
    if isinstance(fault, OSError):
        assert str(saved) in str(caught.value) and "No space left" in str(caught.value)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    for path in (tmp_path / "no such folder" / "a.h5", tmp_path):
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint(path, Checkpoint(SPEC, random_state(SPEC)))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_saving_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "file.h5")
    save_checkpoint(tmp_path / "link.h5", Checkpoint(SPEC, random_state(SPEC)))
    assert (tmp_path / "link.h5").is_symlink() and load_checkpoint(tmp_path / "file.h5").spec == SPEC
