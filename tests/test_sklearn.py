"""`ShallowSqueezeNextClassifier` is an estimator like any other of scikit-learn."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="there is no scikit-learn: pip install 'minisqx[sklearn]'")

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from minisqx.errors import OptionError
from minisqx.sklearn import DEFAULT_PARAMETERS, LEFT_OUT, OPTIONS, ShallowSqueezeNextClassifier
from minisqx.training import train
from minisqx.training.options import TrainingOptions

FAST = {"width": 0.125, "epochs": 4, "threads": 1, "random_state": 0}
# Checks of scikit-learn that can't pass, each with its reason.
EXPECTED_FAILURES: dict[str, str] = {}


def colours(images: int = 60, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Noise with more red, green or blue, and the names of these."""
    random, labels = np.random.default_rng(0), np.arange(images) % 3
    pixels = random.integers(0, 120, (images, side, side, 3))
    pixels[np.arange(images), :, :, labels] += 60
    return pixels.astype(np.uint8), np.array(["red", "green", "blue"])[labels]


X, Y = colours()


def test_the_checks_of_scikit_learn_pass():
    results = check_estimator(ShallowSqueezeNextClassifier(), expected_failed_checks=EXPECTED_FAILURES)
    statuses = [result["status"] for result in results]
    assert len(statuses) > 45 and statuses.count("passed") >= 45 and "failed" not in statuses


def test_its_parameters_are_the_options_of_a_run():
    known = ShallowSqueezeNextClassifier().get_params()
    assert set(known) == {*OPTIONS, "image_shape", "random_state", "verbose"} and known == DEFAULT_PARAMETERS
    assert set(OPTIONS) | LEFT_OUT == set(TrainingOptions().to_dict())
    with pytest.raises(TypeError, match="unexpected parameters wide: expected width"):
        ShallowSqueezeNextClassifier(wide=0.2)
    with pytest.raises(OptionError, match="epochs 0"):
        ShallowSqueezeNextClassifier(epochs=0).fit(X, Y)


def test_fit_is_the_training_of_the_command_to_the_bit(tmp_path):
    options = {"width": 0.125, "epochs": 3, "batch_size": 13, "schedule": "one-cycle", "augment": "crop", "validation": 9}
    options |= {"lr": 0.1, "weight_decay": 5e-4}
    made = ShallowSqueezeNextClassifier(**options, random_state=5).fit(X, Y)
    import h5py

    seed = int(np.random.RandomState(5).randint(2**31 - 1))
    with h5py.File(tmp_path / "same.h5", "w") as file:
        names, file["labels"] = np.unique(Y, return_inverse=True)
        file["images"], file["classes"] = X, [name.encode() for name in names]
        file["test_images"], file["test_labels"] = X[:3], np.arange(3)
    run = train(TrainingOptions(**options, seed=seed, data=tmp_path / "same.h5", out=tmp_path / "run"), say=lambda line: None)
    assert made.model_.classes == run.model.classes == tuple(made.classes_)
    assert made.model_.temperature == run.model.temperature != 1
    assert all(np.array_equal(made.model_.state[name], run.model.state[name]) for name in run.model.state)
    assert made.predict_proba(X).tobytes() == run.model.probabilities(X).tobytes()


def test_clones_and_pickles_give_the_same_bits():
    made = ShallowSqueezeNextClassifier(**FAST).fit(X, Y)
    again = clone(made).fit(X, Y)
    copied = pickle.loads(pickle.dumps(made))
    expected = made.predict_proba(X).tobytes()
    assert again.predict_proba(X).tobytes() == copied.predict_proba(X).tobytes() == expected
    assert clone(made).set_params(random_state=1).fit(X, Y).predict_proba(X).tobytes() != expected


def test_a_grid_search_in_two_processes_finds_a_width_that_learns():
    search = GridSearchCV(ShallowSqueezeNextClassifier(**FAST | {"epochs": 12}), {"width": [0.125, 0.25]}, n_jobs=2, cv=2)
    search.fit(X, Y)
    assert search.best_score_ > 0.9 and set(search.cv_results_["param_width"]) == {0.125, 0.25}
    assert search.best_estimator_.model_.spec.parameters > 0


def test_a_pipeline_takes_images_rows_and_grey_digits():
    flat = make_pipeline(FunctionTransformer(lambda x: 255 - x), ShallowSqueezeNextClassifier(**FAST, image_shape=(12, 12, 3)))
    whole = make_pipeline(FunctionTransformer(lambda x: 255 - x), ShallowSqueezeNextClassifier(**FAST))
    rows = flat.fit(X.reshape(len(X), -1), Y).predict_proba(X.reshape(len(X), -1))
    assert rows.tobytes() == whole.fit(X, Y).predict_proba(X).tobytes()
    digits, labels = load_digits(return_X_y=True)
    scores = cross_val_score(
        ShallowSqueezeNextClassifier(**FAST | {"width": 0.2, "epochs": 15}), digits[:600], labels[:600], cv=2
    )
    assert min(scores) > 0.6


def test_partial_fit_learns_from_part_after_part():
    made = ShallowSqueezeNextClassifier(**FAST | {"lr": 0.05})
    for number in range(16):
        some = np.arange(number % 2, len(X), 2)
        made.partial_fit(X[some], Y[some], classes=["red", "green", "blue"] if number == 0 else None)
    assert made.score(X, Y) > 0.9 and len(made.history_) == 16
    resumed = pickle.loads(pickle.dumps(made)).partial_fit(X, Y)
    assert resumed.predict_proba(X).tobytes() == made.partial_fit(X, Y).predict_proba(X).tobytes()
    with pytest.raises(OptionError, match="the label 'pink' is none of the classes"):
        made.partial_fit(X[:3], ["red", "blue", "pink"])


@pytest.mark.parametrize(
    "images, words",
    [
        (X[..., :2], "expected \\(N, height, width, 3\\)"),
        (X[:, :10], "expecting 12 features|expected \\(12, 12, 3\\)"),
        (X[:, :, :10], "expected \\(12, 12, 3\\), as in fit"),
    ],
)
def test_images_of_another_shape_are_refused(images, words):
    made = ShallowSqueezeNextClassifier(**FAST | {"epochs": 1}).fit(X, Y)
    with pytest.raises(ValueError, match=words):
        made.predict(images)


def test_floats_are_pixels_from_the_least_to_the_greatest_value():
    made = ShallowSqueezeNextClassifier(**FAST)
    spread = X.copy()
    spread[0, 0, 0], spread[0, 0, 1] = 0, 255
    expected = made.fit(spread, Y).predict_proba(spread)
    assert made.predict_proba(spread[9:].astype(np.float64)).tobytes() == expected[9:].tobytes()
    assert clone(made).fit(spread / 255 - 0.5, Y).predict_proba(spread / 255 - 0.5).tobytes() == expected.tobytes()
