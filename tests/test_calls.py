"""The calls of a user cost what the engine costs, and never answer for weights or images of another call."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import minisqx
from minisqx import current_plan
from minisqx.data.loader import Loader
from minisqx.errors import ImageError, OptionError
from minisqx.inference import model as inference
from minisqx.inference.model import Model
from minisqx.inference.prediction import softmax
from minisqx.kernels.layout import Layout
from minisqx.machine import sharing
from minisqx.machine.sharing import share
from minisqx.plan import Plan

SIZE = (9, 11)  # 99 pixels: an image alone and the last chunk have padding


def network(dtype="float32"):
    return minisqx.ShallowSqueezeNext(width=0.125, num_classes=3, input_size=SIZE, dtype=dtype)


@pytest.fixture(scope="module")
def model():
    net = network()
    return Model("pets", net.spec, net.state_dict(), ("cat", "dog", "frog"), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), {}, {})


@pytest.fixture(params=[1, 2, 5])
def thread_count(request, monkeypatch):
    monkeypatch.setattr(sharing, "threads", lambda: request.param)
    return request.param


def inputs(count, dtype="float32"):
    return np.random.default_rng(count).normal(size=(count, 3, *SIZE)).astype(dtype)


def pixels(count, size=SIZE):
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3), np.uint8)


def bits(predictions):
    return [prediction.probabilities.tobytes() for prediction in predictions]


def anew(net, x):
    """Logits by a plan that was made just now."""
    plan = net.plan()
    layout = plan.layout(len(x), *SIZE)
    return plan.run(layout.pack(x, layout.empty(3, plan.dtype)), layout)


CHANGES = {
    "one weight": ("stem.weight", (0, 0, 0, 0), 0.25),
    "the last parameter": ("classifier.bias", -1, 7.0),
    "one running mean": ("stem.running_mean", 0, 0.5),
    "one running variance": ("head.running_var", -1, 3.0),
    "NaN": ("classifier.bias", 0, np.nan),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_through_a_view_changes_the_next_forward(change):
    name, place, value = CHANGES[change]
    net, x = network("float64"), inputs(1, "float64")
    before = net.forward(x)
    view = (net.parameters() | net.buffers())[name]
    view[place] = value
    after = net.forward(x)
    assert after.tobytes() != before.tobytes() and after.tobytes() == anew(net, x).tobytes()


def test_the_plan_is_kept_until_a_bit_changes():
    net = network()
    kept = lambda: net._current_plan.of(net.flat_parameters, net.flat_buffers)  # noqa: E731
    net.flat_parameters[[3, -1]] = 0.0, np.nan
    plan = kept()
    assert kept() is plan  # a NaN is no change
    smallest = np.nextafter(net.flat_buffers[-1], np.float32(9))
    for array, place, value in ((net.flat_parameters, 3, -0.0), (net.flat_parameters, -1, 0.0), (net.flat_buffers, -1, smallest)):
        array[place] = value
        before, plan = plan, kept()
        assert plan is not before and kept() is plan


def test_a_plan_is_made_from_the_copy_that_it_is_compared_with(monkeypatch):
    net, x = network(), inputs(1)
    expected, old = anew(net, x).tobytes(), net.flat_parameters.copy()

    def changed_meanwhile(spec, state):
        net.flat_parameters[:] *= 2
        return Plan(spec, state)

    monkeypatch.setattr(current_plan, "Plan", changed_meanwhile)
    assert net.forward(x).tobytes() == expected
    monkeypatch.undo()
    net.flat_parameters[:] = old
    assert net.forward(x).tobytes() == expected


def test_forward_while_a_number_changes_is_of_one_whole_state():
    net, x = network(), inputs(2)
    weight, values = net.parameters()["stem.weight"], [0.1, 0.2, 0.3, 0.4]
    states = []
    for value in values:
        weight[0, 0, 0, 0] = value
        states.append(anew(net, x).tobytes())
    done = threading.Event()

    def change():
        while not done.is_set():
            for value in values:
                weight[0, 0, 0, 0] = value
                time.sleep(0.001)

    with ThreadPoolExecutor(9) as pool:
        changing = pool.submit(change)
        try:
            found = set(pool.map(lambda _: net.forward(x).tobytes(), range(400)))
        finally:
            done.set()
        changing.result()
    assert len(set(states)) == len(states) and found <= set(states) and len(found) > 1
    assert net.forward(x).tobytes() == states[-1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward_has_the_bits_of_a_packed_run_for_any_array(dtype):
    net = network(dtype)
    exact = inputs(19, dtype)
    expected = anew(net, exact).tobytes()
    backwards = np.ascontiguousarray(exact[::-1, :, :, ::-1])[::-1, :, :, ::-1]
    fortran = np.asfortranarray(exact)
    for x in (exact, backwards, fortran, exact.astype("float64")):
        assert net.forward(x).tobytes() == expected
    whole = np.arange(3 * 99).reshape(1, 3, *SIZE)
    assert net.forward(whole).tobytes() == net.forward(whole.astype(dtype)).tobytes()


def test_the_padding_of_an_input_is_zero_whatever_a_run_has_left():
    plan, seen = network().plan(), []
    table = plan._table(1, *SIZE)
    run = plan._new_run(table, 1)
    run.x[:] = np.nan
    plan._idle[table].append(run._replace(call=lambda: seen.append(run.x[:, table.pixels : table.columns].copy())))
    plan.run_images(inputs(1))
    plan.run_pixels(pixels(1), np.ones((3, 256), np.float32))
    assert len(seen) == 2 and all(padding.size and (padding == 0).all() for padding in seen)


def test_forward_takes_a_loaders_batch_in_its_own_layout():
    net, images = network(), pixels(40)
    loader = Loader(images, np.zeros(40, np.int64), 40, mean=(0.5,) * 3, std=(0.2,) * 3, augment="none", seed=0, shuffle=False)
    (batch,) = loader.epoch(0)
    assert batch.layout == Layout.of_batch(40, *SIZE, "float32") != net.plan().layout(40, *SIZE)
    assert net.forward(batch).tobytes() == anew(net, batch.layout.unpack(batch.data)).tobytes()


@pytest.mark.parametrize("classes", [1, 2, 7, 8, 10, 127, 129, 1000])
def test_softmax_has_numpys_bits(classes):
    for dtype in ("float32", "float64"):
        logits = np.random.default_rng(classes).normal(size=(5, classes)).astype(dtype) * 9
        shifted = logits.astype(np.float64)
        powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
        assert softmax(logits).tobytes() == (powers / powers.sum(axis=1, keepdims=True)).tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_softmax_refuses_what_is_not_finite(value):
    for place in (0, 2):
        logits = np.zeros((2, 3), np.float32)
        logits[1, place] = value
        assert softmax(logits) is None


def test_an_array_of_images_is_answered_as_its_images_are(model, thread_count):
    images = pixels(35)
    alone = bits([model.infer(one) for one in images])
    read_only = images.copy()
    read_only.flags.writeable = False
    assert len(set(alone)) == len(alone)
    for given in (images, list(images), read_only, images[::-1][::-1], np.asfortranarray(images)):
        assert bits(model.infer(given)) == alone
    assert bits(model.infer(images[..., ::-1], bgr=True)) == alone
    assert bits(model.infer(images.astype(np.uint16) * 257)) == alone
    assert bits(model.infer(images / 255)) == alone
    assert bits(minisqx.infer(images[:2], model)) == alone[:2]
    larger = pixels(9, (20, 30))
    assert bits(model.infer(larger)) == bits([model.infer(one) for one in larger])
    assert model.infer(images[:0]) == []


def test_probabilities_are_those_of_the_predictions_in_one_array(model, monkeypatch):
    images = pixels(11)
    expected = b"".join(bits(model.infer(images)))
    monkeypatch.setattr(inference, "IMAGES_AT_ONCE", 4)
    for given in (images, list(images)):
        found = model.probabilities(given)
        assert found.shape == (11, 3) and found.dtype == np.float64 and found.flags.writeable and found.tobytes() == expected
    assert model.probabilities(images[..., ::-1], bgr=True).tobytes() == expected
    assert model.probabilities([]).shape == (0, 3)
    with pytest.raises(OptionError, match="expected a list of images, or an array"):
        model.probabilities(images[0])
    with pytest.raises(ImageError, match=r"^\[2\] of the list: "):
        model.probabilities([*images[:2], b"", b""])


def test_the_first_bad_image_is_the_error_whichever_thread_is_faster(model, thread_count, tmp_path, monkeypatch):
    load = inference.load_image

    def slow_for_files(source, *arguments, **options):
        if not isinstance(source, np.ndarray):
            time.sleep(0.005)
        return load(source, *arguments, **options)

    monkeypatch.setattr(inference, "load_image", slow_for_files)
    good = [*pixels(6)]
    missing = tmp_path / "missing.png"
    images = [good[0], good[1], missing, good[2], b"no picture", np.full((3, 3), 7.0), good[3], np.zeros((*SIZE, 3), int), None]
    with pytest.raises(ImageError, match=r"^\[2\] of the list: there is no file .*missing.png") as raised:
        model.infer(images)
    assert isinstance(raised.value.__cause__, ImageError)
    answers = model.infer(images, errors="return")
    for number, (one, answer) in enumerate(zip(images, answers, strict=True)):
        if any(one is array for array in good):
            assert bits([answer]) == bits([model.infer(one)])
        else:
            with pytest.raises(ImageError) as alone:
                model.infer(one)
            assert isinstance(answer, ImageError) and str(answer) == f"[{number}] of the list: {alone.value}"
    with pytest.raises(ImageError, match=r"^\[1\] of the array: an array of float64 with values from 7 to 7"):
        model.infer(np.stack([np.zeros((3, 3, 3)), np.full((3, 3, 3), 7.0)]))


def test_files_are_decoded_on_all_threads_and_objects_on_the_callers(model, tmp_path, monkeypatch):
    encoded = io.BytesIO()
    large = pixels(1, (40, 50))[0]
    Image.fromarray(large).save(encoded, "PNG")
    (tmp_path / "a.png").write_bytes(encoded.getvalue())
    shared = [tmp_path / "a.png", str(tmp_path / "a.png"), encoded.getvalue(), bytearray(encoded.getvalue()), large] * 3
    # Both pictures read from one file, whose place each of them moves.
    owned = [encoded, Image.open(encoded), Image.open(encoded), Image.fromarray(large)] * 3
    load, users, caller = inference.load_image, {}, threading.get_ident()

    def watched(source, *arguments, **options):
        users.setdefault(type(source), set()).add(threading.get_ident())
        time.sleep(0.002)
        return load(source, *arguments, **options)

    monkeypatch.setattr(sharing, "threads", lambda: 3)
    monkeypatch.setattr(inference, "load_image", watched)
    answers = model.infer([image for pair in zip(shared, owned) for image in pair])
    assert len(set(bits(answers))) == 1
    of = {kind: users.pop(kind) for kind in (io.BytesIO, Image.Image, type(owned[1]))}
    assert all(used == {caller} for used in of.values())
    assert len(set().union(*users.values()) - {caller}) == 2


@pytest.mark.parametrize("own", [(), (0, 3, 7)])
def test_shared_work_ends_with_the_failure_of_the_lowest_number(thread_count, own):
    done = []

    def work(number):
        if number == 5:
            time.sleep(0.02)
        if number in (5, 6, 30):
            raise ValueError(number)
        done.append(number)

    with pytest.raises(ValueError) as raised:
        share(work, [number for number in range(40) if number not in own], own)
    assert raised.value.args == (5,) and {0, 1, 2, 3, 4} <= set(done) and max(done) < 30


def test_shared_work_that_the_user_stops_raises_that():
    def work(number):
        if number == 1:
            raise ValueError
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        share(work, [2], own=[0])
