"""The fused basic block on its own: exact on integers at every shape, and its naive twin's numbers in every variant."""

from dataclasses import replace

import numpy as np
import pytest

from minisqx.errors import OptionError
from minisqx.gradcheck import relative_difference
from minisqx.kernels.blocks import blocks_in
from minisqx.kernels.structures import EPSILON
from minisqx.kernels.tiles.simd import VECTOR_BYTES
from minisqx.layers import Gradient, materialise
from tests import naive
from tests.kernel_calls import packed, poisoned
from tests.layer_cases import BLOCKS, DEFERRED, BlockCase, channels, integers
from tests.layer_shapes import ODD_SHAPES, SHAPES, Shape

# Another order of some hundred sums; in float32 through a batch norm and back, where terms cancel: 1.5e-5 with vectors of 16
# lanes, and 4.6e-5 with 4, each of which sums four times as many terms.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5 if VECTOR_BYTES > 16 else 1e-4}

VARIANTS = {
    "1x1": Shape(5, (4,), (1, 1), 1, (0, 0), (7, 6)),
    "1x3": Shape(3, (5,), (1, 3), 1, (0, 1), (7, 6)),
    "3x1": Shape(4, (3,), (3, 1), 1, (1, 0), (7, 6)),
    "3x3": Shape(3, (7,), (3, 3), 1, (0, 0), (8, 9)),
    "3x3-padded": Shape(3, (2,), (3, 3), 1, (1, 1), (5, 6)),
    "stride-2": Shape(6, (5,), (1, 1), 2, (0, 0), (7, 8)),
    "with-shortcut": Shape(5, (3, 6), (1, 1), 1, (0, 0), (6, 5)),
    "stride-2-with-shortcut": Shape(4, (3, 7), (1, 1), 2, (0, 0), (9, 7)),
    "more-pixels-than-a-block": Shape(3, (4,), (3, 1), 1, (1, 0), (31, 35)),
    "more-pixels-than-a-block-stride-2": Shape(3, (2, 2), (1, 1), 2, (0, 0), (61, 69)),
}


def pass_gradients_on(case: BlockCase) -> None:
    """A batch norm whose backward changes nothing: variance 1 - epsilon, no sums."""
    norm = case.block.norm
    norm.mean[:], norm.variance[:], norm.sums[:] = 0, 1 - EPSILON, 0


def integer_backward(case: BlockCase, dout: np.ndarray) -> dict[str, np.ndarray]:
    """The block's backward with a batch norm that passes gradients on as they are: gamma 1, variance 1 - epsilon, no sums."""
    data, _ = packed(dout, case.dtype, case.input.layout.images_per_chunk)
    case.poison(keep=("e", "scale", "shift"))
    pass_gradients_on(case)
    case.parameters.gamma[:] = 1
    return case.finish(case.block.backward(Gradient(stored=data)))


@pytest.mark.parametrize("shape", [*SHAPES, *ODD_SHAPES], ids=str)
def test_convolutions_of_integers_are_exact_forward_and_backward(shape):
    images = 3 if np.prod(shape.size) > 100 else 5
    case = BlockCase(shape, "float32", images, shortcut_activation=False, draw=integers)
    case.block.activated = 0
    case.forward()
    x, weight = case.x, case.arrays["weight"]
    e = case.out_layout.unpack(case.stored)
    assert e.any() and np.array_equal(e, case.naive.convolution(x, weight, case.arrays["bias"]))
    dout = integers(case.generator, *e.shape)
    found = integer_backward(case, dout)
    assert np.array_equal(case.out_layout.unpack(case.stored), dout)
    expected = case.naive.convolution_backward(dout, x, weight)
    for name in ("x", "weight", "bias"):
        assert expected[name].any() and np.array_equal(found[name], expected[name]), name
    # What the batch norm before needs: sum g and sum g times the stored tensor.
    dx, data = expected["x"], case.arrays["data"]
    assert np.array_equal(case.input.sums.T, [dx.sum(axis=(0, 2, 3)), (dx * data).sum(axis=(0, 2, 3))])


def check(case: BlockCase) -> None:
    tolerance = TOLERANCE[case.dtype.name]
    arguments = case.naive_arguments
    expected = case.naive.forward(*arguments)
    y = case.forward()
    assert relative_difference(y, expected) <= tolerance
    dout = case.generator.normal(size=y.shape).astype(case.dtype).astype(np.float64)
    found, gradients = case.backward(dout), case.naive.backward(dout, *arguments)
    # A bias straight before a batch norm has no gradient: what counts is how the sum's error compares with its terms.
    scales = {"bias": np.abs(gradients.pop("z")).sum(axis=(0, 2, 3)).max()}
    for name, gradient in gradients.items():
        assert relative_difference(found[name], gradient, scales.get(name)) <= tolerance, name
    if case.deferred != "activation":
        dx, data = gradients["x"], case.arrays["data"]
        sums = np.array([dx.sum(axis=(0, 2, 3)), (dx * data).sum(axis=(0, 2, 3))])
        assert relative_difference(case.input.sums.T, sums, np.abs(dx).sum()) <= tolerance


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("order, activation", BLOCKS)
@pytest.mark.parametrize("deferred", DEFERRED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_basic_block_computes_what_its_naive_twin_does(variant, deferred, order, activation, dtype):
    for shortcut in (True, False):
        shape, options = VARIANTS[variant], {"order": order, "activation": activation, "shortcut_activation": shortcut}
        check(BlockCase(shape, dtype, deferred=deferred, **options))


def test_the_variants_of_several_blocks_have_them():
    for name, shape in VARIANTS.items():
        layout = BlockCase(shape, "float32").out_layout
        assert (blocks_in(layout.images_per_chunk * layout.height * layout.width, 4) > 1) == name.startswith("more-pixels")


@pytest.mark.parametrize("images", [*range(2, 10), 16, 17, 33, 130])
def test_any_batch_is_cut_into_chunks_without_a_trace(images):
    for variant in ("3x1", "stride-2-with-shortcut"):
        check(BlockCase(VARIANTS[variant], images=images, images_per_chunk=None))


def test_one_image_is_enough_where_its_map_has_two_pixels():
    check(BlockCase(Shape(3, (4,), (1, 3), 1, (0, 1), (1, 2)), images=1))


def test_one_value_a_channel_is_refused_in_one_line():
    with pytest.raises(OptionError, match=r"^convolution0 has one value per channel .* use a larger batch or image$"):
        BlockCase(Shape(3, (4,), (1, 1), 2, (0, 0), (2, 2)), images=1).forward()


def test_running_statistics_move_a_tenth_of_the_way_to_the_batchs():
    case = BlockCase(VARIANTS["1x3"])
    block = case.block
    mean, variance = np.zeros(block.channels), np.ones(block.channels)
    for _ in range(3):
        case.forward()
        e = naive.elu(case.naive.convolution(case.x, case.arrays["weight"], case.arrays["bias"]))
        mean, variance = naive.batch_norm_running(mean, variance, *naive.batch_norm_statistics(e), e.size / block.channels)
        np.testing.assert_allclose(block.norm.running_mean, mean, rtol=1e-12)
        np.testing.assert_allclose(block.norm.running_var, variance, rtol=1e-12)


@pytest.mark.parametrize("variant", ["1x1", "3x3", "stride-2"])
def test_a_gradient_may_be_a_product_then_stored_rows_and_an_addend(variant):
    case = BlockCase(VARIANTS[variant], "float32", shortcut_activation=False, draw=integers)
    y = case.forward()
    dout = integers(case.generator, *y.shape)
    integer_backward(case, dout)
    layout, rows = case.input.layout, case.shape.inputs + 3
    stored, addend = integers(case.generator, 5, 3, *case.shape.size), integers(case.generator, 5, rows, *case.shape.size)
    pass_gradients_on(case)
    gradient = case.block.backward(Gradient(stored=packed(dout, "float32", layout.images_per_chunk)[0]))
    gradient = replace(gradient, **{name: packed(v, "float32", 2)[0] for name, v in (("stored", stored), ("addend", addend))})
    out = poisoned((layout.chunks, rows, layout.stride), "float32")
    found = layout.unpack(materialise(gradient, out, layout, case.workspace))
    product = naive.convolution_input_gradient(dout, case.arrays["weight"], case.x.shape, case.shape.stride, case.shape.padding)
    assert np.array_equal(found, np.concatenate([product, stored], axis=1) + addend)


def test_a_nan_in_the_input_reaches_the_output_and_the_gradients():
    case = BlockCase(VARIANTS["1x3"], "float32", deferred="nothing")
    case.input.data[1, 2, 5] = np.nan
    y = case.forward()
    assert np.isnan(y).all()
    found = case.backward(np.ones_like(y))
    assert np.isnan(found["weight"]).all() and np.isnan(found["x"]).any()


@pytest.mark.parametrize("order, activation", BLOCKS)
def test_input_and_output_may_be_rows_of_larger_tensors(order, activation):
    """Rows of poison lie before and behind the input's; the output's neighbours stay as they were, forward and backward."""
    for variant in ("1x1", "3x1", "with-shortcut"):
        for deferred in DEFERRED:
            case = BlockCase(VARIANTS[variant], deferred=deferred, order=order, activation=activation, before=3, out_row=2)
            check(case)
            e, rows = case.block.buffers.e, slice(case.block.row, case.block.row + case.block.channels)
            assert np.isnan(np.delete(e, np.r_[rows], axis=1)).all() and not np.isnan(case.stored[:, :, :2]).any()


def test_the_first_layer_may_throw_its_dz_away():
    """Nobody asks for the gradient of pixels in training: the same parameter gradients, and the output stays as it was."""
    cases = [BlockCase(VARIANTS["3x3"], "float32") for _ in range(2)]
    dout = cases[0].generator.normal(size=cases[0].forward().shape)
    expected = cases[0].backward(dout)
    cases[1].forward()
    e = cases[1].block.buffers.e.copy()
    found = cases[1].backward(dout, keep_dz=False)
    for name in ("weight", "bias", "gamma", "beta"):
        assert np.array_equal(found[name], expected[name])
    dz, untouched = (case.block.buffers.e for case in cases)
    assert np.array_equal(untouched, e, equal_nan=True) and not np.array_equal(dz, e, equal_nan=True)


# (shape, live rows and columns of the kernel): one pixel, a row, a column, a stride with padding on one side alone, all.
SMALL_MAPS = [
    (Shape(4, (3,), (3, 3), 1, (1, 1), (1, 1)), (1, 1)),
    (Shape(4, (3,), (3, 3), 1, (1, 1), (1, 4)), (1, 3)),
    (Shape(3, (5,), (3, 1), 1, (1, 0), (1, 3)), (1, 1)),
    (Shape(2, (7,), (3, 3), 1, (1, 1), (2, 1)), (3, 1)),
    (Shape(3, (2,), (3, 3), 2, (1, 1), (2, 2)), (2, 2)),
    (Shape(2, (3,), (7, 7), 2, (3, 3), (3, 2)), (5, 2)),
    (Shape(2, (3,), (3, 3), 1, (1, 1), (3, 3)), (3, 3)),
]


@pytest.mark.parametrize("shape, live", SMALL_MAPS, ids=str)
@pytest.mark.parametrize("order, activation", BLOCKS)
def test_taps_that_miss_a_small_map_change_nothing_and_have_no_gradient(order, activation, shape, live):
    rows, columns = shape.geometry.live_taps
    assert (rows.stop - rows.start, columns.stop - columns.start) == live
    case = BlockCase(shape, order=order, activation=activation)
    check(case)
    dead = np.ones(shape.kernel, bool)
    dead[rows, columns] = False
    gradient = case.gradients.weight.reshape(case.arrays["weight"].shape)
    assert (gradient[..., dead] == 0).all() and (gradient[..., ~dead] != 0).any()


def test_channels_without_an_elu_keep_their_negative_values():
    case = BlockCase(VARIANTS["with-shortcut"], shortcut_activation=False)
    case.forward()
    e = case.out_layout.unpack(case.stored)
    z = case.naive.convolution(case.x, case.arrays["weight"], case.arrays["bias"])
    assert e[:, :3].min() > -1 and z[:, 3:].min() < -1
    np.testing.assert_allclose(e, np.where(np.arange(9)[:, None, None] < 3, naive.elu(z), z), rtol=1e-12, atol=1e-14)


def test_the_block_reads_the_input_through_its_scale_and_shift():
    """Padding is zero after scale and shift, not before: a constant map has other values at its edge."""
    case = BlockCase(VARIANTS["1x3"], draw=integers, shortcut_activation=False)
    case.arrays["data"][:] = 0
    case.load()
    case.forward()
    e = case.out_layout.unpack(case.stored)
    assert np.array_equal(
        e,
        case.naive.convolution(channels(case.arrays["shift"]) + case.arrays["data"], case.arrays["weight"], case.arrays["bias"]),
    )
    assert (e[..., 0] != e[..., 1]).any()
