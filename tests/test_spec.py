"""The description of the networks, against the paper's tables and the sizes that were decoded from them."""

import math

import pytest

from minisqx.errors import OptionError
from minisqx.spec import zoo
from minisqx.spec.squeezenext import SqueezeNextSpec

ONE, DEEP = (1, 1, 1, 1), (1, 2, 8, 1)

# Width, blocks -> trainable parameters, bytes of float32 state. Rows of Tables I, II, III, IV and V; what the paper prints as the
# file's size is within 0.3 % of what a PyTorch file of this state takes (or, where it says "probably", close to it).
PAPER = {
    (0.125, ONE): (5_081, 22_316),
    (0.2, ONE): (11_253, 48_092),
    (0.2, DEEP): (22_323, 96_388),  # probably
    (0.3, ONE): (24_731, 103_604),
    (0.4, ONE): (43_073, 178_564),
    (0.5, ONE): (67_670, 278_648),  # probably
    (0.575, ONE): (86_922, 356_744),
    (0.6, ONE): (94_516, 387_520),
    (0.4, (1, 2, 6, 1)): (74_789, 311_484),
    (0.5, (1, 1, 4, 1)): (96_902, 399_800),
    (0.7, (1, 1, 2, 1)): (146_178, 597_704),
    (0.5, DEEP): (138_446, 572_312),
    (0.8, ONE): (167_063, 680_900),
    (0.9, ONE): (210_661, 856_884),
    (0.7, (2, 2, 14, 1)): (371_036, 1_521_912),
    (1.5, ONE): (581_998, 2_351_896),
    (2.0, ONE): (1_028_666, 4_146_536),
    (2.0, DEEP): (2_113_562, 8_528_360),
}


@pytest.mark.parametrize("width, blocks", PAPER)
def test_a_network_of_the_paper_has_its_parameters_and_its_bytes(width, blocks):
    spec = SqueezeNextSpec(width=width, blocks=blocks)
    assert (spec.parameters, spec.state_bytes) == PAPER[width, blocks]


def test_table_6_is_the_deep_network_of_width_1_without_shortcuts_and_norm():
    spec = SqueezeNextSpec(width=1.0, blocks=DEEP)
    without_norm = {layer.name: _weights_and_biases(layer) for layer in spec.layers}
    shortcuts = sum(count for name, count in without_norm.items() if name.endswith("shortcut"))
    assert sum(without_norm.values()) - shortcuts == 482_050
    assert sum(without_norm.values()) == 527_586
    assert spec.parameters == 536_850


def _weights_and_biases(layer):
    return sum(math.prod(layer.parameter_shapes[kind]) for kind in ("weight", "bias"))


@pytest.mark.parametrize(
    "width, blocks, millions",
    [
        (0.125, ONE, "0.39"),
        (0.2, ONE, "0.735"),
        (0.3, ONE, "1.48"),
        (0.4, ONE, "2.47"),
        (0.5, ONE, "3.89"),
        (1.0, ONE, "14.0"),
        (2.0, ONE, "52.9"),
        (0.2, DEEP, "1.40"),
        (1.0, DEEP, "32.6"),
    ],
)
def test_multiply_adds_of_an_image(width, blocks, millions):
    decimals = len(millions.split(".")[1])
    assert f"{SqueezeNextSpec(width=width, blocks=blocks).macs / 1e6:.{decimals}f}" == millions


@pytest.mark.parametrize(
    "width, stem, stages, head",
    [(0.2, 12, (6, 12, 25, 51), 25), (0.125, 8, (4, 8, 16, 32), 16), (1.0, 64, (32, 64, 128, 256), 128)],
)
def test_channels_are_cut_as_in_the_authors_code(width, stem, stages, head):
    spec = SqueezeNextSpec(width=width)
    assert spec.stem.out_channels == stem and spec.head.out_channels == head
    assert tuple(block.main[-1].out_channels for block in spec.bottlenecks) == stages


def test_a_bottleneck_at_width_02_squeezes_to_three_channels_and_one():
    first = SqueezeNextSpec(width=0.2).bottlenecks[0]
    assert [layer.out_channels for layer in first.main] == [3, 1, 3, 3, 6]
    assert [layer.kernel for layer in first.main] == [(1, 1), (1, 1), (1, 3), (3, 1), (1, 1)]
    assert [layer.padding for layer in first.main] == [(0, 0), (0, 0), (0, 1), (1, 0), (0, 0)]


@pytest.mark.parametrize("padding, sizes", [(0, (30, 30, 15, 8, 4)), (1, (32, 32, 16, 8, 4))])
def test_strides_and_the_stems_padding_make_the_map_sizes(padding, sizes):
    spec = SqueezeNextSpec(stem_padding=padding)
    found = [spec.stem.output_size, *(block.main[-1].output_size for block in spec.bottlenecks)]
    assert found == [(size, size) for size in sizes]
    assert [block.main[0].stride for block in spec.bottlenecks] == [(1, 1), (2, 2), (2, 2), (2, 2)]


def test_the_separable_order_turns_the_two_thin_kernels_round():
    kernels = [layer.kernel for layer in SqueezeNextSpec(separable_order="3x1-1x3").bottlenecks[0].main]
    assert kernels == [(1, 1), (1, 1), (3, 1), (1, 3), (1, 1)]


def test_a_shortcut_stands_only_where_the_shape_changes():
    spec = SqueezeNextSpec(width=1.0, blocks=(2, 2, 3, 1))
    names = [block.name for block in spec.bottlenecks if block.shortcut is None]
    assert names == ["stage1.block2", "stage2.block2", "stage3.block2", "stage3.block3"]


def test_names_follow_the_forward_pass_with_the_main_path_before_the_shortcut():
    names = [layer.name for layer in SqueezeNextSpec(blocks=(1, 2, 1, 1)).layers]
    assert names[:8] == [
        "stem",
        *(f"stage1.block1.conv{n}" for n in range(1, 6)),
        "stage1.block1.shortcut",
        "stage2.block1.conv1",
    ]
    assert names[-3:] == ["stage4.block1.shortcut", "head", "classifier"]
    parameters = list(SqueezeNextSpec().parameter_shapes)
    assert parameters[:4] == ["stem.weight", "stem.bias", "stem.gamma", "stem.beta"]
    assert parameters[-2:] == ["classifier.weight", "classifier.bias"]
    assert list(SqueezeNextSpec().buffer_shapes)[:2] == ["stem.running_mean", "stem.running_var"]


@pytest.mark.parametrize(
    "width, blocks, name",
    [
        (0.2, ONE, "shallow-06-0.2x"),
        (0.5, (1, 1, 4, 1), "shallow-09-0.5x"),
        (0.35, (1, 1, 4, 1), "shallow-09-1141-0.35x"),
        (0.35, ONE, "shallow-06-0.35x"),
    ],
)
def test_the_name_is_the_papers_and_has_the_blocks_where_the_paper_has_none(width, blocks, name):
    assert SqueezeNextSpec(width=width, blocks=blocks).name == name


def test_a_description_survives_the_way_through_plain_types():
    spec = SqueezeNextSpec(
        width=0.7, blocks=(2, 2, 14, 1), num_classes=3, dropout=0, input_size=(64, 48), block_order="conv-bn-act"
    )
    assert zoo.from_dict(spec.to_dict()) == spec
    for change in ({"depth": 3}, {"width": None}):
        with pytest.raises(OptionError):
            zoo.from_dict(spec.to_dict() | change)


@pytest.mark.parametrize(
    "option, value",
    [
        *(("width", value) for value in (0, -0.2, 17, float("nan"), float("inf"), "0.2", True, 0.01)),
        *(
            ("blocks", value)
            for value in ((1, 1, 1), (1, 1, 1, 1, 1), (0, 1, 1, 1), (1, 1, 101, 1), (1, 1, 1.0, 1), "1111", None)
        ),
        *(("num_classes", value) for value in (0, -1, 2.0, True, 100_001)),
        *(("dropout", value) for value in (1, -0.1, float("nan"), "0.3")),
        *(("input_size", value) for value in ((0, 32), (32,), 32, (2, 32), (32, 2), (5000, 32), (32.0, 32))),
        ("block_order", "elu-conv-bn"),
        ("stem_padding", 2),
        ("separable_order", "3x3"),
        ("shortcut_activation", 1),
    ],
)
def test_an_impossible_option_is_refused_in_one_line_that_names_it(option, value):
    with pytest.raises(OptionError) as caught:
        SqueezeNextSpec(**{option: value})
    assert "\n" not in str(caught.value) and option.replace("_", " ") in str(caught.value).replace("_", " ")


@pytest.mark.parametrize("size", [(32, 32), (48, 48), (64, 64), (96, 96), (8, 8), (3, 3), (33, 57)])
def test_an_input_size_that_the_strides_allow_is_taken(size):
    assert min(SqueezeNextSpec(input_size=size).head.output_size) >= 1
