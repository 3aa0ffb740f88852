"""The faults of `seeded_faults.py`: one per mistake that a programmer could make, each with the tests that should catch it.

A fault changes a result; it neither crashes nor only costs time. `old` occurs exactly once in its file. Tests are named as for
pytest, relative to the folder `tests`: few and fast ones, since every change of a kernel has to be compiled.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """`old` in `file` (relative to the repository) becomes `new`; one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _block(variant: str, deferred: str = "affine", order: str = "conv-act-bn-elu", dtype: str = "float64") -> tuple[str]:
    """A single variant of the basic block's test, so that little has to be compiled."""
    name = "test_a_basic_block_computes_what_its_naive_twin_does"
    return (f"test_kernels_convolution.py::{name}[{variant}-{deferred}-{order}-{dtype}]",)


BATCH_NORM = ("test_kernels_batch_norm.py",)
IM2COL = ("test_kernels_im2col.py",)
PRODUCT = ("test_kernels_product.py",)
SAMPLING = ("test_kernels_sampling.py",)
ELU = ("test_kernels_activation.py",)
RESIDUAL = ("test_kernels_residual.py::test_the_sum_and_its_backward_are_their_naive_twin",)
RELU = _block("1x1", order="conv-act-relu")
TASKS = ("test_tasks.py",)
SMALL_SITE = "test_site.py::test_a_page_without_a_place_is_still_found_and_no_link_is_broken"
FIRE = ("test_squeezenet.py::test_gradients_are_the_complex_step_of_the_naive_network[1.1]",)
INFERENCE_FIRE = (
    "test_squeezenet.py::test_inference_is_the_naive_network_and_an_image_has_the_same_bits_alone[float64-1e-12-1.1]",
)
ROWS = ("test_kernels_convolution.py::test_input_and_output_may_be_rows_of_larger_tensors[conv-bn-act-elu]",)
MAX_POOL = ("test_kernels_max_pool.py",)
CHANNELS_LAST = ("test_kernels_channels_last.py",)
AVERAGE = ("test_kernels_residual.py::test_the_average_and_its_backward_are_their_naive_twin",)
ONNX = "test_formats_onnx.py::test_a_runtime_gives_the_logits_of_every_network"
EXPORTED_C = ("test_formats_c.py::test_compiled_c_gives_the_logits_and_probabilities_of_every_network[shallow-06-0.2x]",)
DROPOUT = ("test_kernels_dropout.py",)
GROUPED = ("test_data_groups.py",)
LIKENESS = ("test_data_likeness.py",)
AUGMENTED = ("test_augmentation.py",)
CLASSIFIER = ("test_kernels_classifier.py",)
INFERENCE = ("test_kernels_inference.py",)
LOADER = ("test_data_loader.py",)
IMAGES = ("test_images.py",)
RESIZE = ("test_kernels_resize.py",)
SIZES = ("test_image_sizes.py",)
PILLOW = ("test_pillow.py",)
SOURCES = ("test_image_sources.py",)
JPEG = ("test_jpeg.py",)
GOLDEN_PIXELS = ("test_golden_pixels.py::test_a_pixel_is_read_as_the_table_says",)
HOSTILE_IMAGES = ("test_hostile_images.py",)
IDENTITY = ("test_layer_gradients.py::test_gradients_of_a_bottleneck[{}-identity]",)
NORM_FIRST = ("test_layer_gradients.py::test_gradients_of_a_bottleneck[{'block_order': 'conv-bn-act'}-shortcut]",)
LIVE = ("test_kernels_convolution.py::test_taps_that_miss_a_small_map_change_nothing_and_have_no_gradient",)
NORM_SUMS = _block("more-pixels-than-a-block", order="conv-bn-act-elu")

GRADCHECK = ("test_gradcheck.py",)
FILES = ("test_hostile_files.py",)
CACHED = ("test_data_image_folder.py",)
THREADS = ("test_threads.py",)
KERNELS = ("test_kernel_cache.py",)
WITHOUT_NUMBA = ("test_without_numba.py",)
COPIES = ("test_copies.py",)
SHARED_FAILURES = ("test_calls.py::test_shared_work_ends_with_the_failure_of_the_lowest_number",)
CHANGES = ("test_calls.py::test_a_change_through_a_view_changes_the_next_forward",)
KEPT = ("test_calls.py::test_the_plan_is_kept_until_a_bit_changes",)
PADDING = ("test_calls.py::test_the_padding_of_an_input_is_zero_whatever_a_run_has_left",)
VELOCITY = ("test_copies.py::test_a_shallow_copy_of_an_optimizer_has_its_own_velocity",)
DESCRIBED = ("test_described.py",)
UNKNOWN = ("test_unknown.py",)
HOUSE = ("test_house.py",)

FAULTS = (
    # The house.
    Fault(
        "a room imports a higher one",
        "minisqx/machine/limits.py",
        "    limits = [*_machine(), *_groups(), *_address_space()]\n",
        "    from minisqx.draw.shapes import MARGIN as MARGIN\n\n    limits = [*_machine(), *_groups(), *_address_space()]\n",
        HOUSE,
    ),
    Fault(
        "a layer keeps more than its memory estimate says",
        "minisqx/layers/pools.py",
        "        return 1, 3\n",
        "        return 1, 2\n",
        ("test_memory.py::test_layers_without_parameters_keep_the_tensors_that_are_counted",),
    ),
    Fault(
        "two modules import each other",
        "data/dataset.py",
        "    from minisqx.kernels.counters import VALIDATION, permutation, stream\n",
        "    from minisqx.data.parts import TEST_SHARE as TEST_SHARE\n"
        "    from minisqx.kernels.counters import VALIDATION, permutation, stream\n",
        HOUSE,
    ),
    Fault(
        "a method with a parameter more",
        "data/loader.py",
        "        dtype",
        "        one_more=None,\n        dtype",
        HOUSE,
    ),
    # The gradient check.
    Fault(
        "a kink explains every difference",
        "minisqx/gradcheck.py",
        "differences[beyond] - explained <= self.tolerance",
        "explained >= 0",
        GRADCHECK,
    ),
    Fault(
        "a gradient that is no number passes the check",
        "minisqx/gradcheck.py",
        "np.where(np.isfinite(differences), differences, np.inf)",
        "differences",
        GRADCHECK,
    ),
    Fault(
        "gradcheck always ends well",
        "minisqx/cli/commands.py",
        " if all(layer.agrees(check.tolerance) for layer in checked) else CHECK_FAILED",
        "",
        GRADCHECK,
    ),
    Fault(
        "gradcheck takes the beginning of a name",
        "minisqx/gradcheck.py",
        'f"{name}.".startswith(f"{layer}.")',
        "name.startswith(layer)",
        GRADCHECK,
    ),
    # Batch norm.
    Fault("a smaller epsilon", "kernels/structures.py", "EPSILON = 1e-5", "EPSILON = 1e-6", BATCH_NORM),
    Fault(
        "momentum of the running mean the other way round",
        "kernels/batch_norm.py",
        "(1 - MOMENTUM) * running_mean[m] + MOMENTUM * mean[m]",
        "MOMENTUM * running_mean[m] + (1 - MOMENTUM) * mean[m]",
        BATCH_NORM,
    ),
    Fault("biased running variance", "kernels/batch_norm.py", " * (count / (count - 1))", "", BATCH_NORM),
    Fault(
        "blocks merged with the wrong weight",
        "kernels/batch_norm.py",
        "difference * difference * weight * count_before",
        "difference * difference * weight * count",
        BATCH_NORM,
    ),
    Fault(
        "chunks merged with the wrong weight",
        "kernels/batch_norm.py",
        "difference * difference * weight * total",
        "difference * difference * weight * count",
        BATCH_NORM,
    ),
    Fault(
        "lanes merged without what lies between them",
        "kernels/batch_norm.py",
        "squares + count * between",
        "squares",
        BATCH_NORM,
    ),
    Fault(
        "variance as E[x^2] - E[x]^2",
        "kernels/tiles/epilogues.py",
        "builder.select(self.is_first, values[0], first)",
        "v.constant(0.0)",
        BATCH_NORM,
    ),
    Fault(
        "the mean's share of the gradient missing",
        "kernels/batch_norm.py",
        "coefficients[2, m] = -gamma[m] * r * total / count - slope * mean[m]",
        "coefficients[2, m] = -slope * mean[m]",
        BATCH_NORM,
    ),
    Fault("wrong sign of the variance's share", "kernels/batch_norm.py", "slope = -gamma[m]", "slope = gamma[m]", BATCH_NORM),
    Fault("dgamma without centring", "kernels/batch_norm.py", "norm.sums[m, 1] - mean[m] * total", "norm.sums[m, 1]", BATCH_NORM),
    # The basic block.
    Fault("shift not folded", "kernels/convolution.py", "np.float64(weight[m, r]) * x.shift[k]", "0.0", _block("1x1")),
    Fault("scale not folded", "kernels/convolution.py", "weight[m, r] * x.scale[k]", "weight[m, r]", _block("1x1")),
    Fault(
        "moments over the padding, too",
        "kernels/convolution.py",
        "min(columns, pixels - first) // lane_count * lane_count",
        "columns",
        _block("1x1"),
    ),
    Fault(
        "forward's padding not cleared",
        "kernels/convolution.py",
        "clear_tail(out, outputs, pixels, whole_vectors(pixels, out.data.itemsize))",
        "pass",
        _block("1x1"),
    ),
    Fault(
        "dz's padding not cleared",
        "kernels/convolution.py",
        "clear_tail(dz, outputs, block.pixels, block.first + block.columns)",
        "pass",
        _block("1x3"),
    ),
    Fault(
        "ELU's derivative e, not e + 1", "kernels/activation_table.py", "v.builder.fadd(y, one), one))", "y, one))", _block("1x1")
    ),
    Fault(
        "ELU's derivative left out of a stored gradient",
        "kernels/convolution.py",
        "m < convolution.activated",
        "False",
        _block("1x1"),
    ),
    Fault(
        "ELU's derivative left out of a product",
        "kernels/convolution.py",
        "((0, middle, convolution.activation), (middle, in_registers, NO_ACTIVATION))",
        "((0, in_registers, NO_ACTIVATION),)",
        ("test_layer_gradients.py::test_gradients_of_a_bottleneck[{}-identity]",),
    ),
    Fault(
        "normalised value's term missing",
        "kernels/tiles/simd.py",
        "self.multiply_add(a, g, self.multiply_add(b, e, c))",
        "self.multiply_add(a, g, c)",
        _block("1x1"),
    ),
    Fault(
        "bias gradient of another tap",
        "kernels/convolution.py",
        "centre = geometry[PADDING_HEIGHT] * geometry[1] + geometry[PADDING_WIDTH]",
        "centre = 0",
        _block("1x3"),
    ),
    Fault(
        "weight gradient without the input's shift",
        "kernels/convolution.py",
        "x.scale[k] * total[r] + x.shift[k] * inside_sum",
        "x.scale[k] * total[r]",
        _block("3x1"),
    ),
    Fault(
        "row sums for the batch norm before mixed up",
        "kernels/convolution.py",
        "sums[k, 1] += weight[m, r] * total[m, r]",
        "sums[k, 1] += weight[m, r] * total[m, depth + t]",
        _block("1x1"),
    ),
    Fault(
        "only the first chunk's gradient",
        "kernels/convolution.py",
        "for chunk in range(chunk_gradients.shape[0]):",
        "for chunk in range(1):",
        _block("1x1"),
    ),
    Fault(
        "deferred ELU of the input forgotten",
        "kernels/im2col.py",
        "* 0, x.activation",
        "* 0, 0",
        _block("1x1", "activation", "conv-bn-act-elu"),
    ),
    Fault("taps not flipped", "kernels/blocks.py", "m * taps + taps - 1 - t", "m * taps + t", IM2COL),
    Fault("identity shortcut's gradient not added", "kernels/blocks.py", "if source.added:", "if False:", IDENTITY),
    Fault(
        "the sum of dz for one tap alone",
        "kernels/convolution.py",
        "bias_taps = taps if has_padding else 1",
        "bias_taps = 1",
        _block("1x3"),
    ),
    Fault(
        "no zeros between the pixels that a stride read",
        "kernels/geometry.py",
        "(at >= 0) & (at % upsample == 0)",
        "(at >= 0)",
        _block("stride-2"),
    ),
    # im2col.
    Fault(
        "padding of the other axis",
        "kernels/geometry.py",
        "g.upsample_width, j, g.padding_width, g.in_width)",
        "g.upsample_width, j, g.padding_height, g.in_width)",
        IM2COL,
    ),
    Fault(
        "padding off by one",
        "kernels/im2col.py",
        "t // geometry[1] - padding_height",
        "t // geometry[1] - padding_height + 1",
        IM2COL,
    ),
    Fault(
        "shift applied to the padding",
        "kernels/im2col.py",
        "zero, value, zero), out, at)",
        "zero, value, shift), out, at)",
        IM2COL,
    ),
    Fault(
        "transposed padding not exchanged",
        "kernels/geometry.py",
        "self.kernel_width - 1 - self.padding_width",
        "self.padding_width",
        IM2COL,
    ),
    Fault(
        "a run that stops one pixel early",
        "kernels/im2col.py",
        "max(min(end, in_width - j), left)",
        "max(min(end, in_width - j - 1), left)",
        IM2COL,
    ),
    Fault("rows that run into the next image", "kernels/im2col.py", "out_height - pixel.y)", "out_height)", IM2COL),
    # Every other pixel.
    Fault(
        "samples of the odd rows",
        "kernels/sampling.py",
        "(pixel.image * height + 2 * pixel.y)",
        "(pixel.image * height + 2 * pixel.y + 1)",
        SAMPLING,
    ),
    Fault("samples put one pixel further", "kernels/sampling.py", "(pixel.x + odd) // 2", "pixel.x // 2", SAMPLING),
    # Tiles and ELU.
    Fault(
        "bias dropped",
        "kernels/tiles/product.py",
        'finish.row_constant("bias", m)',
        "v.constant(0.0)",
        PRODUCT,
    ),
    Fault(
        "scale and shift swapped",
        "kernels/tiles/epilogues.py",
        'self.row_constant("scale", m), self.row_constant("shift", m)',
        'self.row_constant("shift", m), self.row_constant("scale", m)',
        PRODUCT,
    ),
    Fault(
        "moments of the first vector alone",
        "kernels/tiles/epilogues.py",
        "squares = v.multiply_add(difference, difference, squares)",
        "squares = v.multiply_add(difference, difference, v.constant(0.0))",
        PRODUCT,
    ),
    Fault(
        "weight gradient not added to what is there",
        "kernels/tiles/simd.py",
        "self.builder.fadd(before, self._shuffle(a, a, lanes))",
        "self._shuffle(a, a, lanes)",
        PRODUCT,
    ),
    Fault(
        "a row's last vector read beyond the row",
        "kernels/tiles/windows.py",
        'start = builder.select(builder.icmp_signed("<", start, last), start, last)',
        "",
        ("test_kernels_windows.py",),
    ),
    Fault(
        "every image's windows in the first image",
        "kernels/tiles/windows.py",
        "image = builder.udiv(row, x.out_height)",
        "image = INDEX(0)",
        ("test_kernels_windows.py",),
    ),
    Fault(
        "a process with one thread starts another to compile",
        "kernels/compiler/second_process.py",
        "cache.folder() is not None and threads() > 1",
        "cache.folder() is not None",
        ("test_second_process.py",),
    ),
    Fault("a term of expm1 missing", "kernels/activation_table.py", "for term in lower:", "for term in lower[1:]:", ELU),
    Fault(
        "ln 2 rounded to 10 bits", "kernels/activation_table.py", "v.constant(-math.log(2.0))", "v.constant(-0.693359375)", ELU
    ),
    Fault(
        "ELU hides a NaN",
        "kernels/activation_table.py",
        "v.maximum(negative, z)",
        "v.maximum(z, negative)",
        ELU,
    ),
    Fault(
        "the sum of ds e is one of ds y",
        "kernels/tiles/epilogues.py",
        "v.multiply_add(ds, e, with_e)",
        "v.multiply_add(ds, v.multiply_add(e, scale, shift), with_e)",
        PRODUCT,
    ),
    # The other layers' kernels.
    Fault(
        "a live tap left out",
        "kernels/geometry.py",
        "slice(live[0], live[-1] + 1)",
        "slice(live[0], max(live[-1], live[0] + 1))",
        LIVE,
    ),
    Fault(
        "the first taps' weights for those of the live ones",
        "minisqx/steps.py",
        "return geometry.live, self._places[weights_of_live_taps]",
        "return geometry.live, self._places[spec.name]",
        INFERENCE_FIRE,
    ),
    Fault(
        "a window reaches into the next row",
        "kernels/max_pool.py",
        "v.first_lanes(builder.sub(left, taps.index))",
        "v.first_lanes(builder.add(left, taps.index))",
        MAX_POOL,
    ),
    Fault(
        "the gradient of dead taps not cleared",
        "kernels/blocks.py",
        "            weight[m, r] = 0\n",
        "            pass\n",
        LIVE,
    ),
    Fault(
        "two blocks in turn share one memory",
        "minisqx/layers/workspace.py",
        "self._passing[number % 2][:size]",
        "self._passing[0][:size]",
        NORM_FIRST,
    ),
    Fault(
        "only the last block's sums of ds",
        "kernels/norm_activation.py",
        "sums[m, part] += total(",
        "sums[m, part] = total(",
        NORM_SUMS,
    ),
    Fault(
        "sums of u and v swapped",
        "kernels/residual.py",
        "vectors.multiply_add(gradient, right, with_v)",
        "vectors.multiply_add(gradient, left, with_v)",
        RESIDUAL,
    ),
    Fault(
        "the sum's ELU forgotten in backward",
        "kernels/residual.py",
        "ds_row(ds, g, ds, u, v, m, activation,",
        "ds_row(ds, g, ds, u, v, m, NO_ACTIVATION,",
        RESIDUAL,
    ),
    Fault(
        "only the first block of ds",
        "kernels/residual.py",
        "valid = min(columns, pixels - first)",
        "valid = min(columns, 2048 - first)",
        RESIDUAL,
    ),
    Fault("only one of the summands", "kernels/residual.py", "builder.fadd(a, b)", "builder.fadd(a, a)", RESIDUAL),
    Fault("ReLU's slope 1 at zero", "kernels/activation_table.py", 'v.select(">", y, zero', 'v.select(">=", y, zero', RELU),
    Fault("ReLU for ELU", "kernels/activation.py", "return ACTIVATIONS[number - 1]", "return ACTIVATIONS[-1]", ELU),
    Fault("a fire module's halves exchanged", "minisqx/network.py", "row=unit.expand1.out_channels", "row=0", FIRE),
    Fault(
        "the gradient of a fire module's first half only",
        "kernels/blocks.py",
        "Rows(source.stored, source.stored_row)",
        "Rows(source.stored, 0)",
        FIRE,
    ),
    Fault(
        "expand1's gradient dropped",
        "minisqx/layers/fire.py",
        "replace(from_expand3, addend=b.from_expand1)",
        "from_expand3",
        FIRE,
    ),
    Fault("dz of other rows", "kernels/blocks.py", "Rows(source.dz, source.dz_row)", "Rows(source.dz, 0)", FIRE),
    Fault("dz scaled without batch norm", "kernels/convolution.py", "coefficients[1:] = 0", "coefficients[1:] = 1", FIRE),
    Fault(
        "windows stop at the map's edge",
        "minisqx/spec/units.py",
        "-(-(size - self.kernel) // self.stride)",
        "(size - self.kernel) // self.stride",
        MAX_POOL,
    ),
    Fault(
        "of equals the last is the largest",
        "kernels/max_pool.py",
        'fcmp_ordered(">", value, largest)',
        'fcmp_ordered(">=", value, largest)',
        MAX_POOL,
    ),
    Fault(
        "of two windows with one largest only the last counts", "kernels/max_pool.py", "+= from_row[q]", "= from_row[q]", MAX_POOL
    ),
    Fault(
        "max pooling hides a NaN",
        "kernels/max_pool.py",
        'builder.fcmp_unordered("uno", value, value)',
        'builder.fcmp_ordered(">", value, largest)',
        MAX_POOL,
    ),
    Fault(
        "inference pools another tensor's rows",
        "minisqx/steps.py",
        "out=y + unit.expand1.out_channels * stride",
        "out=y",
        CHANNELS_LAST,
    ),
    Fault(
        "a row of taps above the map that counts",
        "kernels/tiles/channel_vectors.py",
        "max(0, padding - y * stride)",
        "0 * y",
        CHANNELS_LAST,
    ),
    Fault(
        "a border taken for pixels of a row",
        "kernels/tiles/channel_vectors.py",
        "if pointwise and stride * geometry[STRIDE_WIDTH] == 1 and dense:",
        "if pointwise and stride * geometry[STRIDE_WIDTH] == 1:",
        CHANNELS_LAST,
    ),
    Fault(
        "a border that is not cleared to the right",
        "kernels/channels_last.py",
        "out.data[right + p] = 0",
        "out.data[left - beside + p] = 0",
        CHANNELS_LAST,
    ),
    Fault(
        "a window of channels reaches into the next row",
        "kernels/channels_last.py",
        "min(geometry[KERNEL_WIDTH], geometry[IN_WIDTH] - left)",
        "geometry[KERNEL_WIDTH]",
        CHANNELS_LAST,
    ),
    Fault(
        "one expansion's channels on those of the other",
        "minisqx/channels_last.py",
        "y._replace(at=y.at + unit.expand1.out_channels)",
        "y",
        CHANNELS_LAST,
    ),
    Fault("a tensor read from its data's first row", "kernels/blocks.py", "+ rows.row) * stride", ") * stride", ROWS),
    Fault("an average's sums of other rows", "kernels/pooling.py", "x.data[chunk, x.row + k]", "x.data[chunk, k]", AVERAGE),
    Fault("average's gradient not divided", "kernels/pooling.py", "+ i, k] / map_pixels", "+ i, k]", AVERAGE),
    Fault("average without the shift", "kernels/pooling.py", "mean * x.scale[k] + x.shift[k]", "mean * x.scale[k]", AVERAGE),
    Fault(
        "dropout without its scale",
        "kernels/dropout.py",
        "out.data.dtype.type(1 / (1 - probability))",
        "out.data.dtype.type(1)",
        DROPOUT,
    ),
    Fault("dropout keeps what it should drop", "kernels/dropout.py", ">= threshold", "< threshold", DROPOUT),
    Fault(
        "every chunk with the same dropout mask",
        "kernels/dropout.py",
        "draw(key, first_image + i)",
        "draw(key, i)",
        DROPOUT,
    ),
    Fault(
        "bias gradient averaged", "kernels/linear.py", "dbias[j] = bias_total[j]", "dbias[j] = bias_total[j] / images", CLASSIFIER
    ),
    Fault(
        "loss gradient summed, not averaged",
        "kernels/loss.py",
        "(1.0 if j == labels[n] else 0.0)) / images",
        "(1.0 if j == labels[n] else 0.0))",
        CLASSIFIER,
    ),
    Fault(
        "the rest of a dot product left out",
        "kernels/tiles/sums.py",
        "for i in range(whole, count):",
        "for i in range(0):",
        CLASSIFIER,
    ),
    Fault(
        "the rest of a sum left out",
        "kernels/tiles/sums.py",
        "for i in range(at + whole, at + count):",
        "for i in range(0):",
        AVERAGE,
    ),
    Fault(
        "sums that the compiler may reorder",
        "kernels/compiler/options.py",
        'EXACT = {"fastmath": False, ',
        'EXACT = {"fastmath": {"reassoc"}, ',
        ("test_placements.py::test_no_operation_of_the_generated_code_may_be_reordered_or_fused",),
    ),
    Fault("smoothed labels", "kernels/loss.py", "1.0 if j == labels[n] else 0.0", "0.9 if j == labels[n] else 0.0", CLASSIFIER),
    Fault("Nesterov's form dropped", "kernels/sgd.py", "(g + keep * v if nesterov else v)", "v", CLASSIFIER),
    Fault(
        "momentum as a running mean",
        "kernels/sgd.py",
        "keep * velocity[i] + g",
        "keep * velocity[i] + (1 - keep) * g",
        CLASSIFIER,
    ),
    Fault("weight decay with the wrong sign", "kernels/sgd.py", "gradients[i] + decay", "gradients[i] - decay", CLASSIFIER),
    Fault(
        "flip not applied", "kernels/augment.py", "pixels_of_all[at - 3 * x]", "pixels_of_all[at - 3 * (inside - 1 - x)]", LOADER
    ),
    Fault(
        "images of a group on both sides",
        "data/groups.py",
        "np.flatnonzero(~aside[group_of]), ",
        "np.flatnonzero(aside[group_of]), ",
        GROUPED,
    ),
    Fault("near-copies by their hash alone", "kernels/likeness.py", "MOST_GREY * CELLS + 1", "256 * CELLS", LIKENESS),
    Fault(
        "copies called near-copies",
        "data/likeness.py",
        "np.array_equal(part.images[at],",
        "not np.array_equal(part.images[at],",
        LIKENESS,
    ),
    Fault("a class set aside to its last image", "data/groups.py", "> 0).all():", ">= 0).all():", GROUPED),
    Fault(
        "names of skipped files given to others",
        "data/image_folder.py",
        "whole.of(np.flatnonzero(good[own]))",
        "Part(images[own][good[own]], labels[good[own]], whole.names)",
        GROUPED,
    ),
    Fault(
        "a training image rotated the other way",
        "kernels/distort.py",
        "along * from_left - across * from_top",
        "along * from_left + across * from_top",
        AUGMENTED,
    ),
    Fault("pixels between four taken from one", "kernels/distort.py", "read_x >> 8 & 255", "read_x >> 8 & 0", AUGMENTED),
    Fault("contrast around black", "kernels/distort.py", ", mean, c)", ", 0, c)", AUGMENTED),
    Fault("every sample distorted alike", "kernels/distort.py", "sample * DRAWS + number", "number", AUGMENTED),
    Fault(
        "every epoch with the same distortions",
        "data/loader.py",
        "stream(self.seed, DISTORTION, epoch)",
        "stream(self.seed, DISTORTION, 0)",
        AUGMENTED,
    ),
    Fault("crop of other images", "kernels/augment.py", "2 * changes.crop + 1", "2 * changes.crop", LOADER),
    # Layers, network and training.
    Fault(
        "identity shortcut's gradient dropped",
        "minisqx/layers/bottleneck.py",
        'return self._join(self.blocks[0].backward(gradient), ds, "addend")',
        "return self.blocks[0].backward(gradient)",
        IDENTITY,
    ),
    Fault(
        "the shortcut's row sums taken of other rows",
        "minisqx/layers/tensors.py",
        "self.sums[start:stop]",
        "self.sums[: stop - start]",
        ("test_layer_gradients.py::test_gradients_of_a_bottleneck[{}-shortcut]",),
    ),
    Fault(
        "ELU's derivative twice where batch norm comes first",
        "minisqx/layers/basic_block.py",
        "gradient, activated = self._backward_activation(gradient), 0",
        "gradient = self._backward_activation(gradient)",
        NORM_FIRST,
    ),
    Fault(
        "another mask in backward",
        "minisqx/layers/dropout.py",
        "materialise(gradient, self.dx.data, self.layout, self.workspace)",
        "materialise(gradient, self.dx.data, self.layout, self.workspace); self.key[0] += np.uint64(1)",
        DROPOUT,
    ),
    Fault(
        "initial weights without the gain",
        "minisqx/network.py",
        "math.sqrt(2) * math.sqrt(6",
        "math.sqrt(6",
        ("test_initial_weights.py",),
    ),
    Fault(
        "schedule one epoch late",
        "minisqx/training/schedule.py",
        "epoch >= milestone",
        "epoch > milestone",
        ("test_training.py::test_the_learning_rate_follows_the_schedule",),
    ),
    Fault(
        "1x3 and 3x1 exchanged",
        "minisqx/spec/squeezenext.py",
        'if self.separable_order == "3x1-1x3":',
        'if self.separable_order == "1x3-3x1":',
        ("test_spec.py", "test_golden.py"),
    ),
    Fault(
        "a stride along the wrong axis",
        "minisqx/steps.py",
        "stride=(1 + (c.kernel[0] > 1), 1 + (c.kernel[1] > 1))",
        "stride=(2 - (c.kernel[0] > 1), 2 - (c.kernel[1] > 1))",
        INFERENCE,
    ),
    Fault(
        "inference without the running mean",
        "minisqx/steps.py",
        'tensors["beta"] - tensors["running_mean"] * scale',
        'tensors["beta"]',
        INFERENCE,
    ),
    Fault("a place given back while it is needed", "minisqx/steps.py", "release=main != entry", "release=True", INFERENCE),
    Fault(
        "the last partial batch dropped",
        "data/loader.py",
        "-(-len(self.images) // self.batch_size)",
        "len(self.images) // self.batch_size",
        LOADER,
    ),
    Fault(
        "every epoch with the same crops",
        "data/loader.py",
        "stream(self.seed, AUGMENTATION, epoch)",
        "stream(self.seed, AUGMENTATION, 0)",
        LOADER,
    ),
    Fault(
        "a damaged last.h5 takes the place of the state before it",
        "minisqx/training/run_folder.py",
        "if self.last_is_intact:",
        "if self.last.exists():",
        ("test_durable.py::test_a_damaged_last_never_becomes_the_previous",),
    ),
    Fault(
        "last.h5 is away while it is written",
        "minisqx/training/run_folder.py",
        "os.replace(link, self.previous)",
        "os.replace(self.last, self.previous)",
        ("test_durable.py::test_a_process_killed_before_any_step_of_a_save_leaves_a_whole_generation",),
    ),
    Fault(
        "a part of an epoch that is not the options' is resumed",
        "minisqx/training/trainer.py",
        " and state.samples == seen",
        "",
        ("test_durable.py::test_any_training_state_that_is_not_right_is_refused_with_a_typed_error",),
    ),
    Fault(
        "velocity lost at a resume",
        "minisqx/training/trainer.py",
        'self.optimizer.velocity[:] = optimizer["velocity"]',
        "pass",
        ("test_training.py::test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bits",),
    ),
    Fault(
        "a moving average lost at a resume",
        "minisqx/training/trainer.py",
        'self.network.flat_parameters[:], self.network.flat_buffers[:] = optimizer["parameters"], optimizer["buffers"]',
        "pass",
        ("test_training.py::test_a_moving_average_is_what_is_measured_saved_and_resumed",),
    ),
    Fault(
        "the last weights measured instead of their average",
        "minisqx/training/trainer.py",
        "self.result.plan()",
        "self.network.plan()",
        ("test_training.py::test_a_moving_average_is_what_is_measured_saved_and_resumed",),
    ),
    Fault(
        "an average that keeps the initial weights",
        "minisqx/training/average.py",
        "min(self.decay, (1 + steps) / (10 + steps))",
        "self.decay",
        ("test_training.py::test_a_moving_average_is_what_is_measured_saved_and_resumed",),
    ),
    Fault(
        "checksum not looked at",
        "minisqx/checkpoint/model_file.py",
        ' or hashlib.sha256(flat).hexdigest() != entries["payload_sha256"]:',
        ":",
        ("test_checkpoint.py",),
    ),
    # Images.
    Fault(
        "an image laid on black", "minisqx/images/colours.py", 'picture.size, "white")', 'picture.size, "black")', GOLDEN_PIXELS
    ),
    Fault("an image's 16 bits rounded down", "minisqx/images/colours.py", "np.rint(np.clip(", "np.floor(np.clip(", GOLDEN_PIXELS),
    Fault("12 bits of an image read as 16", "minisqx/images/colours.py", "white = 4095 if", "white = 65535 if", GOLDEN_PIXELS),
    Fault("an image's 0 is black where it is white", "minisqx/images/colours.py", "grey = 255 - grey", "pass", GOLDEN_PIXELS),
    Fault("an image's transparent grey kept", "minisqx/images/colours.py", "grey[values == clear] = 255", "pass", GOLDEN_PIXELS),
    Fault(
        "an image turned the other way",
        "minisqx/images/colours.py",
        "6: Turn(rows_reversed=True, swapped=True)",
        "6: Turn(columns_reversed=True, swapped=True)",
        IMAGES,
    ),
    Fault(
        "pictures read by the program's Pillow",
        "minisqx/images/load.py",
        "if _is_same(picture, source, shown):",
        "if False:",
        IMAGES,
    ),
    Fault("images warn", "minisqx/images/pillow.py", "_module.warnings = ", "_module.caveats = ", PILLOW),
    Fault("images log", "minisqx/images/pillow.py", "setLevel(logging.CRITICAL + 1)", "setLevel(logging.DEBUG)", PILLOW),
    Fault("an image hidden by its notes", "minisqx/images/pillow.py", "raise zlib.error(str(error)) from None", "raise", IMAGES),
    Fault("a frame that was chosen not taken", "minisqx/images/load.py", "picture.seek(source.tell())", "pass", SOURCES),
    Fault("a file object left at its end", "minisqx/images/load.py", "        source.seek(place)\n", "        pass\n", SOURCES),
    Fault("blue taken for red", "minisqx/images/arrays.py", "is_bgr = is_bgr and channels > 1", "is_bgr = False", SOURCES),
    Fault("rounded fractions taken for 255ths", "minisqx/images/colours.py", "> 1 + ROUNDING", "> 1", IMAGES),
    Fault(
        "a bad image's neighbour answered for it",
        "minisqx/inference/model.py",
        "one if isinstance(one, ImageError) else next(good)",
        "next(good, None)",
        ("test_inference.py",),
    ),
    Fault(
        "bytes behind a JPEG's last code passed over",
        "minisqx/images/jpeg.py",
        "return 0 <= left < 8 and",
        "return 0 <= left or",
        JPEG,
    ),
    Fault(
        "a JPEG's missing bits made up",
        "minisqx/images/jpeg.py",
        "left = 8 * len(data) - at",
        "left = max(0, 8 * len(data) - at)",
        JPEG,
    ),
    Fault("a JPEG's missing scans made up", "minisqx/images/jpeg.py", "or not _has_last_bits(scans)", "", JPEG),
    Fault("a JPEG's bits corrected nowhere", "minisqx/images/jpeg.py", "at += known.count(1, here, stop)", "pass", JPEG),
    Fault(
        "an AVIF's parts not counted",
        "minisqx/images/files.py",
        "max(3 * picture.width",
        "max(3_000_000 * picture.width",
        HOSTILE_IMAGES,
    ),
    Fault("an AVIF's frames not counted", "minisqx/images/avif.py", "if frames > MAX_FRAMES:", "if False:", HOSTILE_IMAGES),
    Fault("small files of large images read", "minisqx/images/files.py", "FREE_PIXELS = 8_", "FREE_PIXELS = 80_", HOSTILE_IMAGES),
    Fault("images of any size read", "minisqx/images/files.py", "MAX_PIXELS = 70_", "MAX_PIXELS = 70_000_", IMAGES),
    Fault("a WebP's size not asked", "minisqx/images/files.py", '!= b"WEBP" or', '== b"WEBP" or', IMAGES),
    Fault("an image's tiles not counted", "minisqx/images/files.py", "max(tile, 1)) * tile", "max(tile, 1))", HOSTILE_IMAGES),
    Fault("an image's scans not counted", "minisqx/images/files.py", "if scans > MAX_SCANS:", "if False:", IMAGES),
    Fault(
        "segments of an image not passed over",
        "minisqx/images/jpeg.py",
        "found.end() + int.from",
        "found.end() + 0 * int.from",
        IMAGES,
    ),
    Fault(
        "NaN in an image's first row alone",
        "minisqx/images/arrays.py",
        "values.min(), values.max()",
        "values[0].min(), values[0].max()",
        IMAGES,
    ),
    Fault(
        "a resized image half a pixel off",
        "kernels/resize.py",
        "centre = low + (i + 0.5) * scale",
        "centre = low + i * scale",
        RESIZE,
    ),
    Fault("a filter that lets an image alias", "kernels/resize.py", "stretch = max(scale, 1.0)", "stretch = 1.0", RESIZE),
    Fault(
        "weights rounded one by one", "kernels/resize.py", "            before = rounded\n", "            running = 0.0\n", RESIZE
    ),
    Fault(
        "a strip's last row not summed",
        "kernels/resize.py",
        "rows.shape[0])\n            # Four",
        "rows.shape[0] - 1)\n            # Four",
        RESIZE,
    ),
    Fault("a row's second block read at its first", "kernels/resize.py", "begin, end = left + at,", "begin, end = left,", RESIZE),
    Fault("a resized image rounded down", "kernels/resize.py", "HALF = 1 << SHIFT - 1", "HALF = 0", RESIZE),
    Fault("a reversed axis weighted forwards", "minisqx/images/pixels.py", "window.weights[:, ::-1]", "window.weights", RESIZE),
    Fault("a JPEG decoded at too small a fraction", "minisqx/images/files.py", "PIXELS_LEFT = 6", "PIXELS_LEFT = 1", SIZES),
    Fault(
        "a JPEG at a fraction that ends too late",
        "minisqx/images/files.py",
        "return height, width\n",
        "return picture.height, picture.width\n",
        SIZES,
    ),
    Fault(
        "a JPEG's black ink averaged", "minisqx/images/files.py", 'not in ("RGB", "L"):', 'not in ("RGB", "L", "CMYK"):', SIZES
    ),
    Fault("all JPEGs taken to have one scan", "minisqx/images/jpeg.py", "not in SEQUENTIAL or", "is None or", JPEG),
    Fault("a target not turned with its picture", "minisqx/images/files.py", "size[::-1] if", "size if", SIZES),
    Fault(
        "a reversed view read as it lies",
        "minisqx/images/arrays.py",
        "array[:, :, ::-1], not is_bgr",
        "array[:, :, ::-1], is_bgr",
        SIZES,
    ),
    Fault("NaN beside an image's centre", "minisqx/images/arrays.py", 'if array.dtype.kind == "f":', "if False:", SIZES),
    Fault("no memory said to be damage", "minisqx/images/files.py", "if isinstance(error, MemoryError):", "if False:", IMAGES),
    Fault(
        "a strip of an image missing",
        "minisqx/images/pixels.py",
        "range(top, bottom, rows))",
        "range(top, max(top + 1, bottom - rows), rows))",
        IMAGES,
    ),
    Fault(
        "what the machine can't read skipped",
        "data/image_folder.py",
        "if not skip_bad_images or not _is_content(error):",
        "if not skip_bad_images:",
        ("test_data_image_folder.py",),
    ),
    Fault(
        "skipped images forgotten by the cache",
        "data/cache.py",
        'skipped=tuple(entries["skipped"])',
        "skipped=()",
        ("test_data_image_folder.py",),
    ),
    Fault(
        "something between a file's parts",
        "minisqx/checkpoint/container.py",
        "spans.sort()",
        "return Contents(payload, index, checksum.decode())",
        FILES,
    ),
    Fault("a file longer than it says", "minisqx/checkpoint/container.py", "if end != size:", "if end > size:", FILES),
    Fault(
        "a header's checksum not looked at",
        "minisqx/checkpoint/container.py",
        "if _summed(data[:-4]) != data:",
        "if False:",
        ("test_checkpoint.py",),
    ),
    Fault(
        "a data set of another type",
        "minisqx/checkpoint/container.py",
        "if sorted(messages) != sorted(_dataset(",
        "if not (_dataset(",
        FILES,
    ),
    Fault(
        "a link to elsewhere", "minisqx/checkpoint/container.py", "if sorted(messages) != sorted(_root(", "if not (_root(", FILES
    ),
    Fault(
        "an index of any size",
        "minisqx/checkpoint/model_file.py",
        "if contents.index.size > MAX_INDEX_BYTES:",
        "if False:",
        FILES,
    ),
    Fault(
        "an index that says something twice",
        "minisqx/checkpoint/model_file.py",
        "if len(entries) < len(pairs):",
        "if False:",
        FILES,
    ),
    Fault(
        "any type in the index",
        "minisqx/checkpoint/model_file.py",
        "if type(entries[name]) is not expected and",
        "if False and",
        FILES,
    ),
    Fault(
        "images that are nowhere", "data/hdf5.py", "if not complete or needed > stored * _MAX_COMPRESSION:", "if False:", FILES
    ),
    Fault(
        "one chunk of gigabytes",
        "data/hdf5.py",
        " and chunk_bytes <= max(needed, _SMALL_CHUNK_BYTES)",
        "",
        ("test_data_hdf5.py",),
    ),
    Fault("links in HDF5", "data/hdf5.py", "not isinstance(file.get(name, getlink=True), h5py.HardLink) or ", "", FILES),
    Fault("other members in an archive", "data/cifar10.py", "if name not in wanted and name", "if False and name", FILES),
    Fault("links in an archive", "data/cifar10.py", 'if entry_type not in (b"0", b"\\0") and', "if False and", FILES),
    Fault("a batch of any size", "data/cifar10.py", "if size > version.max_bytes(name):", "if False:", FILES),
    Fault("something behind an archive", "data/cifar10.py", "            if any(data):", "            if False:", FILES),
    Fault("an archive of any size", "data/cifar10.py", "if self._left < 0:", "if False:", ("test_data_cifar10.py",)),
    Fault("a pickle's other names", "data/python_batch.py", "not in _NAMES:", "is None:", FILES),
    Fault(
        "the cache's checksum not looked at", "data/cache.py", "if _checksum(header, arrays) != expected:", "if False:", CACHED
    ),
    Fault(
        "other content that the cache doesn't notice",
        "data/image_folder.py",
        "names, content_digests(files, MAX_BYTES)]",
        "names]",
        ("test_data_cache.py",),
    ),
    Fault(
        "what was written while it was decoded is kept",
        "data/cache.py",
        "if after == before:",
        "if True:",
        ("test_data_cache.py",),
    ),
    Fault(
        "a likeness of class names that two have",
        "data/classes.py",
        "if name not in found and ours[key(name)] == theirs[key(name)] == 1:",
        "if name not in found and theirs[key(name)]:",
        ("test_evaluation.py",),
    ),
    Fault(
        "classes that the model doesn't know passed over",
        "minisqx/training/evaluation.py",
        "    if unknown:\n",
        "    if False:\n",
        ("test_evaluation.py",),
    ),
    Fault(
        "classes beside the parts passed over",
        "data/image_folder.py",
        "    if images:\n",
        "    if False:\n",
        ("test_data_layout.py",),
    ),
    Fault(
        "the whole of a class set aside",
        "data/parts.py",
        "np.clip(shares, counts >= 2, np.maximum(counts - 1, 0))",
        "shares",
        ("test_data_layout.py",),
    ),
    Fault(
        "validation images that the digest doesn't know",
        "minisqx/training/data.py",
        '("train", "test", "validation")',
        '("train", "test")',
        ("test_training.py::test_validation_images_of_the_data_choose_best_and_none_is_set_aside",),
    ),
    Fault("litter in the cache", "data/cache.py", "> _MAX_WRITE_SECONDS:", "> 1e99:", CACHED),
    Fault(
        "a failure on another thread is lost",
        "minisqx/machine/sharing.py",
        "        raise min(failures, key=_number)[1]\n",
        "        pass\n",
        THREADS,
    ),
    Fault(
        "no thread to be had is an error",
        "minisqx/machine/sharing.py",
        "except (RuntimeError, MemoryError):",
        "except KeyError:",
        THREADS,
    ),
    Fault(
        "the failure that is raised is the first in time",
        "minisqx/machine/sharing.py",
        "raise min(failures, key=_number)[1]",
        "raise failures[0][1]",
        SHARED_FAILURES,
    ),
    Fault(
        "work before a failure is left undone",
        "minisqx/machine/sharing.py",
        "if failures and number > min(failures, key=_number)[0]:",
        "if failures:",
        SHARED_FAILURES,
    ),
    Fault(
        "a picture is decoded on a thread that isn't its own",
        "minisqx/inference/model.py",
        "share(load_one, [n for n in numbers if is_shared[n]], own=[n for n in numbers if not is_shared[n]])",
        "share(load_one, numbers)",
        ("test_calls.py::test_files_are_decoded_on_all_threads_and_objects_on_the_callers",),
    ),
    Fault(
        "a plan kept after a weight has changed",
        "minisqx/current_plan.py",
        "frozen.parameters != parameters or ",
        "",
        CHANGES,
    ),
    Fault(
        "a plan kept after a running statistic has changed",
        "minisqx/current_plan.py",
        " or frozen.buffers != buffers",
        "",
        CHANGES,
    ),
    Fault(
        "a plan kept where numbers are equal and bits are not",
        "minisqx/current_plan.py",
        "frozen.parameters != parameters or ",
        "(np.frombuffer(frozen.parameters, parameters.dtype) != parameters).any() or ",
        KEPT,
    ),
    Fault(
        "a plan of weights that may be newer than their copy",
        "minisqx/current_plan.py",
        "zip(copies, self._sections):\n            state |= cut(np.frombuffer(copy, parameters.dtype), sections)[0]",
        "zip((parameters, buffers), self._sections):\n            state |= cut(copy, sections)[0]",
        ("test_calls.py::test_a_plan_is_made_from_the_copy_that_it_is_compared_with",),
    ),
    Fault(
        "the padding of a chunk is what an earlier run left",
        "minisqx/plan.py",
        "table.pixels < table.columns",
        "table.pixels > table.columns",
        PADDING,
    ),
    Fault(
        "blue looked up as red in an array of images",
        "minisqx/inference/model.py",
        "[..., ::-1] if bgr else",
        " if bgr else",
        ("test_calls.py::test_an_array_of_images_is_answered_as_its_images_are",),
    ),
    Fault(
        "a softmax of numbers that are not finite",
        "kernels/softmax.py",
        "finite &= np.isfinite(logits[n, j])",
        "finite &= not np.isnan(logits[n, j])",
        ("test_calls.py::test_softmax_refuses_what_is_not_finite",),
    ),
    Fault(
        "a kernel's checksum not looked at",
        "kernels/compiler/cache.py",
        "if hashlib.sha256(data).digest() != ",
        "if False and ",
        KERNELS,
    ),
    Fault(
        "the next stage begins when the last piece is taken, not when all are done",
        "kernels/compiler/team.py",
        "if _take(state, DONE) + 1 < table[step, 2]:",
        "if piece + 1 < table[step, 2]:",
        TASKS,
    ),
    Fault(
        "a piece is computed twice", "kernels/compiler/team.py", "ticket = _take(state, TICKET)", "_take(state, TICKET)", TASKS
    ),
    Fault("layers run one by one", "minisqx/layers/workspace.py", "if self._waiting is None:", "if True:", TASKS),
    Fault(
        "calls of a pass that failed",
        "minisqx/layers/workspace.py",
        "            self._waiting = None\n",
        "            pass\n",
        TASKS,
    ),
    Fault("logits that the next pass overwrites", "minisqx/network.py", "return y.copy()", "return y", TASKS),
    Fault(
        "waiting threads spin for milliseconds",
        "kernels/compiler/alone.py",
        "os.putenv(variable, SPINS)",
        "os.putenv(variable, '300000')",
        ("test_threads.py::test_a_waiting_thread_of_gnu_openmp_sleeps_soon_unless_the_user_chose",),
    ),
    Fault(
        "kernels in sub-folders not hashed",
        "kernels/compiler/identity.py",
        "(module, *(_modules(module) if is_package else ()))",
        "(module,)",
        KERNELS,
    ),
    Fault(
        "another Numba's members taken as known",
        "kernels/compiler/numba_members.py",
        "if found != expected:",
        "if False:",
        ("test_numba_members.py",),
    ),
    Fault(
        "copies of a function under one name",
        "kernels/compiler/numba_members.py",
        "function.linkage = llvm.Linkage.internal",
        "pass",
        KERNELS,
    ),
    Fault(
        "half of the lanes summed twice",
        "kernels/tiles/simd.py",
        "for offset in (0, half)",
        "for offset in (0, 0)",
        ("test_kernels_product.py",),
    ),
    Fault(
        "machine code of changed sources run without Numba",
        "kernels/compiler/identity.py",
        'code_digest("minisqx.kernels"))',
        '"")',
        WITHOUT_NUMBA,
    ),
    Fault(
        "an image for any CPU",
        "kernels/compiler/image.py",
        'f"{name} {types} {cpu()}"',
        'f"{name} {types}"',
        WITHOUT_NUMBA,
    ),
    Fault(
        "an image for any types",
        "kernels/compiler/image.py",
        'f"{name} {types} {cpu()}"',
        'f"{name} {cpu()}"',
        WITHOUT_NUMBA,
    ),
    Fault(
        "an image whatever Numba's settings",
        "kernels/compiler/late.py",
        'if "numba" not in sys.modules and has_default_settings():',
        'if "numba" not in sys.modules:',
        WITHOUT_NUMBA,
    ),
    Fault(
        "an image of settings that the program has changed",
        "kernels/compiler/c_function.py",
        "if has_default_settings() and _are_default(numba.config):",
        "if has_default_settings():",
        WITHOUT_NUMBA,
    ),
    Fault(
        "one symbol for two C functions",
        "kernels/compiler/c_function.py",
        "hashlib.sha256(argument_types.encode())",
        "hashlib.sha256()",
        WITHOUT_NUMBA,
    ),
    Fault(
        "every array taken as contiguous",
        "kernels/compiler/c_function.py",
        'if array_type.layout != "C":',
        "if False:",
        WITHOUT_NUMBA,
    ),
    Fault(
        "an image that calls nothing in place of Numba",
        "kernels/compiler/link.py",
        'raise LinkError(f"it calls {name}")',
        "continue",
        WITHOUT_NUMBA,
    ),
    Fault(
        "addresses of an image not those of its memory",
        "kernels/compiler/image.py",
        "ADDRESS.unpack_from(code, offset)[0] + base",
        "ADDRESS.unpack_from(code, offset)[0]",
        WITHOUT_NUMBA,
    ),
    Fault(
        "Numba started without room for the threads",
        "minisqx/machine/threads.py",
        "_wanted = max(_wanted, count)",
        "_wanted = 0",
        THREADS,
    ),
    Fault("another kernel's code", "kernels/compiler/cache.py", "        if found != key:", "        if False:", KERNELS),
    Fault("another user's folder", "kernels/compiler/cache.py", "status.st_mode & 0o022", "False", KERNELS),
    Fault(
        "a full disk behind stdout",
        "minisqx/cli/commands.py",
        "    except OSError as error:",
        "    except KeyError as error:",
        ("test_cli.py",),
    ),
    Fault(
        "a copy without its weights",
        "minisqx/network.py",
        "            getattr(self, name)[:] = state[name]\n",
        "            pass\n",
        COPIES,
    ),
    Fault(
        "a copy that shares its velocity",
        "minisqx/training/optim.py",
        'np.array(state["velocity"])',
        'state["velocity"]',
        VELOCITY,
    ),
    Fault(
        "a copied answer that can be changed",
        "minisqx/inference/prediction.py",
        "        probabilities.flags.writeable = False  #",
        "        #",
        COPIES,
    ),
    Fault("a plan with the caller's weights", "minisqx/plan.py", 'np.array(array, self.dtype, order="C")', "array", COPIES),
    Fault(
        "a network's own class names are not saved",
        "minisqx/network.py",
        "getattr(self, name) if value is None else value",
        "value",
        DESCRIBED,
    ),
    Fault(
        "an unknown activation is let through",
        "kernels/activation.py",
        "    if number not in range(len(ACTIVATIONS) + 1):",
        "    if False:",
        UNKNOWN,
    ),
    Fault(
        "a unit that inference doesn't know",
        "minisqx/steps.py",
        "                case _:\n                    raise",
        "                case None:\n                    raise",
        UNKNOWN,
    ),
    Fault(
        "no finite numbers in evaluate",
        "minisqx/training/evaluation.py",
        "        model.check_finite(logits)\n",
        "",
        ("test_cli.py",),
    ),
    Fault(
        "exported C reads one pixel too far to the right",
        "minisqx/formats/engine.c",
        "(l->in_width - 1 - shift) / stride + 1;",
        "(l->in_width - shift) / stride + 1;",
        EXPORTED_C,
    ),
    Fault(
        "a class name ends its string in exported C",
        "minisqx/formats/c.py",
        "byte < 128 or byte in safe",
        "byte < 128 or byte in safe | {34}",
        ("test_formats_c.py::test_hostile_class_names_come_out_of_c_as_they_are",),
    ),
    Fault(
        "exported numbers lose their last digits",
        "minisqx/formats/c.py",
        "{value:.9g}",
        "{value:.5g}",
        EXPORTED_C,
    ),
    Fault(
        "a damaged safetensors file is read",
        "minisqx/checkpoint/safetensors_file.py",
        'entries["sha256"] != checkpoint.sha256',
        "False",
        ("test_formats_safetensors.py::test_a_damaged_file_is_one_line_whatever_is_wrong",),
    ),
    Fault(
        "a class name ends the script of a page",
        "minisqx/formats/page.py",
        '.replace("<", "\\\\u003c")',
        "",
        ("test_formats_page.py::test_no_class_name_ends_the_script_of_a_page",),
    ),
    Fault(
        "a page may connect to anything",
        "minisqx/formats/page.py",
        '"default-src": "\'none\'"',
        '"default-src": "*"',
        ("test_formats_page.py::test_nothing_leaves_the_page",),
    ),
    Fault(
        "a page's resize reads a pixel too far to the left",
        "minisqx/formats/engine.mjs",
        "cubic(Math.abs(first + k + 0.5 - centre) / stretch)",
        "cubic(Math.abs(first + k - centre) / stretch)",
        ("test_formats_page.py::test_the_module_resizes_an_image_to_the_same_pixels",),
    ),
    Fault(
        "a batch norm before padding is folded into a convolution",
        "minisqx/formats/folding.py",
        "any(step.pads)",
        "False",
        (f"{ONNX}[shallow-06-0.2x-ONNX Runtime]", *EXPORTED_C),
    ),
    Fault(
        "an exported graph is not normalised",
        "minisqx/formats/onnx_file.py",
        "1 / (255 * std), -mean / std",
        "1 / (255 * std), 0 * mean / std",
        ("test_formats_onnx.py::test_with_image_input_the_graph_takes_images_and_gives_probabilities",),
    ),
    Fault(
        "a PyTorch file may run programs",
        "minisqx/checkpoint/torch_file.py",
        'map_location="cpu", weights_only=True',
        'map_location="cpu", weights_only=False',
        ("test_formats_torch.py::test_pytorch_is_asked_for_weights_alone",),
    ),
    Fault(
        "public code's blocks are counted from 1",
        "minisqx/checkpoint/public_names.py",
        "int(block.removeprefix('block')) - 1",
        "int(block.removeprefix('block'))",
        ("test_formats_torch.py::test_the_names_are_those_of_public_code",),
    ),
    Fault(
        "one bias may be missing among others",
        "minisqx/checkpoint/foreign.py",
        "if any(names[bias] in there",
        "if all(names[bias] in there",
        ("test_formats_torch.py::test_convolutions_without_biases_before_their_batch_norms_have_biases_of_0",),
    ),
    Fault(
        "a class name loses its backslashes in an exported module",
        "minisqx/formats/torch_module.py",
        "map(repr, model.classes or ())",
        "(repr(name.replace('\\\\', '')) for name in model.classes or ())",
        ("test_formats_torch.py::test_hostile_class_names_come_out_of_python_as_they_are",),
    ),
    Fault(
        "a page without a place in the navigation is left out of the site",
        "docs/source_pages.py",
        '{**known, "More": more}.items()',
        "known.items()",
        (SMALL_SITE,),
    ),
    Fault(
        "the site's links to code lead nowhere",
        "docs/source_pages.py",
        "get_relative_uri(page, place(name))",
        "get_relative_uri(page, name)",
        (SMALL_SITE,),
    ),
    Fault(
        "the check of the site misses a page that is gone",
        "tests/check_site.py",
        "not target.exists() or (wanted",
        "(wanted",
        (SMALL_SITE,),
    ),
)
