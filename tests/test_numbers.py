"""Numbers that NumPy made are taken wherever Python's are, kept as Python's, and written as plain JSON."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

import minisqx
from minisqx.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from minisqx.checks import plain
from minisqx.errors import CheckpointError, OptionError
from minisqx.kernels.layout import Layout
from minisqx.training.options import TrainingOptions

SPEC = {"num_classes": 3, "dropout": 0.25, "width": 0.5, "blocks": (1, 2, 1, 1), "input_size": (32, 40), "stem_padding": 1}
TRAINING = {"epochs": 4, "batch_size": 7, "lr": 0.5, "momentum": 0.5, "weight_decay": 0.25, "gamma": 0.5, "validation": 5}
TRAINING |= {"nesterov": False, "skip_bad_images": True, "seed": 9, "threads": 2, "image_size": 32, "milestones": (1, 3)}


def by_numpy(value, whole=np.int64, floating=np.float32):
    """The same value as NumPy has it; the halves and quarters above are exact in each of its types."""
    if isinstance(value, tuple):
        return tuple(by_numpy(item, whole, floating) for item in value)
    return {bool: np.bool_, int: whole, float: floating}[type(value)](value)


def scalars(value) -> Iterator[object]:
    if isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from scalars(item)
    else:
        yield value


@pytest.mark.parametrize("whole", [np.int8, np.uint16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("floating", [np.float16, np.float32, np.float64, np.longdouble])
def test_numpys_numbers_make_the_same_network_and_run_as_pythons(whole, floating):
    for kind, options in ((minisqx.SqueezeNextSpec, SPEC | {"shortcut_activation": False}), (TrainingOptions, TRAINING)):
        made = kind(**{name: by_numpy(value, whole, floating) for name, value in options.items()})
        assert made == kind(**options)
        assert json.dumps(made.to_dict()) == json.dumps(kind(**options).to_dict())
        assert {type(value) for value in scalars(made.to_dict())} <= {bool, int, float, str, type(None)}


def test_an_array_is_taken_where_a_list_is():
    assert minisqx.SqueezeNextSpec(blocks=np.array([1, 2, 1, 1]), input_size=np.array([32, 40])).blocks == (1, 2, 1, 1)
    assert TrainingOptions(milestones=np.array([1, 3])).milestones == (1, 3)
    assert minisqx.StepSchedule(0.1, 10, milestones=np.array([1, 3])).milestones == (1, 3)


@pytest.mark.parametrize(
    "option", [{"num_classes": np.float64(3)}, {"num_classes": np.True_}, {"width": np.float32("nan")}, {"width": np.True_}]
)
def test_numpys_numbers_of_the_wrong_kind_are_refused_as_pythons_are(option):
    with pytest.raises(OptionError, match=f"^{next(iter(option))} [\\w.]+: expected"):
        minisqx.SqueezeNextSpec(**option)


def test_an_optimizer_and_a_schedule_take_numpys_numbers_and_keep_pythons():
    network = minisqx.Network(minisqx.SqueezeNextSpec(width=0.125), seed=np.uint32(4))
    assert type(network.seed) is int
    optimizer = minisqx.SGD(network, np.float32(0.5), np.float16(0.5), np.True_, np.longdouble(0.25))
    assert [optimizer.lr, optimizer.momentum, optimizer.nesterov, optimizer.weight_decay] == [0.5, 0.5, True, 0.25]
    kinds = {float, bool}
    assert {type(value) for name, value in vars(optimizer).items() if name not in ("network", "velocity")} == kinds
    schedule = minisqx.StepSchedule(np.float32(0.5), np.int64(10), gamma=np.float32(0.5))
    assert type(schedule.lr(np.int64(4))) is float and schedule.lr(4) == 0.25


@pytest.mark.parametrize("rate", [np.float32(0.5), 1])
def test_no_kernel_is_compiled_again_for_a_learning_rate_of_another_type(rate):
    from minisqx.kernels import sgd

    optimizer = minisqx.SGD(minisqx.Network(minisqx.SqueezeNextSpec(width=0.125)), lr=0.1)
    optimizer.step()
    known = len(sgd.step.overloads)
    optimizer.lr = rate
    optimizer.step()
    assert len(sgd.step.overloads) == known


@pytest.mark.parametrize(
    "wrong", [{"lr": "fast"}, {"lr": np.nan}, {"lr": -1}, {"lr": 0.1, "momentum": 1}, {"lr": 0.1, "nesterov": "yes"}]
)
def test_an_optimizer_refuses_what_is_no_number_with_one_line(wrong):
    network = minisqx.Network(minisqx.SqueezeNextSpec(width=0.125))
    with pytest.raises(OptionError, match=": expected "):
        minisqx.SGD(network, **wrong)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("lr", wrong) for wrong in ("x", np.nan, -1, None, True)),
        *(("momentum", wrong) for wrong in (-5, 1, 0, "x")),
        *(("weight_decay", wrong) for wrong in (-1, np.inf)),
        ("nesterov", "no"),
    ],
)
def test_an_optimizers_option_is_checked_when_it_is_set_too(name, wrong):
    network = minisqx.Network(minisqx.SqueezeNextSpec(width=0.125))
    optimizer = minisqx.SGD(network, lr=0.1, momentum=0.9, nesterov=True)
    before = repr(optimizer)
    with pytest.raises(OptionError, match=f"{name}.*: expected "):
        setattr(optimizer, name, wrong)
    assert repr(optimizer) == before


@pytest.mark.parametrize("of", ["model", "parameters", "spec"])
def test_an_optimizer_of_something_else_says_that_it_takes_a_network(of):
    network = minisqx.Network(minisqx.SqueezeNextSpec(width=0.125))
    given = {"model": minisqx.load("shallow-06-0.2x"), "parameters": network.parameters(), "spec": network.spec}[of]
    with pytest.raises(
        OptionError, match=r"^SGD of a \w+: expected a Network, as in SGD\((model\.)?network, lr=0.1\)$"
    ) as caught:
        minisqx.SGD(given, lr=0.1)
    assert ("model.network" in str(caught.value)) == (of == "model")


@pytest.mark.parametrize("dtype", ["<f2", ">f2", ">f4", ">f8", np.longdouble])
def test_cross_entropy_takes_floats_of_any_kind(dtype):
    logits, labels = np.array([[0.5, -1, 2], [3, 0.25, 0]]), np.array([2, 1])
    usual = np.float32 if np.dtype(dtype).itemsize <= 4 else np.float64
    loss, gradient = minisqx.cross_entropy(logits.astype(dtype), labels)
    expected_loss, expected = minisqx.cross_entropy(logits.astype(usual), labels)
    assert loss == expected_loss and gradient.dtype == usual and np.array_equal(gradient, expected)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "one"])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(OptionError, match="^seed .*: expected a whole number from 0 to 9223372036854775807$"):
        minisqx.ShallowSqueezeNext(seed=seed)


@pytest.mark.parametrize("wrong", [{"lr": "fast"}, {"epochs": 0}, {"gamma": np.nan}, {"milestones": 3}, {"milestones": "ab"}])
def test_a_schedule_refuses_what_is_no_number_with_one_line(wrong):
    with pytest.raises(OptionError, match=f"^{next(iter(wrong))} .*: expected "):
        minisqx.StepSchedule(**{"lr": 0.1, "epochs": 10} | wrong)


def test_the_likeliest_classes_are_counted_by_numpys_integers_too():
    prediction = minisqx.Prediction(np.array([0.5, 0.25, 0.25]), ("a", "b", "c"))
    assert prediction.topk(np.uint8(2)) == prediction.topk(2) == [("a", 0.5), ("b", 0.25)]
    for wrong in (np.True_, np.float64(2), np.int64(4)):
        with pytest.raises(OptionError, match="^topk .*: expected a whole number from 1 to 3, the number of classes$"):
            prediction.topk(wrong)


def test_a_layout_of_small_integers_is_the_same_and_does_not_overflow():
    made = Layout.of_batch(np.uint8(200), np.uint8(32), np.uint8(32), "float32", np.uint8(1))
    assert made == Layout.of_batch(200, 32, 32, "float32") and made.chunks == 25
    assert {type(value) for value in vars(made).values()} == {int}


def test_a_checkpoint_keeps_numpys_numbers_as_plain_json(tmp_path):
    network = minisqx.Network(minisqx.SqueezeNextSpec(width=0.125))
    metrics = {"accuracy": np.float32(0.5), "epoch": np.int64(3), "done": np.True_}
    provenance = {"count": np.int64(3), "rates": [np.float32(0.5), 1.5], "sizes": np.arange(3), "done": np.bool_(False)}
    save_checkpoint(tmp_path / "net.h5", Checkpoint(network.spec, network.state_dict(), metrics=metrics, provenance=provenance))
    found = load_checkpoint(tmp_path / "net.h5")
    assert found.metrics == {"accuracy": 0.5, "epoch": 3, "done": 1}
    assert found.provenance == {"count": 3, "rates": [0.5, 1.5], "sizes": [0, 1, 2], "done": False}
    with pytest.raises(CheckpointError, match=r"can't be JSON \(object <object .*>\); expected text, finite numbers"):
        save_checkpoint(tmp_path / "net.h5", Checkpoint(network.spec, network.state_dict(), provenance={"what": object()}))


def test_what_is_no_number_stays_as_it_is():
    assert plain("text") == "text" and plain(None) is None and plain(np.str_("elu")) == "elu"
    assert plain((1, [np.int8(2), (np.float16(0.5),)])) == (1, [2, (0.5,)])
