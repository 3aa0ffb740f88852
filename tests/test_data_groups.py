"""Images that belong together stay in one part, whichever way they are marked."""

import h5py
import numpy as np
import pytest

from minisqx.cli.commands import main
from minisqx.data import open_dataset
from minisqx.data.dataset import Part
from minisqx.data.groups import set_groups_aside, with_groups
from minisqx.data.sources import open_parts
from minisqx.errors import DataError, OptionError
from minisqx.training.data import open_training_data
from minisqx.training.options import TrainingOptions
from tests.image_folders import picture, save

LABELS = np.repeat([0, 1, 2], [300, 200, 41])
GROUPS = np.concatenate([np.arange(300) // 30, 100 + np.arange(200) // 25, 200 + np.arange(41) // 10])


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))


def films(root, place="{label}/film{group}_{frame:03}.png"):
    """Two classes, four groups each, of five images."""
    for label, name in enumerate(("cat", "dog")):
        for group in range(4):
            for frame in range(5):
                save(
                    root / place.format(label=name, group=4 * label + group, frame=frame),
                    picture(100 * label + 10 * group + frame),
                )
    return root


def check_apart(first: Part, second: Part):
    assert first.groups is not None and second.groups is not None
    assert len(first) and len(second) and not set(first.groups) & set(second.groups)


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_are_set_aside_of_every_class_near_its_share(seed):
    kept, aside = set_groups_aside(LABELS, GROUPS, np.array([60, 40, 8]), seed)
    assert sorted([*kept, *aside]) == list(range(541)) and not set(GROUPS[kept]) & set(GROUPS[aside])
    # A group is not divided, so a class may miss its share by half a group.
    assert (np.abs(np.bincount(LABELS[aside]) - [60, 40, 8]) <= [15, 13, 5]).all()
    assert all(
        np.array_equal(*pair) for pair in zip((kept, aside), set_groups_aside(LABELS, GROUPS, np.array([60, 40, 8]), seed))
    )


def test_other_seeds_set_other_groups_aside():
    chosen = {tuple(np.unique(GROUPS[set_groups_aside(LABELS, GROUPS, np.array([60, 40, 8]), seed)[1]])) for seed in range(5)}
    assert len(chosen) > 1


def test_a_groups_classes_are_never_set_aside_to_the_last_image():
    labels, groups = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2])
    _, aside = set_groups_aside(labels, groups, np.array([2, 2, 1]), seed=0)
    assert set(groups[aside]) in ({0}, {1})


@pytest.mark.parametrize(
    "way, place", [("prefix", "{label}/film{group}_{frame:03}.png"), ("folder", "{label}/{group}/{frame}.png")]
)
def test_films_of_a_folder_stay_together_in_training_validation_and_test(way, place, tmp_path):
    folder = films(tmp_path / "films", place)
    lines: list[str] = []
    data = open_training_data(TrainingOptions(data=str(folder), groups=way, validation=0.2), lines.append)
    check_apart(data.train, data.test)
    check_apart(data.train, data.validation)
    check_apart(data.validation, data.test)
    assert all(set(part.labels) == {0, 1} for part in (data.train, data.validation, data.test))
    for line, part in (("set aside for testing", data.test), ("validation", data.validation)):
        assert any(f"{line}: {len(part)} images, {len(set(part.groups))} of " in each for each in lines)
    # From the cache, too; and without groups, films are torn apart.
    again = open_training_data(TrainingOptions(data=str(folder), groups=way, validation=0.2), lines.append)
    assert again.digest == data.digest and again.test.names == data.test.names
    if way == "prefix":
        alone = open_training_data(TrainingOptions(data=str(folder), validation=0.2), lines.append)
        assert alone.digest != data.digest and alone.train.groups is None
        assert {name.split("_")[0] for name in alone.test.names} & {name.split("_")[0] for name in alone.train.names}


def test_evaluation_measures_the_groups_that_training_leaves_out(tmp_path):
    folder = films(tmp_path / "films")
    test = open_dataset(folder, groups="prefix").test
    parts = open_parts(folder, image_size=None, skip_bad_images=False, say=print)
    measured = parts.measured(False, print, {"split": "files", "groups": "prefix"})
    assert measured.names == test.names and np.array_equal(measured.images, test.images)


def test_the_files_of_images_are_known_also_beside_bad_ones(tmp_path):
    folder = films(tmp_path / "films")
    (folder / "cat" / "film0_002.png").write_bytes(b"not an image")
    for _ in range(2):  # decoded, and from the cache
        data = open_dataset(folder, skip_bad_images=True, say=lambda line: None)
        names = [*data.train.names, *data.test.names]
        assert len(names) == len(set(names)) == 39 and "cat/film0_002.png" not in names
        for part in data.parts.values():
            for name, image in zip(part.names, part.images, strict=True):
                label, film, frame = name[:3], int(name[8]), int(name[10:13])
                assert np.array_equal(image, picture(100 * (label == "dog") + 10 * (film % 4) + frame))


def test_an_array_in_hdf5_has_the_groups(tmp_path):
    with h5py.File(tmp_path / "films.h5", "w") as file:
        file["images"], file["labels"], file["groups"] = np.zeros((541, 8, 8, 3), np.uint8), LABELS, GROUPS.astype(np.uint16)
    data = open_training_data(TrainingOptions(data=str(tmp_path / "films.h5")), lambda line: None)
    check_apart(data.train, data.test)
    check_apart(data.train, data.validation)
    check_apart(data.validation, data.test)
    assert set(data.train.groups) | set(data.validation.groups) | set(data.test.groups) == set(GROUPS)


@pytest.mark.parametrize("groups", [GROUPS[:-1], GROUPS.astype(float), GROUPS[:, None]])
def test_an_array_that_has_no_groups_is_refused(groups, tmp_path):
    with h5py.File(tmp_path / "films.h5", "w") as file:
        file["images"], file["labels"], file["groups"] = np.zeros((541, 8, 8, 3), np.uint8), LABELS, groups
    with pytest.raises(DataError, match="groups"):
        open_dataset(tmp_path / "films.h5")


def test_groups_that_there_are_not_are_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(OptionError, match="groups 'film': expected one of prefix, folder"):
        TrainingOptions(groups="film")
    with pytest.raises(DataError, match="has no file names"):
        open_dataset("shapes", groups="prefix")
    folder = films(tmp_path / "films")
    with pytest.raises(DataError, match="not in the folder of a group"):
        open_dataset(folder, groups="folder")
    with pytest.raises(DataError, match="--groups folder"):
        open_dataset(films(tmp_path / "deeper", "{label}/{group}/{frame}.png"))
    one = tmp_path / "one"
    for label in ("cat", "dog"):
        for frame in range(3):
            save(one / label / f"film_{frame}.png", picture(frame))
    assert main(["train", "--data", str(one), "--groups", "prefix", "--out", str(tmp_path / "run")]) == DataError.exit_code
    assert "at least two groups" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "names, expected",
    [
        (("a/00001_00002.ppm", "b/00001_00017.ppm", "a/00002_1.ppm"), [0, 0, 1]),
        (("a/x-1.png", "a/x.2.png", "a/x 3.png", "a/x4.png"), [0, 0, 0, 0]),
        (("a/cat.png", "a/dog.png", "a/7.png", "b/8.png"), [1, 2, 0, 0]),
    ],
)
def test_a_prefix_is_the_name_up_to_the_number_at_its_end(names, expected):
    part = Part(np.zeros((len(names), 1, 1, 3), np.uint8), np.zeros(len(names), np.int64), names)
    assert with_groups(part, "prefix").groups.tolist() == expected
