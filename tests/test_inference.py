"""Inference: an image in, the right answer out, the same bits every time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import minisqx
from minisqx.checkpoint import Checkpoint, save_checkpoint
from minisqx.errors import CheckpointError, ImageError, OptionError
from minisqx.inference import model as inference
from minisqx.inference.prediction import Prediction, softmax
from minisqx.spec import zoo

CLASSES = ("cat", "dog", "frog")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def image(seed, height=32, width=32):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def network(**options):
    """A network whose every tensor is random, as after training, so that none is left out by chance."""
    net = minisqx.ShallowSqueezeNext(width=0.125, num_classes=len(CLASSES), **options)
    generator = np.random.default_rng(1)
    for view in (net.parameters() | net.buffers()).values():
        view += generator.uniform(-0.3, 0.3, view.shape)
    return net


def saved(path, net, **more):
    save_checkpoint(path, Checkpoint(net.spec, net.state_dict(), classes=CLASSES, mean=MEAN, std=STD, **more))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("weights") / "pets.h5", network(), metrics={"test_accuracy": 0.5})


@pytest.fixture(scope="module")
def model(weights):
    return minisqx.load(weights)


def bits(prediction):
    return prediction.probabilities.tobytes()


def test_a_loaded_model_holds_what_was_saved(model):
    assert (model.name, model.classes, model.mean, model.std) == ("pets.h5", CLASSES, MEAN, STD)
    assert model.metrics == {"test_accuracy": 0.5} and model.network.spec.width == 0.125


def test_a_prediction_is_the_softmax_of_the_network_on_the_normalised_pixels(model):
    pixels = image(0)
    x = ((pixels / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32).transpose(2, 0, 1)[None]
    logits = network().forward(x, training=False).astype(np.float64)[0]
    expected = np.exp(logits) / np.exp(logits).sum()
    prediction = model.infer(pixels)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-12)
    assert prediction.index == expected.argmax() and prediction.label == CLASSES[expected.argmax()]
    assert prediction.probability == prediction.probabilities.max()


def test_an_image_has_the_same_bits_alone_and_in_any_list(model):
    """Also in a list that is longer than what is run at once, on both sides of that bound."""
    images = [image(seed) for seed in range(inference.IMAGES_AT_ONCE + 3)]
    alone = [bits(model.infer(one)) for one in images]
    assert inference.IMAGES_AT_ONCE == 128 and len(set(alone)) == len(alone)
    for count in (1, 2, 17, 35, 127, 128, 129, 131):
        assert [bits(prediction) for prediction in model.infer(images[:count])] == alone[:count]
    assert [bits(prediction) for prediction in model.infer(tuple(reversed(images)))] == alone[::-1]


def test_a_long_list_is_answered_in_order(model, monkeypatch):
    monkeypatch.setattr(inference, "IMAGES_AT_ONCE", 4)
    images = [image(seed) for seed in range(11)]
    assert [bits(prediction) for prediction in model.infer(images)] == [bits(model.infer(one)) for one in images]


def test_an_empty_list_has_an_empty_answer(model):
    assert model.infer([]) == []


def test_threads_that_share_a_model_do_not_disturb_each_other(model):
    images = [image(seed) for seed in range(24)]
    alone = [bits(model.infer(one)) for one in images]
    with ThreadPoolExecutor(4) as pool:
        assert [bits(prediction) for prediction in pool.map(model.infer, images)] == alone


def test_a_path_a_picture_and_an_array_are_the_same_image(model, tmp_path):
    pixels = image(3, 50, 70)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    sources = [tmp_path / "cat.png", str(tmp_path / "cat.png"), Image.fromarray(pixels), pixels]
    assert len({bits(prediction) for prediction in model.infer(sources)}) == 1


def test_a_network_of_another_input_size_and_type_gets_its_own_size(tmp_path):
    net = network(input_size=(24, 40), dtype="float64")
    model = minisqx.load(saved(tmp_path / "wide.h5", net))
    assert model.network.dtype == np.float64
    pixels = image(4, 24, 40)
    x = ((pixels / 255 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(model.infer(pixels).probabilities, softmax(net.forward(x, training=False))[0])
    assert len(model.infer(image(5, 100, 30)).probabilities) == 3


def test_save_and_load_keep_a_networks_predictions(tmp_path):
    net = network()
    net.save(tmp_path / "net.h5")
    x = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    after = minisqx.load(tmp_path / "net.h5").network.forward(x, training=False)
    np.testing.assert_array_equal(after, net.forward(x, training=False))


def test_infer_takes_a_model_or_what_load_takes(model, weights):
    expected = bits(model.infer(image(0)))
    assert bits(minisqx.infer(image(0), model)) == expected
    assert bits(minisqx.infer(image(0), weights)) == expected
    assert bits(minisqx.infer(image(0), model=str(weights))) == expected
    assert [bits(prediction) for prediction in minisqx.infer([image(0)], model)] == [expected]


@pytest.fixture
def shipped(monkeypatch, weights):
    """The weights of these tests as if they came with minisqx, and a list that grows each time they are read."""
    reads = []
    read = inference.load_weights
    monkeypatch.setattr(inference, "load_weights", lambda path, network: reads.append(path) or read(path, network))
    monkeypatch.setattr(zoo, "weights", lambda: {zoo.DEFAULT: weights, "other": weights})
    inference._default_model.cache_clear()
    yield reads
    inference._default_model.cache_clear()


def test_without_a_model_the_shipped_weights_are_read_once(model, shipped):
    for seed in (0, 1):
        assert bits(minisqx.infer(image(seed))) == bits(model.infer(image(seed)))
    assert len(shipped) == 1


def test_a_shipped_model_goes_by_its_name(shipped):
    assert minisqx.load("other").name == "other"


def test_an_unknown_name_is_refused_with_the_known_ones(shipped):
    with pytest.raises(CheckpointError, match=rf"no model 'shallow-99'; .* or one of other, {zoo.DEFAULT}$"):
        minisqx.load("shallow-99")


def test_without_any_shipped_weights_infer_says_so(shipped, monkeypatch):
    monkeypatch.setattr(zoo, "weights", dict)
    with pytest.raises(CheckpointError, match="no weights come with this installation"):
        minisqx.infer(image(0))


def test_a_damaged_file_is_refused(tmp_path, weights):
    (tmp_path / "bad.h5").write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="bad.h5"):
        minisqx.load(tmp_path / "bad.h5")


def test_an_unusable_image_is_refused_and_in_a_list_its_place_is_named(model, tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="there is no file"):
        model.infer(tmp_path / "missing.png")
    with pytest.raises(ImageError, match=r"^\[1\] of the list: "):
        model.infer([image(0), np.full((3, 3), 7.0)])
    monkeypatch.setattr(inference, "IMAGES_AT_ONCE", 2)
    with pytest.raises(ImageError, match=r"^\[3\] of the list: "):
        model.infer([image(0), image(1), image(2), np.full((3, 3), 7.0)])


def test_bad_images_in_a_list_cost_no_answer_of_the_others(model, monkeypatch):
    monkeypatch.setattr(inference, "IMAGES_AT_ONCE", 4)
    bad = {1: b"no picture", 4: "missing.png", 5: None, 6: np.full((3, 3), 7.0), 7: b""}
    images = [bad.get(index, image(index)) for index in range(11)]
    answers = model.infer(images, errors="return")
    assert len(answers) == len(images)
    for index, answer in enumerate(answers):
        if index in bad:
            assert isinstance(answer, ImageError) and str(answer).startswith(f"[{index}] of the list: ")
        else:
            assert bits(answer) == bits(model.infer(image(index)))
    assert model.infer(list(bad.values()), errors="return")[-1].exit_code == ImageError.exit_code
    assert minisqx.infer([b"no picture"], model, errors="return")[0].args == model.infer([b"no picture"], errors="return")[0].args


@pytest.mark.parametrize("img, errors", [([], "ignore"), ([], None), (b"one image", "return")])
def test_what_errors_may_be_is_said(model, img, errors):
    with pytest.raises(OptionError, match="errors=.*: expected 'raise', or 'return' with a list of images"):
        model.infer(img, errors=errors)


def test_options_of_reading_reach_every_image(model):
    rgb = image(0)
    for one in (rgb[:, :, ::-1], [rgb[:, :, ::-1]]):
        answer = minisqx.infer(one, model, bgr=True)
        assert bits(answer[0] if isinstance(answer, list) else answer) == bits(model.infer(rgb))
        with pytest.raises(OptionError, match="no reader for UNHEARD"):
            minisqx.infer(b"", model, formats=["UNHEARD"])


def test_a_model_that_is_not_finite_is_refused(tmp_path):
    net = network()
    net.parameters()["classifier.bias"][0] = np.nan
    with pytest.raises(CheckpointError, match="broken.h5.* no finite numbers"):
        minisqx.load(saved(tmp_path / "broken.h5", net)).infer(image(0))


def test_softmax_takes_large_numbers():
    np.testing.assert_array_equal(softmax(np.array([[1e4, 0, -1e4], [0, 0, 0]], np.float32)), [[1, 0, 0], [1 / 3] * 3])


PREDICTION = Prediction(np.array([0.25, 0.125, 0.5, 0.125]), ("ant", "bee", "cow", "doe"))


def test_topk_is_sorted_and_a_tie_goes_to_the_lower_number():
    assert PREDICTION.topk(4) == [("cow", 0.5), ("ant", 0.25), ("bee", 0.125), ("doe", 0.125)]
    assert PREDICTION.topk(np.int64(1)) == [("cow", 0.5)]
    alike = Prediction(np.full(64, 1 / 64), tuple(map(str, range(64))))
    assert [label for label, _ in alike.topk(64)] == list(alike.classes)


@pytest.mark.parametrize("k", [0, -1, 5, 2.0, "3", True, None])
def test_topk_refuses_an_impossible_number_of_classes(k):
    with pytest.raises(OptionError, match="whole number from 1 to 4"):
        PREDICTION.topk(k)


def test_a_prediction_prints_as_one_helpful_line():
    assert str(PREDICTION) == "cow 50.0 % (ant 25.0 %, bee 12.5 %)"
    assert repr(PREDICTION) == "Prediction(label='cow', index=2, probability=0.5000)"
    assert str(Prediction(np.array([1.0]), ("only",))) == "only 100.0 %"


def test_probabilities_cannot_be_changed(model):
    with pytest.raises(ValueError, match="read-only"):
        model.infer(image(0)).probabilities[0] = 1
