"""The benchmarks keep their word, as far as that needs no peer: what the peers are given, and what the documents' tables say."""

import json
from pathlib import Path

import numpy as np
import pytest

import minisqx
from benchmarks import campaign, tables
from benchmarks import zoo as ended
from benchmarks.engines.engine import Network
from benchmarks.folding import fold
from benchmarks.machine import keep_row
from benchmarks.pictures import write
from benchmarks.reproduce import RESULTS
from benchmarks.turns import Contestant, ContestantError, Steps, measure, ratios
from minisqx.spec import ConvolutionSpec, zoo
from minisqx.training.options import TrainingOptions
from tests.exported_models import model_of
from tests.naive_network import NaiveNetwork

ROOT = Path(__file__).parent.parent


class Step(Steps):
    def step(self):
        pass

    def outcome(self):
        raise ValueError("no outcome")


def unable():
    raise ImportError("no such engine")


@pytest.mark.parametrize("name", ["shallow-09-0.5x", "squeezenext-23-1x-v5", "squeezenet-v1.1"])
def test_a_network_whose_batch_norms_are_folded_gives_the_same_logits(name):
    spec, generator = zoo.network(name), np.random.default_rng(0)
    state = minisqx.Network(spec).state_dict()
    for key, values in state.items():
        if not key.endswith("weight"):
            values[:] = generator.uniform(0.5, 1.5, values.shape)
    x = generator.normal(size=(1, 3, *spec.input_size))
    folded, left = fold(spec, state)
    exact = NaiveNetwork(spec, state).forward(x, training=False)
    np.testing.assert_allclose(NaiveNetwork(folded, left).forward(x, training=False), exact, rtol=1e-5, atol=1e-5)
    norms = [key for key in left if key.endswith("gamma")]
    assert bool(norms) == name.startswith("shallow"), "only before padding and sums is a batch norm left"


def test_a_batch_norm_before_padding_or_a_sum_is_not_folded():
    spec = zoo.network("shallow-06-0.2x")
    folded, _ = fold(spec, minisqx.Network(spec).state_dict())
    stage = folded.units[1]
    assert [layer.has_norm for layer in stage.main] == [False, True, True, False, True]
    assert stage.shortcut.has_norm
    assert isinstance(folded.units[0], ConvolutionSpec)
    assert not folded.units[0].has_norm


@pytest.mark.parametrize("is_folded", [True, False])
def test_the_graph_for_engines_is_right_with_batch_norms_folded_or_not(is_folded, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="there is no onnxruntime: pip install onnxruntime")
    model = model_of("shallow-06-0.2x")
    graph = Network(model.spec, model.state, is_folded).onnx()
    x = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    (logits,) = runtime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_allclose(logits, model.network.forward(x), atol=1e-5)
    assert graph.count(b"BatchNormalization") == (16 if is_folded else 25)  # a convolution and a shortcut share theirs


def test_a_contestant_that_fails_says_why_without_ending_the_run():
    missing, fine = Contestant("missing", unable, {}), Contestant("fine", Step, {})
    with pytest.raises(ContestantError) as found:
        missing.ready()
    assert found.value.reason == "ImportError: no such engine"
    with pytest.raises(ContestantError, match="fine: ValueError: no outcome"):
        fine.call("outcome")
    fine = Contestant("fine", Step, {})
    assert len(measure([fine], 3, 1e-5)["fine"]["turns"]) == 3
    missing.close()
    fine.close()


def test_ratios_are_of_the_same_round():
    assert ratios([2, 6, 8], [1, 2, 8]) == {"median": 2.0, "lowest": 1.0, "highest": 3.0}


@pytest.mark.parametrize("kind", ["array", "png", "jpg", "progressive.jpg"])
def test_a_picture_of_the_smallest_size_can_be_written(kind, tmp_path):
    assert write(tmp_path, kind, 32, 32).stat().st_size > 0


@pytest.mark.parametrize("document", tables.DOCUMENTS)
def test_every_marked_table_says_what_its_result_file_says(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert tables.rewritten(text) == text


def test_a_row_measured_again_takes_the_place_of_the_earlier_one(tmp_path):
    path = tmp_path / "steps.json"
    for batch_size, ms in ((128, 1), (1, 2), (128, 3)):
        keep_row(path, {"date": "today", "batch_size": batch_size}, {"network": "shallow-06-0.2x", "ms": ms})
    assert [(row["batch_size"], row["ms"]) for row in json.loads(path.read_text())["rows"]] == [(128, 3), (1, 2)]


def test_cards_and_figures_of_the_zoo_say_what_its_results_say():
    found, page = ended.rows(RESULTS), (ROOT / "data/weights/README.md").read_text(encoding="utf-8")
    figures = json.loads((ROOT / "data/measured.json").read_text(encoding="utf-8"))
    assert ended.cards(page, found) == page and ended.measured(dict(figures), found) == figures


def test_a_cards_command_is_its_results_in_lines_that_begin_with_an_option():
    for result in ended.rows(RESULTS).values():
        lines = ended.wrapped(result["command"]).split(" \\\n")
        assert " ".join(map(str.strip, lines)) == result["command"] and max(map(len, lines)) <= 98
        assert all(line.strip().startswith("--") for line in lines[1:])


def test_a_card_counts_the_network_that_was_trained():
    options = TrainingOptions(width=0.5, blocks=(1, 1, 4, 1), stem_padding=1)
    result = {"network": "shallow-09-0.5x", "options": options.provenance(), "class_accuracy": dict.fromkeys("abc")}
    assert ended.network_of(result) == options.network(3) != zoo.network("shallow-09-0.5x", num_classes=3)


def test_infer_takes_the_most_accurate_shipped_network_below_600_kilobytes():
    figures = json.loads((ROOT / "data/measured.json").read_text(encoding="utf-8"))
    small = [name for name in figures if name in zoo.weights() and zoo.network(name).state_bytes < 600_000]
    assert max(small, key=lambda name: figures[name]["accuracy"]) == zoo.DEFAULT


def test_a_table_is_written_anew_and_the_text_around_it_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    row = {"median_seconds": 0.123, "median_megabytes": 45.6}
    (tmp_path / "startup.json").write_text(json.dumps({"rows": {"import numpy": row}}))
    text = "before\n<!-- table: startup -->\n\n| old |\n\n<!-- end of table -->\nbehind\n"
    new = "| process | seconds | MB |\n| --- | ---: | ---: |\n| import numpy | 0.12 | 46 |"
    assert tables.rewritten(text) == text.replace("| old |", new)


def test_accuracies_of_all_seeds_that_have_ended_stand_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "trainings").mkdir()
    for training, accuracy in reversed([*zip(campaign.truth(), (None, 0.5, 0.25))][1:]):
        result = {"options": {"seed": training.options.seed}, "test_accuracy": accuracy}
        (tmp_path / "trainings" / f"torch-{training.name}.json").write_text(json.dumps(result))
    assert tables.truth()[2:] == [["PyTorch", "2", "37.50 ± 17.68", "25.00", "50.00", "50.00, 25.00"]]


def test_a_change_is_compared_with_the_recipe_of_the_same_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "trainings").mkdir()
    for change, accuracies in {"recipe": (0.7, 0.75, 0.8), "dropout-0.1": (0.71, 0.74, None)}.items():
        for seed, accuracy in enumerate(accuracies):
            result = {"options": {"seed": seed}, "last": {"validation_accuracy": accuracy}}
            file = tmp_path / "trainings" / f"{campaign.compared(change, 'shallow-06-0.2x', seed).name}.json"
            file.write_text(json.dumps(result)) if accuracy else None
    rows = {row[0]: row[1] for row in tables.comparison()}
    assert rows["recipe"] == "75.00 ± 5.00" and rows["`--dropout 0.1`"] == "+0.00 ± 1.41"
    assert rows["`--augment flip`"] == "is the recipe" and rows["teacher"] == "-"


@pytest.mark.parametrize(
    ("microseconds", "text"), [(38.21, "38.2 us"), (998, "998 us"), (1503, "1.5 ms"), (84_000, "84 ms"), (4.2e6, "4.2 s")]
)
def test_a_duration_has_three_digits_in_the_unit_that_suits(microseconds, text):
    assert tables.duration(microseconds) == text
