"""`minisqx export MODEL net.c`: what compiled C answers is what we answer, everywhere with the same bits."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import copyfile, which

import numpy as np
import pytest
from PIL import Image

import minisqx
from minisqx.errors import CheckpointError, OptionError
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.c_programs import COMPILERS, EXACT, STATIC_DRIVER, WARNINGS, compiled, outputs
from tests.exported_models import NETWORKS, ODD, images_for, logits_of, model_of, spec_of

# Sums of the same products in float32, in another order.
TOLERANCE = 1e-5
# A compiler takes ten seconds for three million numbers; `python -m tests.export_table` has the larger networks, too.
MOST_PARAMETERS = 1_000_000


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a part of the largest number."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", [name for name in NETWORKS if spec_of(name).parameters < MOST_PARAMETERS])
def test_compiled_c_gives_the_logits_and_probabilities_of_every_network(name, tmp_path):
    model = model_of(name)
    images = images_for(model)
    minisqx.export(model, tmp_path / "net.c")
    logits, probabilities = outputs(compiled(tmp_path, "gcc", "-O1"), "gcc", images, model.spec.num_classes)
    assert difference(logits, logits_of(model, images)) < TOLERANCE
    assert np.abs(probabilities - model.probabilities(images)).max() < TOLERANCE


@pytest.mark.parametrize("name", ["shallow-06-0.2x", ODD])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_compiler_and_cpu_gives_the_same_bits(name, compiler, tmp_path):
    model = model_of(name)
    images, classes = images_for(model), model.spec.num_classes
    minisqx.export(model, tmp_path / "net.c")
    first = outputs(compiled(tmp_path, "gcc", *EXACT), "gcc", images, classes)
    again = outputs(compiled(tmp_path, compiler, *EXACT), compiler, images, classes)
    vectors = outputs(compiled(tmp_path, compiler, "-O3", "-ffp-contract=off"), compiler, images, classes)
    for one, two, three in zip(first, again, vectors):
        assert one.tobytes() == two.tobytes() == three.tobytes()


@pytest.mark.parametrize("name", ["shallow-06-0.2x", "squeezenet-v1.1", ODD])
def test_compiled_c_stays_in_its_memory_and_has_no_undefined_behaviour(name, tmp_path):
    model = model_of(name)
    images, flags = images_for(model), ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    minisqx.export(model, tmp_path / "net.c")
    logits, _ = outputs(compiled(tmp_path, "gcc", *flags), "gcc", images, model.spec.num_classes)
    assert difference(logits, logits_of(model, images)) < TOLERANCE


@pytest.mark.parametrize("static", [False, True])
def test_compiled_c_calls_nothing_and_writes_no_global_but_its_own_memory(static, tmp_path):
    COMPILERS["gcc"].require()
    minisqx.export(model_of("shallow-06-0.125x"), tmp_path / "net.c", static=static)
    flags = ("-std=c99", "-O2", "-fno-pie", "-fno-stack-protector")
    subprocess.run(["gcc", *flags, "-c", "net.c", "-o", "net.o"], cwd=tmp_path, check=True)
    symbols = subprocess.run(["nm", "net.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    kinds = {name: kind for *_, kind, name in map(str.split, symbols)}
    assert kinds["net_infer"] == "T" and kinds["net_classes"] == "R"
    # A compiler may put a call of these in the place of a loop.
    assert {name for name, kind in kinds.items() if kind == "U"} <= {"memset", "memcpy", "memmove"}
    assert [name for name, kind in kinds.items() if kind in "bBdDCgGsS"] == (["memory"] if static else [])


def test_a_static_export_has_the_same_answers_without_a_memory_argument(tmp_path):
    model = model_of("shallow-06-0.125x")
    images = images_for(model)
    minisqx.export(model, tmp_path / "net.c", static=True)
    program = compiled(tmp_path, "gcc", "-O1", driver=STATIC_DRIVER)
    logits, probabilities = outputs(program, "gcc", images, 10)
    assert difference(logits, logits_of(model, images)) < TOLERANCE
    assert np.abs(probabilities - model.probabilities(images)).max() < TOLERANCE


@pytest.mark.parametrize("order", ["conv-act-bn", "conv-bn-act"])
@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_every_option_of_a_block_is_exported(activation, order, tmp_path):
    options = {"activation": activation, "block_order": order, "shortcut_activation": activation == "relu", "stem_padding": 1}
    model = model_of(
        SqueezeNextSpec(width=0.2, blocks=(2, 1, 2, 1), input_size=(33, 21), num_classes=3, **options), "abc", "float64"
    )
    images = images_for(model)
    minisqx.export(model, tmp_path / "net.c")
    logits, _ = outputs(compiled(tmp_path, "gcc", "-O1"), "gcc", images, 3)
    assert difference(logits, logits_of(model, images)) < TOLERANCE


HOSTILE = (
    '"); system("id"); //',
    "*/ int main(",
    "a\\",
    "??/",
    "%s%n",
    "<script>alert(1)</script>",
    "猫 🐈",
    "é" * 400,
    "0\\0",
    "'",
)


def test_hostile_class_names_come_out_of_c_as_they_are(tmp_path):
    model = model_of(SqueezeNextSpec(width=0.125, num_classes=len(HOSTILE)), HOSTILE)
    minisqx.export(model, tmp_path / "net.c")
    driver = """
#include "net.h"
#include <stdio.h>

int main(void)
{
    for (int j = 0; j < NET_CLASSES; j++) puts(net_classes[j]);
    return 0;
}
"""
    program = compiled(tmp_path, "gcc", "-O0", "-trigraphs", driver=driver)
    assert subprocess.run([program], check=True, capture_output=True).stdout.decode().splitlines() == list(HOSTILE)
    assert (tmp_path / "net.c").read_bytes().isascii()


def test_a_hostile_name_of_a_model_stays_within_the_comment(tmp_path):
    model = replace(model_of("shallow-06-0.125x"), name="a */ #error b.h5 ??/\\")
    minisqx.export(model, tmp_path / "net.c")
    compiled(tmp_path, "gcc", "-O0")


def test_the_comment_states_the_memory_and_the_constants_as_compiled(tmp_path):
    COMPILERS["gcc"].require()
    minisqx.export(model_of(ODD), tmp_path / "net.c")
    text = (tmp_path / "net.h").read_text()
    (flash,), (ram,) = (re.findall(rf"{what}: ([0-9,]+) bytes", text) for what in ("flash", "RAM"))
    (tmp_path / "size.c").write_text('#include "net.h"\nchar used[sizeof(net_memory)];\n')
    for file in ("net", "size"):
        subprocess.run(["gcc", "-O0", "-fno-pie", "-c", f"{file}.c"], cwd=tmp_path, check=True)
    sizes = {}
    for file in ("net", "size"):
        listing = subprocess.run(["nm", "-S", f"{file}.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        sizes |= {parts[3]: (parts[2], int(parts[1], 16)) for parts in map(str.split, listing.splitlines()) if len(parts) == 4}
    assert sizes["used"][1] == int(ram.replace(",", ""))
    constants = sum(size for name, (kind, size) in sizes.items() if kind == "r" and name != "layers")
    assert constants == int(flash.replace(",", ""))


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4", "cortex-m7"])
def test_c_compiles_for_microcontrollers(cpu, tmp_path):
    if which("arm-none-eabi-gcc") is None:
        pytest.skip("there is no arm-none-eabi-gcc: install Debian's gcc-arm-none-eabi and libnewlib-arm-none-eabi")
    minisqx.export(model_of("shallow-06-0.125x"), tmp_path / "net.c", static=True)
    command = [
        "arm-none-eabi-gcc",
        *WARNINGS,
        f"-mcpu={cpu}",
        "-mthumb",
        "-Os",
        "-c",
        tmp_path / "net.c",
        "-o",
        tmp_path / "net.o",
    ]
    subprocess.run(command, check=True)


def test_the_header_can_be_included_from_cpp(tmp_path):
    COMPILERS["gcc"].require()
    minisqx.export(model_of("shallow-06-0.125x"), tmp_path / "net.c")
    (tmp_path / "main.cpp").write_text(
        '#include "net.h"\nint main() { net_memory *m = nullptr; return m != nullptr || net_classes[0][0] == 0; }\n'
    )
    subprocess.run(["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-c", "main.cpp"], cwd=tmp_path, check=True)


def test_files_and_functions_have_the_name_that_is_asked_for(tmp_path):
    files = minisqx.export("shallow-06-0.2x", tmp_path / "Signs_2.c")
    assert [file.name for file in files] == ["Signs_2.c", "Signs_2.h"]
    header = files[1].read_text()
    assert "void Signs_2_infer(const uint8_t *rgb, float *probabilities, Signs_2_memory *memory);" in header
    assert "#define SIGNS_2_CLASSES 10" in header
    text = files[0].read_text() + header
    assert re.findall(r"\b(?:net_|NET_)", text) == [] and '#include "Signs_2.h"' in text


def test_an_export_is_the_same_bytes_every_time(tmp_path):
    texts = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        texts.append([path.read_bytes() for path in minisqx.export("shallow-06-0.2x", tmp_path / folder / "net.c")])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["my-net.c", "2.c", "a b.c", "ä.c", "_x.c", ".c"])
def test_a_name_that_no_function_can_have_is_refused(name, tmp_path):
    with pytest.raises(OptionError, match="expected"):
        minisqx.export("shallow-06-0.2x", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_c_would_answer_wrongly_for_is_refused(tmp_path):
    model = model_of("shallow-06-0.125x")
    with pytest.raises(CheckpointError, match="class names"):
        minisqx.export(replace(model, classes=None), tmp_path / "net.c")
    broken = {name: array.copy() for name, array in model.state.items()}
    broken["classifier.bias"][0] = np.nan
    with pytest.raises(CheckpointError, match="no finite numbers"):
        minisqx.export(replace(model, state=broken), tmp_path / "net.c")
    large = model_of(SqueezeNextSpec(width=1, input_size=(4096, 4096)))
    with pytest.raises(OptionError, match="memory"):
        minisqx.export(large, tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


EXAMPLE = Path(__file__).parent.parent / "examples" / "c"


def test_the_example_in_c_answers_for_a_ppm_file_as_we_do(tmp_path):
    COMPILERS["gcc"].require()
    if which("make") is None:
        pytest.skip("there is no make: install Debian's make")
    for name in ("main.c", "Makefile"):
        copyfile(EXAMPLE / name, tmp_path / name)
    minisqx.export("shallow-06-0.2x", tmp_path / "net.c")
    subprocess.run(["make", "CFLAGS=-std=c99 -O1 -Wall -Wextra -Wconversion -pedantic -Werror"], cwd=tmp_path, check=True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.ppm")
    (tmp_path / "short.ppm").write_bytes((tmp_path / "a.ppm").read_bytes()[:-1])
    Image.fromarray(pixels[:31]).save(tmp_path / "low.ppm")
    (tmp_path / "text.ppm").write_text("P3 1 1 255 0 0 0")
    command = ["./classify", "short.ppm", "low.ppm", "text.ppm", "none.ppm", "a.ppm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    found = minisqx.infer(pixels, "shallow-06-0.2x")
    assert done.stdout == f"a.ppm: {found.label} {100 * found.probability:.1f} %\n"
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 4)
