"""The command line: what it prints, and that every fault is one line and an exit code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minisqx
from minisqx import errors
from minisqx.checkpoint import Checkpoint, save_checkpoint
from minisqx.cli import commands as cli
from minisqx.cli import report
from minisqx.errors import CheckpointError, DataError, ImageError, OptionError
from minisqx.spec import zoo
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training.evaluation import Evaluation, evaluate

CLASSES = ("cat", "dog", "frog")


def run(capsys, *arguments):
    """Exit code, lines on stdout and lines on stderr of `minisqx ARGUMENTS`."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    net = minisqx.ShallowSqueezeNext(width=0.125, num_classes=len(CLASSES))
    # Random images look alike on the average: as they are, all would get the same answer.
    net.parameters()["classifier.weight"][:] *= 30
    x = np.stack([np.asarray(picture(seed)) for seed in range(60)]).transpose(0, 3, 1, 2) / 255 - 0.5
    features = net.forward(x.astype(np.float32), training=False)
    net.parameters()["classifier.bias"][:] -= np.median(features, axis=0)
    path = tmp_path_factory.mktemp("weights") / "pets.h5"
    save_checkpoint(path, Checkpoint(net.spec, net.state_dict(), CLASSES, mean=(0.5,) * 3, std=(1.0,) * 3))
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An image folder: 2 training and 4 test images of each class."""
    folder = tmp_path_factory.mktemp("images")
    seed = 0
    for part, count in (("train", 2), ("test", 4)):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                picture(seed).save(folder / part / name / f"{number}.png")
                seed += 1
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))


def test_summary_prints_every_layer_and_the_totals(capsys):
    code, out, err = run(capsys, "summary", "--width", "0.2")
    assert code == 0 and not err
    rows = {line.split()[0]: line for line in out[3:-3]}
    spec = SqueezeNextSpec(width=0.2)
    assert [layer.name for layer in spec.layers] == list(rows)[:-2]
    assert rows["stem"].split() == ["stem", "12", "x", "30", "x", "30", "360", "291,600"]
    assert rows["total"].split() == ["total", "11,253", "735,446"]
    assert "48,092 bytes" in out[-2] and "0.735 million" in out[-1]
    assert max(map(len, out)) <= 100


def test_summary_takes_the_options_of_the_network(capsys):
    code, out, _ = run(
        capsys,
        "summary",
        "--width",
        "1",
        "--blocks",
        "1,2,8,1",
        "--num-classes",
        "100",
        "--input-size",
        "48,64",
        "--stem-padding",
        "1",
    )
    spec = SqueezeNextSpec(width=1, blocks=(1, 2, 8, 1), num_classes=100, input_size=(48, 64), stem_padding=1)
    assert code == 0 and f"{spec.parameters:,}" in out[-2]
    assert out[0] == "shallow-14-1x: images of 64 x 48 pixels (width x height), 100 classes"


def test_summary_takes_the_name_of_a_network(capsys):
    code, out, _ = run(capsys, "summary", "--model", "squeezenet-v1.1", "--num-classes", "10")
    assert code == 0 and out[0].startswith("squeezenet-v1.1: ") and "727,626 trainable parameters" in out[-2]


def test_models_lists_every_network_with_its_parameters(capsys):
    code, out, _ = run(capsys, "models")
    listed = {line.split()[0]: line for line in out[1:] if line and line.split()[0] in zoo.names()}
    assert code == 0 and list(listed) == zoo.names() and max(map(len, out)) <= 100
    assert all(name in "\n".join(out) for name in zoo.weights())
    assert all(f"{zoo.network(name).parameters:,}" in line for name, line in listed.items())


def test_paper_prints_the_table_that_was_asked_for_and_all_without(capsys):
    code, one, _ = run(capsys, "paper", "--table", "vi")
    assert code == 0 and one[0].startswith("Table VI") and one == run(capsys, "paper", "--table", "6")[1]
    titles = [line for line in run(capsys, "paper")[1] if line.startswith("Table ") and ":" in line]
    assert [title.split(":")[0] for title in titles] == [f"Table {number}" for number in ("I", "II", "III", "IV", "V", "VI")]
    assert run(capsys, "paper", "--table", "III", "--markdown")[1] != run(capsys, "paper", "--table", "III", "--csv")[1]


def test_draw_writes_a_network_or_one_of_its_blocks(capsys, tmp_path):
    for more, word in (((), "stage2.block1"), (("--block", "stage2.block1"), "conv3")):
        picture = tmp_path / f"{word}.svg"
        code, out, _ = run(capsys, "draw", "--model", "shallow-14-0.5x", "--out", picture, *more)
        assert code == 0 and out == [f"shallow-14-0.5x: {picture}"] and word in picture.read_text(encoding="utf-8")


def test_summary_and_draw_take_a_checkpoint(capsys, weights, tmp_path):
    code, out, err = run(capsys, "summary", "--model", weights)
    assert (code, err) == (0, []) and out == run(capsys, "summary", "--width", "0.125", "--num-classes", "3")[1]
    code, out, _ = run(capsys, "draw", "--model", weights, "--out", tmp_path / "net.svg")
    assert code == 0 and "3 logits" in (tmp_path / "net.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command", ["train", "models", "summary", "draw", "paper", "evaluate", "infer", "export", "bench", "warmup", "info"]
)
def test_an_unknown_option_leads_to_the_help_of_its_command(capsys, command):
    needed = {"draw": ["--out", "net.svg"], "evaluate": ["best.h5"], "infer": ["cat.jpg"], "export": ["best.h5", "net.c"]}.get(
        command, []
    )
    code, out, err = run(capsys, command, *needed, "--no-such-option")
    assert (code, out) == (2, [])
    assert err == [f"minisqx: unrecognized arguments: --no-such-option; see `minisqx {command} --help`"]


def test_a_network_of_the_paper_is_called_as_it_was_asked_for(capsys):
    for name in zoo.names():
        assert run(capsys, "summary", "--model", name)[1][0].startswith(f"{name}: ")


def test_infer_prints_the_likeliest_classes_of_every_image(capsys, weights, images):
    names = [images / "test" / "cat" / "0.png", images / "test" / "dog" / "1.png"]
    minisqx.load(weights).infer(names[0])  # compiles, which would give a line
    capsys.readouterr()
    code, out, err = run(capsys, "infer", *names, "--model", weights, "--topk", "2")
    assert code == 0 and not err and len(out) == 6
    for first, name in ((0, names[0]), (3, names[1])):
        assert out[first] == str(name)
        for line, (label, probability) in zip(out[first + 1 :], minisqx.infer(name, weights).topk(2)):
            assert line.split() == [label, f"{100 * probability:.2f}", "%"]


def test_infer_prints_three_classes_unless_told_otherwise(capsys, weights, images):
    code, out, _ = run(capsys, "infer", images / "test" / "cat" / "0.png", "--model", weights)
    assert code == 0 and len(out) == 4


def test_a_bad_image_among_good_ones_does_not_keep_their_answers_back(capsys, weights, images, tmp_path):
    good = images / "test" / "cat" / "0.png"
    code, out, err = run(capsys, "infer", good, tmp_path / "missing.png", good, "--model", weights)
    assert code == ImageError.exit_code and len(out) == 8 and len(err) == 1 and "missing.png" in err[0]


def test_evaluate_counts_what_infer_says(capsys, weights, images):
    model = minisqx.load(weights)
    expected = np.zeros((3, 3), int)
    for truth, name in enumerate(CLASSES):
        for number in range(4):
            expected[truth, model.infer(images / "test" / name / f"{number}.png").index] += 1
    assert 0 < expected.trace() < 12, "the test's own network says the same of all images"
    code, out, _ = run(capsys, "evaluate", weights, "--data", images, "--batch-size", "5")
    assert code == 0
    assert out[1].startswith(f"accuracy {100 * expected.trace() / 12:.2f} % ({expected.trace()} of 12 images)")
    for truth, name in enumerate(CLASSES):
        assert f"{name:<5}       4  {100 * expected[truth, truth] / 4:>6.2f} %" in out
        assert out[truth - 3].split() == [str(truth), name, *map(str, expected[truth])]


def test_evaluate_skips_bad_images_if_asked(capsys, weights, images, tmp_path):
    shutil.copytree(images, tmp_path / "photos")
    (tmp_path / "photos" / "test" / "cat" / "2.png").write_text("no image")
    code, _, err = run(capsys, "evaluate", weights, "--data", tmp_path / "photos")
    assert code == DataError.exit_code and "2.png" in err[-1]
    code, out, err = run(capsys, "evaluate", weights, "--data", tmp_path / "photos", "--skip-bad-images")
    assert code == 0 and "of 11 images)" in out[1] and sum("skipped: " in line and "2.png" in line for line in err) == 1


def test_the_batch_size_changes_no_result(weights):
    model = minisqx.load(weights)
    images = np.stack([np.asarray(picture(seed)) for seed in range(13)])
    labels = np.arange(13) % 3
    results = [evaluate(model, images, labels, size) for size in (1, 4, 13, 100)]
    for result in results:
        np.testing.assert_array_equal(result.confusion, results[0].confusion)
        assert result.loss == pytest.approx(results[0].loss, rel=1e-6)
    probabilities = np.stack([prediction.probabilities for prediction in model.infer(list(images))])
    assert results[0].loss == pytest.approx(-np.log(probabilities[np.arange(13), labels]).mean(), rel=1e-5)
    # Intervals with few images: each is the distance between two means, weighted by its share of the images.
    largest, right, expected = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, 0.0
    for low in np.arange(15) / 15:
        inside = (largest >= low) & (largest < low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(largest[inside].mean() - right[inside].mean())
    assert results[0].calibration_error == pytest.approx(expected, abs=1e-6) and expected > 0.01


def test_a_class_without_test_images_has_no_accuracy():
    result = Evaluation(("a", "b"), np.zeros(4, np.int64), np.array([0, 0, 1, 0]), np.ones(4), 0.5)
    assert result.class_accuracy == [0.75, None] and result.accuracy == 0.75
    assert "b           0         -" in report.evaluation(result)


def test_names_in_other_scripts_stand_in_straight_columns():
    lines = list(report.table([("class", "images"), ("猫と犬", "10"), ("cat", "100"), ("e\u0301te\u0301", "5")]))
    assert lines == ["class   images", "猫と犬      10", "cat        100", "e\u0301te\u0301          5"]


def test_many_classes_are_reported_by_their_most_frequent_confusions():
    pairs = [(n, n) for n in range(50)] * 90 + [(7, 9)] * 8 + [(3, 4)] * 9
    labels, predicted = np.array(pairs).T
    result = Evaluation(tuple(f"class {n}" for n in range(50)), labels, predicted, np.ones(len(pairs)), 1.0)
    lines = list(report.evaluation(result))
    assert max(map(len, lines)) <= 100
    assert [line.split() for line in lines[-2:]] == [["class", "3", "class", "4", "9"], ["class", "7", "class", "9", "8"]]


def test_info_says_versions_threads_and_the_cache_folder(capsys, tmp_path):
    code, out, _ = run(capsys, "info", "--threads", "1")
    text = "\n".join(out)
    assert code == 0 and max(map(len, (line for line in out if "/" not in line and "weights" not in line))) <= 100
    for words in (minisqx.__version__, sys.version.split()[0], np.__version__, "1 (--threads)", str(tmp_path / "cache")):
        assert words in text


def test_python_m_minisqx_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "minisqx", "summary"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("shallow-06-0.2x")


def test_version(capsys):
    assert run(capsys, "--version") == (0, [f"minisqx {minisqx.__version__}"], [])


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("train",),
        ("summary",),
        ("evaluate",),
        ("infer",),
        ("export",),
        ("bench",),
        ("warmup",),
        ("info",),
        ("models",),
        ("draw",),
        ("paper",),
    ],
)
def test_help_ends_with_an_example(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0 and out[-2] == "example:" and out[-1].startswith("  minisqx ")


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ([], 2, "COMMAND"),
        (["sumary"], 2, "'sumary'"),
        (["summary", "--width", "0"], 2, "width 0"),
        (["summary", "--width", "wide"], 2, "'wide'"),
        (["summary", "--blocks", "1,1,1"], 2, "blocks (1, 1, 1)"),
        (["summary", "--input-size", "2"], 2, "too small"),
        (["summary", "--input-size", "a\nb"], 2, "expected a side in pixels"),
        (["summary", "--input-size", "32,32,3"], 2, "input_size"),
        (["summary", "--num-classes", "0"], 2, "num_classes 0"),
        (["summary", "--model", "resnet"], 2, "model 'resnet': expected shallow"),
        (["summary", "--model", "squeezenet-v1.1", "--width", "0.3"], 2, "width 0.3 with squeezenet-v1.1"),
        (["summary", "--model", "{weights}", "--width", "1"], 2, "--width with --model"),
        (["summary", "--model", "{cat}"], CheckpointError.exit_code, "is not an HDF5 file"),
        (["summary", "--model", "{tmp}/missing.h5"], 2, "the path of a checkpoint, or one of shallow-06-0.125x"),
        (["draw", "--out", "{tmp}/net.png"], 2, ".svg"),
        (["draw", "--out", "{tmp}/net.svg", "--block", "stage9"], 2, "stage9"),
        (["paper", "--table", "VII"], 2, "table 'VII'"),
        (["train", "--epochs", "-1"], 2, "epochs -1"),
        (["infer", "{cat}", "--model", "squeezenet-v1.0"], CheckpointError.exit_code, "minisqx train --model squeezenet-v1.0"),
        (["train", "--batch-size", "0"], 2, "batch size 0"),
        (["infer"], 2, "IMAGE"),
        (["infer", "{cat}", "--threads", "many"], 2, "argument --threads: 'many': expected a whole number; see `minisqx infer"),
        (["bench", "--seconds", "long"], 2, "argument --seconds: 'long': expected a number; see `minisqx bench --help`"),
        (["bench", "--seconds", "3600.0001"], 2, "seconds 3600.0001: expected more than 0, up to 3600"),
        (["summary", "--width", "0.12499999"], 2, "width 0.12499999 leaves stage1.block1.conv2 without channels"),
        (["infer", "{cat}", "--model", "{weights}", "--topk", "4"], 2, "topk 4: expected 1 to 3"),
        (["infer", "{cat}", "--model", "{weights}", "--topk", "0"], 2, "topk 0"),
        (["infer", "{cat}", "--model", "{weights}", "--threads", "0"], 2, "threads 0"),
        (["infer", "{tmp}/missing.png", "--model", "{weights}"], ImageError.exit_code, "there is no file"),
        (["infer", "{cat}", "--model", "{tmp}/missing.h5"], CheckpointError.exit_code, "missing.h5"),
        (["infer", "{cat}", "--model", "{cat}"], CheckpointError.exit_code, "is not an HDF5 file"),
        (["evaluate", "{weights}", "--data", "{tmp}/missing"], DataError.exit_code, "missing"),
        (["evaluate", "{weights}", "--data", "{images}", "--batch-size", "0"], 2, "batch size 0"),
        (["evaluate", "{weights}", "--data", "{images}/train/cat"], DataError.exit_code, "cat"),
        (["evaluate", "{cat}", "--data", "{images}"], CheckpointError.exit_code, "is not an HDF5 file"),
        (["evaluate", "--data", "{images}"], 2, "MODEL"),
    ],
)
def test_a_fault_is_one_line_with_its_exit_code(capsys, weights, images, tmp_path, arguments, code, words):
    names = {"weights": weights, "cat": images / "test" / "cat" / "0.png", "images": images, "tmp": tmp_path}
    found, out, err = run(capsys, *(argument.format(**names) for argument in arguments))
    assert found == code and out == []
    assert len(err) == 1 and err[0].startswith("minisqx: ") and words in err[0]


def test_a_wrong_thread_variable_is_refused(capsys, monkeypatch, weights, images):
    monkeypatch.setenv("MINISQX_NUM_THREADS", "many")
    code, _, err = run(capsys, "infer", images / "test" / "cat" / "0.png", "--model", weights)
    assert code == 2 and len(err) == 1 and "MINISQX_NUM_THREADS 'many'" in err[0]


def test_ctrl_c_ends_quietly_with_130(capsys, monkeypatch):
    def interrupted(spec):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "summary", interrupted)
    assert run(capsys, "summary") == (130, [], [])


def test_an_error_with_a_line_break_is_still_one_line(capsys, monkeypatch):
    def broken(spec):
        raise OptionError("two\nlines")

    monkeypatch.setattr(report, "summary", broken)
    assert run(capsys, "summary") == (2, [], ["minisqx: two lines"])


@pytest.mark.skipif(os.name == "nt", reason="pipes break differently there")
def test_a_reader_that_has_enough_causes_no_complaint():
    # Far more than a pipe holds.
    command = [sys.executable, "-m", "minisqx", "summary", "--blocks", "100,100,100,100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(60) == 141


def shell(command, **variables):
    done = subprocess.run(
        command.replace("minisqx", f'"{sys.executable}" -m minisqx', 1),
        shell=True,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.skipif(os.name == "nt", reason="shells close streams differently there")
class TestStreams:
    def test_a_closed_stdout_is_no_fault(self, tmp_path):
        assert shell("minisqx summary >&-") == (0, "", [])
        assert shell(f"minisqx draw --out {tmp_path}/net.svg <&- >&- 2>&-")[0] == 0
        # It got none of the streams' numbers: what C code prints would be in it.
        assert (tmp_path / "net.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")

    def test_a_closed_stderr_takes_the_line_and_leaves_the_exit_code(self):
        assert shell("minisqx summary --width 0 2>&-") == (2, "", [])

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
    def test_a_full_disk_behind_a_stream_is_one_line(self):
        for arguments in ("summary", "summary --blocks 100,100,100,100", "models"):
            code, _, err = shell(f"minisqx {arguments} >/dev/full")
            assert code == cli.SYSTEM_ERROR == 8 and err == ["minisqx: [Errno 28] No space left on device"]
        assert shell("minisqx summary --width 0 2>/dev/full") == (2, "", [])


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("for 9 TB"), PermissionError(13, "Permission denied", "/there")])
def test_what_the_system_refuses_is_one_line(capsys, monkeypatch, error):
    def refuse(spec):
        raise error

    monkeypatch.setattr(report, "summary", refuse)
    code, out, err = run(capsys, "summary")
    assert code == 8 and out == [] and len(err) == 1 and str(error) in err[0]


def test_a_fault_of_our_own_keeps_its_traceback(capsys, monkeypatch):
    def broken(spec):
        raise ZeroDivisionError

    monkeypatch.setattr(report, "summary", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["summary"])


def test_every_exit_code_is_documented():
    text = (Path(__file__).parent.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = text.split("## Errors and exit codes")[1].split("\n## ")[0]
    documented = {int(row.split("|")[1]): row for row in section.splitlines() if row.startswith("| ") and row[2].isdigit()}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MinisqxError)]
    for kind in kinds:
        if kind is not errors.MinisqxError:
            assert f"`{kind.__name__}`" in documented[kind.exit_code]
    assert len({kind.exit_code for kind in kinds}) == len(kinds) and 1 not in {kind.exit_code for kind in kinds}
    assert {0, 1, cli.SYSTEM_ERROR, cli.INTERRUPTED, cli.BROKEN_PIPE, 143} <= set(documented)


def test_evaluate_refuses_a_model_without_finite_numbers(capsys, images, tmp_path):
    net = minisqx.ShallowSqueezeNext(width=0.125, num_classes=len(CLASSES))
    net.parameters()["classifier.weight"][:] = 3e38
    path = tmp_path / "failed.h5"
    save_checkpoint(path, Checkpoint(net.spec, net.state_dict(), CLASSES, mean=(0.5,) * 3, std=(1e-3,) * 3))
    for command in (("evaluate", path, "--data", images), ("infer", images / "test" / "cat" / "0.png", "--model", path)):
        code, _, err = run(capsys, *command)
        assert code == CheckpointError.exit_code and "no finite numbers" in err[-1]


@pytest.mark.parametrize("wrong", [5, ["a.h5"], None, b"a.h5"])
def test_what_is_no_models_name_is_refused(wrong):
    with pytest.raises(OptionError, match="^model .*: expected a checkpoint's path or the name of a model$"):
        minisqx.load(wrong)


def test_export_prints_the_files_that_it_wrote(capsys, weights, tmp_path):
    code, out, err = run(capsys, "export", weights, tmp_path / "pets.c", "--static")
    assert (code, out, err) == (0, [str(tmp_path / "pets.c"), str(tmp_path / "pets.h")], [])
    assert "void pets_infer(const uint8_t *rgb, float *probabilities);" in (tmp_path / "pets.h").read_text()
    code, out, _ = run(capsys, "export", weights, tmp_path / "pets", "--format", "c")
    assert (code, out) == (0, [str(tmp_path / "pets.c"), str(tmp_path / "pets.h")])


FORMATS = "c (.c), html (.html), mjs (.mjs), onnx (.onnx), py (.py), pt (.pt), safetensors (.safetensors), h5 (.h5)"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (
            ("net.xyz",),
            f"its ending names no format; expected one of {FORMATS}",
        ),
        (
            ("net.c", "--format", "xyz"),
            f"format 'xyz': expected one of {FORMATS}",
        ),
        (("nowhere/net.c",), "there is no folder 'nowhere'"),
        ((".",), "'.' is a folder"),
        (("net.h5", "--static"), "static with the format h5"),
        (("net.c", "--image-input"), "image_input with the format c"),
        (("net.h5", "--num-classes", "3"), "--input-size or --num-classes without --model"),
        (("net.h5", "--model", "shallow-06-0.2x"), "a network is named beside a model that describes its own"),
        (("my-net.c",), "'my-net.c': expected letters, digits and _"),
    ],
)
def test_what_cannot_be_exported_is_one_line(capsys, weights, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    code, out, (line,) = run(capsys, "export", weights, *arguments)
    assert (code, out) == (2, []) and expected in line
    assert list(tmp_path.iterdir()) == []


def test_export_reads_a_file_of_others_with_the_name_and_sizes_of_its_network(capsys, tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file(
        minisqx.ShallowSqueezeNext(width=0.125, num_classes=3, input_size=(40, 32)).state_dict(), tmp_path / "x.safetensors"
    )
    options = ["--model", "shallow-06-0.125x", "--num-classes", 3, "--input-size", "40,32"]
    assert run(capsys, "export", tmp_path / "x.safetensors", tmp_path / "x.h5", *options) == (0, [str(tmp_path / "x.h5")], [])
    assert minisqx.load(tmp_path / "x.h5").spec.input_size == (40, 32)
