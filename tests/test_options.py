"""The options of a run: what is accepted, what is refused and in which words, and what the defaults are."""

import argparse
import json

import pytest

from minisqx.errors import OptionError
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training.options import LATER, TrainingOptions, add_arguments, given_options
from minisqx.training.schedule import OneCycleSchedule


def parse(command: str) -> dict:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return given_options(parser.parse_args(command.split()))


def test_every_option_of_the_command_line_reaches_the_training_options():
    given = parse(
        "--width 0.5 --blocks 1,2,8,1 --dropout 0 --block-order conv-bn-act --stem-padding 1 --separable-order 3x1-1x3"
        " --no-shortcut-activation --data there --image-size 48 --skip-bad-images --epochs 3 --batch-size 7 --lr 0.3"
        " --momentum 0.8 --no-nesterov --weight-decay 5e-4 --schedule step --milestones 1,2 --gamma 0.5 --augment none"
        " --validation 500 --seed 9 --threads 2 --out here --groups prefix --split drawn --recipe modern --init best.h5"
        " --distill large.h5 --freeze stage2 --restarts 1,2 --patience 4 --average 0.9 --class-weights balanced"
    )
    assert TrainingOptions(**given) == TrainingOptions(
        width=0.5,
        blocks=(1, 2, 8, 1),
        dropout=0.0,
        block_order="conv-bn-act",
        stem_padding=1,
        separable_order="3x1-1x3",
        shortcut_activation=False,
        data="there",
        image_size=48,
        skip_bad_images=True,
        epochs=3,
        batch_size=7,
        lr=0.3,
        momentum=0.8,
        nesterov=False,
        weight_decay=5e-4,
        schedule="step",
        milestones=(1, 2),
        gamma=0.5,
        augment="none",
        validation=500,
        seed=9,
        threads=2,
        out="here",
        groups="prefix",
        split="drawn",
        recipe="modern",
        init="best.h5",
        distill="large.h5",
        freeze="stage2",
        restarts=(1, 2),
        patience=4,
        average=0.9,
        class_weights="balanced",
    )


def test_without_options_it_is_the_recipe_of_the_paper():
    options = TrainingOptions(**parse(""))
    assert options == TrainingOptions()
    assert options.network() == SqueezeNextSpec() and (options.epochs, options.batch_size) == (200, 128)
    assert (options.lr, options.momentum, options.nesterov, options.weight_decay, options.gamma) == (0.1, 0.9, True, 1e-4, 0.2)
    assert options.network().name == "shallow-06-0.2x"


def test_options_survive_json():
    options = TrainingOptions(milestones=(2, 5), validation=0.25, blocks=(1, 2, 1, 1))
    assert TrainingOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_the_command_kept_with_weights_means_the_same_run():
    options = TrainingOptions(
        width=0.5, blocks=(1, 1, 4, 1), nesterov=False, milestones=(2, 5), data="my data", threads=2, out="runs"
    )
    words = "minisqx train --width 0.5 --blocks 1,1,4,1 --data 'my data' --no-nesterov --schedule step --milestones 2,5"
    assert options.command() == words
    assert TrainingOptions().command() == "minisqx train"
    assert TrainingOptions(skip_bad_images=True).command() == "minisqx train --skip-bad-images"


@pytest.mark.parametrize("damage", [lambda d: d.pop("lr"), lambda d: d.update(speed=3)])
def test_a_dictionary_with_missing_or_unknown_options_is_refused(damage):
    options = TrainingOptions().to_dict()
    damage(options)
    with pytest.raises(OptionError, match="expected the entries"):
        TrainingOptions.from_dict(options)


def test_a_run_from_before_an_option_existed_goes_on_as_it_was():
    options = TrainingOptions(data="photos", recipe="paper", split="drawn")
    older = {name: value for name, value in options.to_dict().items() if name not in ("skip_bad_images", "split", *LATER)}
    assert TrainingOptions.from_dict(older) == options


def test_the_recipe_kept_with_weights_says_nothing_of_the_machine():
    recipe = TrainingOptions(data="/home/someone/data", out="/home/someone/runs", threads=3).provenance()
    assert "someone" not in str(recipe) and "threads" not in recipe
    assert recipe["momentum"] == 0.9 and recipe["image_size"] is None
    for name in ("init", "distill"):
        assert TrainingOptions(**{name: "/home/someone/best.h5"}).provenance()[name] == "best.h5"


IMPOSSIBLE = [
    ({"width": 0}, "width 0"),
    ({"blocks": (1, 1, 1)}, "blocks (1, 1, 1)"),
    ({"dropout": 1.0}, "dropout 1.0"),
    ({"image_size": 2}, "input size 2 x 2"),
    ({"image_size": 0}, "image size 0"),
    ({"skip_bad_images": 1}, "skip bad images 1"),
    ({"epochs": 0}, "epochs 0"),
    ({"epochs": -1}, "epochs -1"),
    ({"epochs": 2.5}, "epochs 2.5"),
    ({"epochs": True}, "epochs True"),
    ({"batch_size": 0}, "batch size 0"),
    ({"lr": float("nan")}, "lr nan"),
    ({"lr": float("inf")}, "lr inf"),
    ({"lr": 0.0}, "lr 0.0"),
    ({"lr": "fast"}, "lr 'fast'"),
    ({"momentum": 1.0}, "momentum 1.0"),
    ({"momentum": -0.1}, "momentum -0.1"),
    ({"momentum": 0.0}, "momentum 0 with nesterov"),
    ({"nesterov": 1}, "nesterov 1"),
    ({"weight_decay": -1e-4}, "weight decay -0.0001"),
    ({"schedule": "cosine"}, "schedule 'cosine'"),
    ({"milestones": (60, 60)}, "milestones (60, 60)"),
    ({"milestones": (120, 60)}, "milestones (120, 60)"),
    ({"milestones": (0,)}, "milestones (0,)"),
    ({"milestones": (1,), "schedule": "one-cycle"}, "milestones (1,)"),
    ({"restarts": (5, 5)}, "restarts (5, 5)"),
    ({"restarts": (5,), "epochs": 5}, "restarts (5,)"),
    ({"patience": 0}, "patience 0"),
    ({"class_weights": "sqrt"}, "class weights 'sqrt'"),
    ({"recipe": "old"}, "recipe 'old'"),
    ({"split": "random"}, "split 'random'"),
    ({"freeze": "stage9"}, "freeze 'stage9'"),
    ({"freeze": "classifier"}, "freeze 'classifier'"),
    ({"gamma": 0.0}, "gamma 0.0"),
    ({"gamma": 1.5}, "gamma 1.5"),
    ({"augment": "cutout"}, "augment 'cutout'"),
    ({"validation": -0.1}, "validation -0.1"),
    ({"validation": 1.5}, "validation 1.5"),
    ({"seed": -1}, "seed -1"),
    ({"seed": 2**63}, "seed 9223372036854775808"),
    ({"threads": 0}, "threads 0"),
]


@pytest.mark.parametrize("options, start", IMPOSSIBLE, ids=[start for _, start in IMPOSSIBLE])
def test_an_impossible_option_is_refused_with_what_was_given_and_expected(options, start):
    with pytest.raises(OptionError) as refused:
        TrainingOptions(**options)
    message = str(refused.value)
    assert message.startswith(start) and "\n" not in message
    assert "expected" in message or "choose" in message


@pytest.mark.parametrize("words", ["--epochs many", "--lr fast", "--blocks 1,1,x,1", "--milestones 60;120", "--validation some"])
def test_a_word_where_a_number_belongs_is_refused_by_name(words):
    option, word = words.split()
    with pytest.raises(argparse.ArgumentError) as refused:
        parse(words)
    assert option in str(refused.value) and word in str(refused.value) and "expected" in str(refused.value)


def test_validation_is_a_share_below_one_and_a_count_from_one_on():
    assert parse("--validation 0.1") == {"validation": 0.1}
    assert repr(parse("--validation 5000")) == "{'validation': 5000}"
    with pytest.raises(OptionError):
        TrainingOptions(**parse("--validation 1.0"))


def test_one_cycle_climbs_for_a_fifth_of_the_run_and_falls_to_zero():
    schedule = OneCycleSchedule(0.3, epochs=20)
    assert schedule.lr(0) == 0
    assert schedule.lr(2) == pytest.approx(0.15)
    assert schedule.lr(4) == pytest.approx(0.3)
    assert schedule.lr(12) == pytest.approx(0.15)
    assert schedule.lr(20) == 0
