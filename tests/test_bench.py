"""`minisqx bench`: it measures all that it should, and refuses what it can't measure. What a time is, no test says."""

import re

import numpy as np
import pytest

from minisqx.cli import commands as cli
from minisqx.cli import report
from minisqx.errors import CheckpointError, OptionError
from minisqx.inference import bench
from minisqx.spec import zoo
from minisqx.spec.squeezenext import SqueezeNextSpec

# Blocks with and without a convolution in the shortcut, and with strides that move into the block before.
SPECS = [SqueezeNextSpec(), SqueezeNextSpec(width=0.3, blocks=(1, 2, 1, 1), num_classes=4, input_size=(40, 48))]


def run(capsys, *arguments):
    """Exit code, lines on stdout and lines on stderr of `minisqx bench ARGUMENTS`."""
    try:
        code = cli.main(["bench", *map(str, arguments)])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), [line for line in err.splitlines() if "compiling" not in line]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_layer_is_measured_once(spec):
    *steps, last = [layer.name for layer in bench.measure(bench.untrained(spec), repeats=1, layers=True).layers]
    measured = [name for name in steps if not name.endswith(".sum")]
    together = [name.replace("conv1, ", "") for name in measured if ", " in name]
    names = [name.split(", ")[0] for name in measured] + together
    assert sorted(names) == sorted(convolution.name for group in spec.groups for convolution in group)
    assert [name for name in steps if name.endswith(".sum")] == [f"{block.name}.sum" for block in spec.bottlenecks]
    assert last == "pool, classifier"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_layers_have_the_shapes_and_no_more_work_than_the_description_says(spec):
    layers = bench.measure(bench.untrained(spec), repeats=1, layers=True).layers
    head = layers[-2]
    assert head.shape == (spec.head.out_channels, *spec.head.output_size) and head.macs == spec.head.macs
    assert layers[0].name == "stem" and layers[-1].shape == (spec.num_classes,)
    assert 0 < sum(layer.macs for layer in layers) <= spec.macs
    assert all(layer.seconds > 0 for layer in layers[:-1]) and layers[-1].seconds >= 0


def test_as_many_calls_are_measured_as_were_asked_for():
    speed = bench.measure(bench.untrained(SqueezeNextSpec()), seconds=1e-9, repeats=7)
    assert len(speed.tensor) == len(speed.image) == len(speed.batches) == 7 and speed.layers is None
    for times in (speed.tensor, speed.image, speed.batches):
        assert times[0] > 0 and (np.diff(times) >= 0).all()
    assert speed.images_per_second == pytest.approx(7 * 128 / speed.batches.sum())


def test_without_a_number_of_calls_a_measurement_ends_by_time_after_one():
    speed = bench.measure(bench.untrained(SqueezeNextSpec()), seconds=1e-9)
    assert len(speed.tensor) == len(speed.image) == len(speed.batches) == 1


def test_a_percentile_is_the_nearest_rank():
    assert report._percentiles(np.arange(1, 101) / 1e6) == ["1.0", "50.0", "90.0", "99.0", "100.0"]
    assert report._percentiles(np.array([2e-3])) == ["2,000.0"] * 5


def test_the_command_measures_the_shipped_weights(capsys):
    code, out, err = run(capsys, "--repeats", 2, "--threads", 1)
    assert code == 0 and not err
    assert out[0].startswith(f"{zoo.DEFAULT}: images of 32 x 32 pixels")
    assert "2 and 2 calls; 2 batches on 1 thread" in out[1]
    for line, start in ((out[4], "tensor float32 (1, 3, 32, 32) -> logits"), (out[5], "array uint8 (32, 32, 3) -> prediction")):
        assert line.startswith(start) and len(re.findall(r"[\d,]+\.\d", line.removeprefix(start))) == 5
    assert re.fullmatch(r"throughput in batches of 128: [\d,]+ images/s", out[-1])


def test_the_command_prints_a_row_for_each_layer_of_an_untrained_network(capsys):
    code, out, err = run(capsys, "--width", 0.3, "--blocks", "1,2,1,1", "--input-size", "40,48", "--repeats", 1, "--layers")
    assert code == 0 and not err and max(map(len, out)) <= 110
    assert out[0].startswith("shallow-07-1211-0.3x, untrained: images of 48 x 40 pixels (width x height)")
    rows = out[out.index("") + 1 :]
    first = next(number for number, line in enumerate(rows) if line.startswith("layer "))
    assert rows[first + 1].startswith("stem ") and rows[-2].startswith("pool, classifier ") and rows[-1].endswith("100.0 %")


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["--repeats", "0"], OptionError.exit_code, "repeats 0"),
        (["--repeats", "many"], OptionError.exit_code, "many"),
        (["--seconds", "0"], OptionError.exit_code, "seconds 0"),
        (["--seconds", "nan"], OptionError.exit_code, "seconds nan"),
        (["--threads", "0"], OptionError.exit_code, "threads 0"),
        (["--width", "-1"], OptionError.exit_code, "width -1"),
        (["--input-size", "2"], OptionError.exit_code, "too small"),
        (["--model", "best.h5", "--width", "0.5"], OptionError.exit_code, "--width with --model"),
        (["--model", "missing.h5"], CheckpointError.exit_code, "missing.h5"),
    ],
)
def test_what_can_not_be_measured_is_refused_in_one_line(capsys, arguments, code, words):
    found, out, err = run(capsys, *arguments)
    assert found == code and out == [] and len(err) == 1 and err[0].startswith("minisqx: ") and words in err[0]
