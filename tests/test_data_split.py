"""Files are set aside for testing and validation each by its own name."""

import numpy as np
import pytest

from minisqx.data.dataset import Part
from minisqx.data.split import has_files, set_files_aside
from minisqx.training.data import open_training_data
from minisqx.training.options import TrainingOptions
from tests.image_folders import picture, save

COUNTS = (700, 300, 40, 12, 3, 2, 1)


def part(counts=COUNTS, place="{label}/IMG_{number:04}.jpg") -> Part:
    names = [place.format(label=label, number=number) for label, count in enumerate(counts) for number in range(count)]
    labels = np.repeat(np.arange(len(counts)), counts)
    return Part(np.zeros((len(names), 1, 1, 3), np.uint8), labels, tuple(names))


def names_aside(of: Part, share=1 / 6, groups=None, seed=0, at_least_one=True) -> set[str]:
    kept, aside = set_files_aside(of, share, groups, "test", seed, at_least_one)
    assert sorted([*kept, *aside]) == list(range(len(of))) and of.names is not None
    return {of.names[at] for at in aside}


@pytest.mark.parametrize("seed", range(3))
def test_another_photograph_moves_no_other_into_another_part(seed):
    counts = (70, 30, 40, 20)
    before = names_aside(part(counts), seed=seed)
    for label in range(4):
        more = part(tuple(count + (own == label) for own, count in enumerate(counts)))
        assert names_aside(more, seed=seed) & set(part(counts).names) == before


def test_each_class_gives_about_its_share_at_least_one_and_never_its_only_one():
    aside = np.array([int(name.split("/")[0]) for name in names_aside(part())])
    counts = np.bincount(aside, minlength=len(COUNTS))
    # Four standard deviations of a binomial count.
    assert abs(counts[0] - 700 / 6) < 40 and abs(counts[1] - 50) < 26
    assert (counts[2:6] >= 1).all() and (counts[2:6] < COUNTS[2:6]).all() and counts[6] == 0
    few = names_aside(part(), share=0.001, at_least_one=False)
    assert not any(name.startswith(("3/", "4/", "5/", "6/")) for name in few)


def test_other_seeds_and_the_names_decide_and_nothing_else():
    assert names_aside(part()) == names_aside(part()) != names_aside(part(), seed=1)
    shuffled = part().of(np.random.default_rng(0).permutation(sum(COUNTS)))
    assert names_aside(shuffled) == names_aside(part())


def test_a_group_is_set_aside_whole_and_its_classes_keep_another():
    films = part((60, 60), "{label}/film{number:04}.jpg")
    films = Part(films.images, films.labels, tuple(f"{name[:-6]}_{name[-6:]}" for name in films.names))  # 100 frames a film
    few = Part(films.images, films.labels, tuple(f"{at % 2}/film{at // 10}_{at}.jpg" for at in range(120)))
    aside = names_aside(few, groups="prefix")
    groups = {name.split("/")[1].split("_")[0] for name in aside}
    assert 0 < len(groups) < 12 and len(aside) == 10 * len(groups)
    assert not has_files(Part(films.images, films.labels, tuple(f"images[{at}]" for at in range(120))))


def test_test_and_validation_images_of_a_folder_stay_when_one_is_added(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))
    for label, name in enumerate(("cat", "dog")):
        for number in range(30):
            save(tmp_path / "photos" / name / f"{number:03}.png", picture(100 * label + number))
    options = TrainingOptions(data=str(tmp_path / "photos"), validation=0.2)
    before = open_training_data(options, lambda line: None)
    save(tmp_path / "photos" / "cat" / "000a.png", picture(999))
    after = open_training_data(options, lambda line: None)
    for name in ("train", "validation", "test"):
        assert set(getattr(after, name).names) - {"cat/000a.png"} == set(getattr(before, name).names)
    assert after.digest != before.digest
    # A run from before this split goes on with the split that it had.
    older = TrainingOptions.from_dict({key: value for key, value in options.to_dict().items() if key != "split"})
    drawn = open_training_data(older, lambda line: None)
    assert older.split == "drawn" and len(drawn.test) == 10 and drawn.test.names != after.test.names
