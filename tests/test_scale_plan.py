"""`minisqx scale-plan`: what would be exchanged is what the stages gather, and the formula is the one that is written down."""

import pytest

from minisqx.cli import main
from minisqx.errors import OptionError
from minisqx.kernels.layout import Layout
from minisqx.spec import BottleneckSpec, zoo
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training import scaling


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(scaling, "SECONDS", 0.0)


def test_the_exchanges_of_a_step_are_those_of_its_layers():
    spec, images = SqueezeNextSpec(width=0.2), 32
    alone, two = scaling.plan(spec, images, 2, latency=1.0, bandwidth=1e6)
    chunks = Layout.of_batch(images, 32, 32, "float32").chunks
    bottlenecks = [unit for unit in spec.units if isinstance(unit, BottleneckSpec)]
    assert alone.exchanges == alone.moved == alone.exchanging == 0
    # Moments forward and gradients backward of each convolution; sums of each bottleneck; averages, and totals of maps.
    assert two.exchanges == 2 * len(spec.groups) + len(bottlenecks) + 2
    moved = sum(chunks * 3 * 8 * unit.output_shape[0] for unit in bottlenecks) + images * spec.convolutions[-1].out_channels * (
        4 + 8
    )
    for group in spec.groups:
        channels, taps = sum(layer.out_channels for layer in group), group[0].kernel[0] * group[0].kernel[1]
        moved += chunks * channels * (2 * 8 + 4 * (group[0].in_channels + 1) * taps)
    assert two.moved == moved
    assert two.exchanging == two.exchanges * 1.0 + two.moved / 2 / 1e6


def test_a_plan_ends_with_as_many_ranks_as_there_are_chunks():
    counts = [each.ranks for each in scaling.plan(zoo.network("squeezenet-v1.1"), 32, 64, latency=1e-6, bandwidth=1e9)]
    assert counts == [1, 2, 4]
    assert [each.ranks for each in scaling.plan(SqueezeNextSpec(width=0.125), 11, 9, latency=1e-6, bandwidth=1e9)] == [
        1,
        2,
        4,
        8,
        9,
    ]


def test_scale_plan_says_where_it_stops_paying_and_what_else_there_is(capsys):
    assert main(["scale-plan", "--width", "0.125", "--ranks", "32", "--latency-us", "1e6", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert "It pays up to 1 ranks" in text and "has 16 chunks" in text and "minisqx sweep" in text


@pytest.mark.parametrize("words", [("--ranks", "0"), ("--latency-us", "0"), ("--bandwidth-gbs", "-1"), ("--batch-size", "0")])
def test_scale_plan_refuses_what_can_not_be(words, capsys):
    assert main(["scale-plan", *words]) == OptionError.exit_code
