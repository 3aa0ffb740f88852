"""Networks by name: every name is one network, and what is no name or no option of it is refused in one line."""

import json

import pytest

from minisqx.errors import OptionError
from minisqx.spec import zoo
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import BASELINE, SqueezeNextSpec


def test_every_name_is_another_network_and_survives_the_way_through_json():
    specs = [zoo.network(name) for name in zoo.names()]
    assert len(set(specs)) == len(specs) >= 26
    for name, spec in zip(zoo.names(), specs):
        assert spec.name == name
        assert zoo.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        assert zoo.network(spec.name) == spec


@pytest.mark.parametrize(
    "name, spec",
    [
        ("shallow", SqueezeNextSpec()),
        ("shallow-06-0.2x", SqueezeNextSpec(0.2)),
        ("shallow-14-0.5x", SqueezeNextSpec(0.5, (1, 2, 8, 1))),
        ("shallow-14-1281-0.5x", SqueezeNextSpec(0.5, (1, 2, 8, 1))),
        ("shallow-11-1341-0.35x", SqueezeNextSpec(0.35, (1, 3, 4, 1))),
        ("shallow-21-22141-0.7x", SqueezeNextSpec(0.7, (2, 2, 14, 1))),
        ("squeezenext-23-2x-v5", SqueezeNextSpec(2, (2, 4, 14, 1), **BASELINE)),
        ("squeezenet-v1.0", SqueezeNetSpec("1.0")),
    ],
)
def test_a_name_means_its_network(name, spec):
    assert zoo.network(name) == spec and zoo.is_name(name)


def test_options_replace_the_named_networks_own():
    spec = zoo.network("squeezenext-23-1x-v1", dropout=0.3, stem_padding=0, num_classes=7)
    assert (spec.dropout, spec.stem_padding, spec.num_classes, spec.activation) == (0.3, 0, 7, "relu")


@pytest.mark.parametrize(
    "name", ["resnet", "shallow-13-1281-0.5x", "shallow-6-0.2x", "shallow-17-11112-1x", "squeezenext-23-3x-v1", ""]
)
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(OptionError, match=rf"^model '{name}': expected shallow .* or one of shallow-06-0.125x, "):
        zoo.network(name)
    assert not zoo.is_name(name)


def test_an_option_of_another_family_is_refused():
    with pytest.raises(OptionError, match=r"^width 0.5 with squeezenet-v1.1: that network has no such option; leave it out$"):
        zoo.network("squeezenet-v1.1", width=0.5)


def test_a_description_from_before_there_were_families_is_read():
    old = SqueezeNextSpec(0.3, block_order="conv-bn-act").to_dict() | {"block_order": "conv-bn-elu"}
    del old["family"], old["activation"]
    assert zoo.from_dict(old) == SqueezeNextSpec(0.3, block_order="conv-bn-act")


@pytest.mark.parametrize("change", [{"family": "resnet"}, {"version": "1.1"}, {"width": "wide"}])
def test_another_description_is_refused(change):
    with pytest.raises(OptionError):
        zoo.from_dict(SqueezeNextSpec().to_dict() | change)
