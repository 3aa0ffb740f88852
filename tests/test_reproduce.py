"""The campaign of trainings: stopped and started again, it counts each run once, and only when it has ended."""

import json
import threading
import time
from dataclasses import replace

import pytest

from benchmarks import zoo
from benchmarks.campaign import Training, trainings
from benchmarks.reproduce import Campaign
from minisqx.checkpoint import load_checkpoint
from minisqx.training.options import TrainingOptions
from minisqx.training.recipes import RATES_WITHOUT_NORM
from tests.training_runs import write_data

OPTIONS = TrainingOptions(width=0.125, epochs=40, batch_size=13, validation=7)


@pytest.fixture
def campaign(tmp_path):
    for name in ("runs", "results"):
        (tmp_path / name).mkdir()
    return Campaign(tmp_path / "runs", tmp_path / "results", {"cifar10": str(write_data(tmp_path / "colours.h5"))})


def test_a_run_that_is_stopped_has_no_result_and_ends_with_the_same_weights(campaign, tmp_path):
    whole, stopped = Training("whole", "modern", OPTIONS), Training("stopped", "modern", OPTIONS)
    campaign.run(whole)
    thread = threading.Thread(target=campaign.run, args=(stopped,))
    thread.start()
    while not (tmp_path / "runs" / "stopped" / "last.h5").exists():
        time.sleep(0.05)
    campaign.stop()
    thread.join()
    assert campaign.missing([whole, stopped]) == [stopped]
    again = Campaign(campaign.runs, campaign.results, campaign.data, threads=2)
    again.run(stopped)
    assert again.missing([whole, stopped]) == []
    one, other = (json.loads((campaign.results / f"{name}.json").read_text()) for name in ("whole", "stopped"))
    assert (
        one["weights_sha256"]
        == other["weights_sha256"]
        == load_checkpoint(tmp_path / "runs" / "whole" / "last.h5").weights_sha256
    )
    assert (tmp_path / "runs" / "stopped.log").read_text().count("threads: 2 (MINISQX_NUM_THREADS)") == 1
    assert (zoo.machine(one), zoo.machine(other)) == (f"one thread of {one['cpu']}", f"2 threads of {one['cpu']}")
    assert one["history"]["test_accuracy"] == other["history"]["test_accuracy"] and len(one["history"]["epoch"]) == 40
    assert one["test_accuracy"] == one["last"]["test_accuracy"] and set(one["class_accuracy"]) == {"red", "green", "blue"}
    assert one["options"] == OPTIONS.provenance() and one["command"] == OPTIONS.command()


def test_a_comparison_does_not_look_at_the_test_images(campaign):
    training = Training("options", "comparison", OPTIONS)
    campaign.run(training)
    text = (campaign.results / "options.json").read_text()
    assert "test_" not in text and "validation_accuracy" in json.loads(text)["last"]


def test_a_result_for_other_options_is_refused(campaign):
    campaign.run(Training("run", "modern", OPTIONS))
    with pytest.raises(SystemExit, match="of other options than run"):
        campaign.missing([Training("run", "modern", TrainingOptions(width=0.125, epochs=41, batch_size=13, validation=7))])


def test_a_result_from_before_an_option_existed_counts(campaign):
    training = Training("run", "modern", replace(OPTIONS, epochs=1))
    campaign.run(training)
    file = campaign.results / "run.json"
    result = json.loads(file.read_text())
    del result["options"]["distill"]
    file.write_text(json.dumps(result))
    assert campaign.missing([training]) == []


def test_a_training_waits_until_its_teacher_is_shipped(campaign, capsys):
    training = Training("run", "modern", replace(OPTIONS, distill="shallow-14-2x"))
    campaign.run(training)
    assert campaign.missing([training]) == [training] and not (campaign.runs / "run").exists()
    assert "run: waits for its teacher's weights, shallow-14-2x" in capsys.readouterr().out


def test_a_row_that_has_ended_is_shipped_with_its_card_and_its_figures(campaign, tmp_path):
    weights = tmp_path / "data" / "weights"
    weights.mkdir(parents=True)
    (weights / "README.md").write_text(f"before\n{zoo.BEGIN}\nold\n{zoo.END}after\n")
    (tmp_path / "data" / "measured.json").write_text("{}")
    name = f"shallow-06-0.125x{zoo.SUFFIX}"
    campaign.run(Training(name, "modern", replace(OPTIONS, epochs=2)))
    for _ in range(2):
        zoo.update(campaign.runs, campaign.results, tmp_path / "data")
    result, model = json.loads((campaign.results / f"{name}.json").read_text()), weights / "shallow-06-0.125x.h5"
    shipped = load_checkpoint(model)
    assert shipped.weights_sha256 == result["weights_sha256"] and shipped.training is None
    assert shipped.temperature == result["temperature"] != 1
    page, figures = (weights / "README.md").read_text(), json.loads((tmp_path / "data" / "measured.json").read_text())
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert page.count(result["weights_sha256"]) == 1 and f"**{100 * result['test_accuracy']:.2f} %**" in page
    assert figures["shallow-06-0.125x"]["accuracy"] == round(100 * result["test_accuracy"], 2)
    model.unlink()
    (campaign.results / f"{name}.json").write_text(json.dumps(result | {"weights_sha256": "0" * 64}))
    with pytest.raises(SystemExit, match="has not the weights of"):
        zoo.update(campaign.runs, campaign.results, tmp_path / "data")


def test_a_run_that_fails_has_no_result_and_its_reason_in_the_log(campaign, capsys):
    training = Training("run", "modern", TrainingOptions(width=0.125, epochs=1, validation=60))
    campaign.run(training)
    assert campaign.missing([training]) == [training] and "failed" in capsys.readouterr().out
    assert "minisqx: " in (campaign.runs / "run.log").read_text()


def test_the_trainings_of_the_campaign_have_different_names_and_options():
    all_ = list(trainings())
    assert len({each.name for each in all_}) == len({(each.data, each.options) for each in all_}) == len(all_)


def test_networks_without_batch_norm_are_trained_with_a_rate_that_suits():
    without = [each for each in trainings() if not any(layer.has_norm for layer in each.options.network().convolutions)]
    assert {each.options.model for each in without} == {"squeezenet-v1.0", "squeezenet-v1.1"}
    assert {each.options.lr for each in without} == {RATES_WITHOUT_NORM["one-cycle"]}
