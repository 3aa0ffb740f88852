"""Batches are functions of (seed, epoch, sample): whatever is asked for first, from wherever an epoch is resumed."""

import threading

import numpy as np
import pytest

from minisqx.data import Loader, loader
from minisqx.errors import DataError, OptionError
from minisqx.kernels.augment import crop_and_flip
from minisqx.kernels.counters import AUGMENTATION, GOLDEN, draw, draws, permutation, stream
from minisqx.kernels.layout import Layout

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (53, 9, 7, 3), dtype=np.uint8)
LABELS = RANDOM.integers(0, 10, 53)


def make(batch_size=8, *, augment="crop,flip", seed=0, **options):
    return Loader(IMAGES, LABELS, batch_size, mean=MEAN, std=STD, augment=augment, seed=seed, **options)


def copies(batches):
    """Batches as (images (n, 3, H, W), labels, indices) that outlive the next batch."""
    return [(batch.layout.unpack(batch.data), batch.labels.copy(), batch.indices.copy()) for batch in batches]


def check_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_array_equal(a, b)


def naive_bits(seed, *counters):
    """SplitMix64 in Python's integers, a counter after the other; the last one is the number of the draw."""
    mask = 2**64 - 1

    def output(state):
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        return state ^ (state >> 31)

    golden, key = 0x9E3779B97F4A7C15, 0
    for counter in (seed, *counters[:-1]):
        key = output((key + (counter + 1) * golden) & mask)
    return output((key + counters[-1] * golden) & mask)


def naive_sample(image, seed, epoch, index):
    """Crop and flip of one image by padding, slicing and reversing; uint8 (H, W, 3)."""
    height, width, _ = image.shape
    bits = naive_bits(seed, AUGMENTATION, epoch, index)
    down, right = (bits & 0xFFFF) * 9 >> 16, (bits >> 16 & 0xFFFF) * 9 >> 16
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    crop = padded[down : down + height, right : right + width]
    return crop[:, ::-1] if bits >> 63 else crop


def naive_normalised(image, dtype):
    return ((image.transpose(2, 0, 1) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("augment", ["crop,flip", "none"])
def test_batches_equal_their_plain_numpy_twin_exactly(dtype, augment):
    for batch in make(21, augment=augment, seed=5, dtype=dtype).epoch(3):
        assert batch.data.dtype == dtype
        images = batch.layout.unpack(batch.data)
        for image, index in zip(images, batch.indices, strict=True):
            sample = naive_sample(IMAGES[index], 5, 3, int(index)) if augment != "none" else IMAGES[index]
            np.testing.assert_array_equal(image, naive_normalised(sample, dtype))
        np.testing.assert_array_equal(batch.labels, LABELS[batch.indices])


@pytest.mark.parametrize("batch_size", [1, 5, 16, 40, 53, 200])
def test_data_lies_in_the_layout_of_its_batch_with_padding_zero(batch_size, monkeypatch):
    aligned = Layout.empty
    # Poisoned first, so that an unwritten element is seen.
    monkeypatch.setattr(Layout, "empty", lambda *arguments: np.copyto(out := aligned(*arguments), np.nan) or out)
    for batch in make(batch_size).epoch(0):
        assert batch.layout == Layout.of_batch(len(batch.labels), 9, 7, "float32")
        assert batch.data.shape == (batch.layout.chunks, 3, batch.layout.stride)
        assert np.isfinite(batch.data).all()
        for chunk in range(batch.layout.chunks):
            assert (batch.data[chunk, :, batch.layout.pixels(chunk) :] == 0).all()


def test_every_sample_comes_once_an_epoch_and_the_last_partial_batch_counts():
    batches = copies(make(8).epoch(1))
    assert len(make(8)) == len(batches) == 7 and len(batches[-1][1]) == 5
    assert sorted(np.concatenate([indices for _, _, indices in batches])) == list(range(53))


def test_epochs_are_the_same_in_whatever_order_they_are_asked_for():
    forwards, backwards = make(), make()
    ours = [copies(forwards.epoch(epoch)) for epoch in (0, 1, 2)]
    theirs = [copies(backwards.epoch(epoch)) for epoch in (2, 1, 0)][::-1]
    for one, other in zip(ours, theirs, strict=True):
        check_equal(one, other)
    interleaved = [(next(a), next(b)) for a, b in [(make().epoch(0), make().epoch(1))]]
    check_equal(copies(interleaved[0]), [ours[0][0], ours[1][0]])


@pytest.mark.parametrize("start", [0, 1, 4, 6, 7, 9])
def test_starting_at_a_batch_equals_skipping_those_before(start):
    check_equal(copies(make().epoch(2, start=start)), copies(make().epoch(2))[start:])


def test_a_sample_is_augmented_the_same_whatever_the_batch_size():
    def by_index(batch_size):
        return {index: image for images, _, indices in copies(make(batch_size).epoch(4)) for image, index in zip(images, indices)}

    one, other = by_index(8), by_index(53)
    for index in range(53):
        np.testing.assert_array_equal(one[index], other[index])


def test_seed_and_epoch_both_change_order_and_augmentation():
    first = copies(make().epoch(0))
    for other in (make(seed=1).epoch(0), make().epoch(1)):
        assert any((a[2] != b[2]).any() for a, b in zip(first, copies(other)))
    plain = [copies(make(shuffle=False, seed=seed).epoch(epoch)) for seed, epoch in ((0, 0), (1, 0), (0, 1))]
    assert (plain[0][0][0] != plain[1][0][0]).any() and (plain[0][0][0] != plain[2][0][0]).any()


def test_without_shuffle_and_augmentation_samples_come_as_they_are():
    batches = copies(make(8, augment="none", shuffle=False).epoch(9))
    assert np.concatenate([indices for _, _, indices in batches]).tolist() == list(range(53))


def test_crops_and_flips_are_spread_evenly():
    changes = make()._changes(0)
    found = np.array([crop_and_flip(changes, index) for index in range(18_000)])
    for axis in (0, 1):
        values, counts = np.unique(found[:, axis], return_counts=True)
        assert values.tolist() == list(range(-4, 5))
        assert (abs(counts - 2000) < 200).all()  # 4.7 standard deviations
    assert abs(found[:, 2].mean() - 0.5) < 0.02
    assert abs(np.corrcoef(found.T) - np.eye(3)).max() < 0.03


def test_counters_give_the_published_numbers_of_splitmix64():
    # The first outputs for the seed 1234567, as the generator's public-domain version prints them.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    key = np.uint64(1234567 + int(GOLDEN) & 2**64 - 1)
    assert draws(key, 5).tolist() == expected
    assert [int(draw(key, index)) for index in range(5)] == expected


def test_permutation_is_one_and_depends_on_its_key():
    one, other = permutation(stream(0, 1), 1000), permutation(stream(1, 0), 1000)
    assert sorted(one) == list(range(1000)) and (one != other).any()
    assert abs(np.corrcoef(one, np.arange(1000))[0, 1]) < 0.15
    assert stream(-1) != stream(0) and stream(2**70) == stream(0) and stream(1, 2) != stream(2, 1)


def test_thread_ends_with_its_iterator():
    def makers():
        return [thread for thread in threading.enumerate() if thread.name.startswith("minisqx-loader")]

    list(make().epoch(0))
    assert makers() == []
    half_way = make().epoch(0)
    next(half_way)
    assert len(makers()) == 1
    half_way.close()
    assert makers() == []
    with pytest.raises(KeyboardInterrupt):
        stopped = make().epoch(0)
        for _ in stopped:
            stopped.throw(KeyboardInterrupt)
    assert makers() == []


def test_fault_in_the_thread_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(loader, "fill_batch", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(make().epoch(0))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"batch_size": 0}, OptionError),
        ({"batch_size": "x"}, OptionError),
        ({"batch_size": 2.5}, OptionError),
        ({"seed": -1}, OptionError),
        ({"augment": "no"}, OptionError),
        ({"augment": True}, OptionError),
        ({"shuffle": "no"}, OptionError),
        ({"images": IMAGES.tolist()}, OptionError),
        ({"labels": LABELS.tolist()}, OptionError),
        ({"std": (0.2, 0.2, 0)}, OptionError),
        ({"mean": (0.5, 0.5)}, OptionError),
        ({"mean": (0.5, 0.5, np.nan)}, OptionError),
        ({"images": IMAGES.astype(np.float32)}, DataError),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, DataError),
        ({"labels": LABELS[:5]}, DataError),
        ({"labels": LABELS - 1}, DataError),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(change, error):
    options = {
        "images": IMAGES,
        "labels": LABELS,
        "batch_size": 4,
        "mean": MEAN,
        "std": STD,
        "augment": "crop,flip",
        "seed": 0,
        **change,
    }
    with pytest.raises(error) as caught:
        Loader(options.pop("images"), options.pop("labels"), options.pop("batch_size"), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [-1, 1.5, "x", True])
def test_an_epoch_and_a_start_are_refused_at_once_unless_they_are_numbers(wrong):
    with pytest.raises(OptionError, match="^start .*: expected a whole number from 0$"):
        make().epoch(0, start=wrong)
    for ask in (make().epoch, make().order):
        with pytest.raises(OptionError, match="^epoch .*: expected a whole number from 0$"):
            ask(wrong)
    assert next(make().epoch(np.int64(1), np.int32(6))).indices.tolist() == make().order(1)[48:].tolist()
