"""What lies in an image folder is read, named in a line, or refused with the ways in which it can be understood."""

import shutil

import numpy as np
import pytest

import minisqx
import minisqx.kernels.counters  # compiled code is kept in the cache folder of the first import, not of a test
from minisqx.data import image_folder, open_dataset
from minisqx.errors import DataError
from tests.image_folders import make_folder, picture, save


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINISQX_CACHE", str(tmp_path / "cache"))


def read(folder, **options):
    """The data set and what was said."""
    lines = []
    return open_dataset(folder, say=lines.append, **options), lines


def refusal(folder, **options):
    with pytest.raises(DataError) as caught:
        read(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_a_validation_folder_is_the_validation_part_now_and_from_the_cache(tmp_path, name):
    folder = make_folder(tmp_path / "photos")
    for number, label in enumerate(("dog", "cat", "dog")):
        save(folder / name / label / f"{number}.png", picture(2000 + number))
    for _ in range(2):
        dataset, lines = read(folder)
        assert dataset.validation.labels.tolist() == [0, 1, 1]
        for image, seed in zip(dataset.validation.images, (2001, 2000, 2002), strict=True):
            np.testing.assert_array_equal(image, picture(seed))
        assert len(dataset.train.labels) == 6 and len(dataset.test.labels) == 4
        assert "6 training, 3 validation and 4 test images" in lines[-1]


def test_bad_images_of_the_validation_part_are_skipped_with_their_labels(tmp_path):
    folder = make_folder(tmp_path / "photos")
    for number, label in enumerate(("cat", "dog", "dog")):
        save(folder / "val" / label / f"{number}.png", picture(2000 + number))
    (folder / "val" / "dog" / "1.png").write_text("no image")
    dataset, _ = read(folder, skip_bad_images=True)
    assert dataset.validation.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(dataset.validation.images, [picture(2000), picture(2002)])


def test_parts_may_be_written_in_any_case(tmp_path):
    folder = make_folder(tmp_path / "photos")
    plain, _ = read(folder)
    for part in ("train", "test"):
        shutil.move(folder / part, folder / part.upper())
    other, _ = read(folder)
    np.testing.assert_array_equal(plain.test.images, other.test.images)


def test_two_folders_for_one_part_are_refused_by_their_names(tmp_path):
    folder = make_folder(tmp_path / "photos")
    save(folder / "val" / "cat" / "0.png", picture(1))
    save(folder / "valid" / "cat" / "0.png", picture(2))
    assert "'val' and 'valid'" in refusal(folder)


def test_what_is_not_read_is_named_in_one_line_at_every_start(tmp_path):
    folder = make_folder(tmp_path / "photos")
    (folder / "README.txt").write_text("about")
    save(folder / "loose.png", picture(1))
    (folder / "labels").mkdir()
    (folder / "labels" / "a.csv").write_text("a")
    (folder / "extra" / "notes").mkdir(parents=True)
    (folder / "extra" / "notes" / "page").write_text("P1 is not always a picture")
    (folder / "extra" / "back").symlink_to(folder / "extra")
    for _ in range(2):
        _, lines = read(folder)
        assert sum("not read: 'README.txt', 'extra', 'labels', 'loose.png';" in line for line in lines) == 1
    assert not any("not read" in line for line in read(make_folder(tmp_path / "tidy"))[1])


def test_classes_beside_train_are_refused_with_both_readings(tmp_path):
    folder = make_folder(tmp_path / "photos")
    save(folder / "eel" / "0.png", picture(1))
    line = refusal(folder)
    assert "'eel'" in line and "if these are classes, move them into 'train'" in line and "do not belong to the data" in line


@pytest.mark.parametrize("name", ["0.avif", "0.JFIF", "0.jpe", "0.heic", "without-suffix", "0.data", "more/0.png", "more/deep/0"])
def test_images_of_any_name_and_depth_beside_train_are_refused_too(tmp_path, name):
    folder = make_folder(tmp_path / "photos")
    save(tmp_path / "eel.png", picture(1))
    (folder / "eel" / name).parent.mkdir(parents=True)
    shutil.move(tmp_path / "eel.png", folder / "eel" / name)
    line = refusal(folder)
    assert "'eel'" in line and "if these are classes, move them into 'train'" in line and "do not belong to the data" in line


@pytest.mark.parametrize("name", ["test", "Val", "train"])
def test_a_flat_folder_with_a_parts_name_among_classes_is_refused_both_ways(tmp_path, name):
    for label in ("flight", "sea", name):
        for number in range(6):
            save(tmp_path / "trials" / label / f"{number}.png", picture(number))
    line = refusal(tmp_path / "trials")
    assert (
        f"'{name}' may be a part or a class: if a part" in line
        and f"if a class, put all class folders into one called 'train', such as train/{name}/<image>" in line
    )


def test_classes_of_any_name_are_read_inside_the_parts(tmp_path):
    dataset, lines = read(make_folder(tmp_path / "trials", classes=("test", "train", "val")))
    assert dataset.classes == ("test", "train", "val") and len(lines) == 2


@pytest.mark.parametrize("others", [(), ("masks",)])
def test_images_in_train_and_test_without_class_folders_are_refused(tmp_path, others):
    for part in ("train", "test", *others):
        save(tmp_path / "photos" / part / "0.png", picture(1))
        save(tmp_path / "photos" / part / "1.png", picture(2))
    line = refusal(tmp_path / "photos")
    assert "'test', 'train' may be parts or classes" in line
    assert "if parts" in line and "if classes" in line


def test_a_part_without_class_folders_beside_one_with_them_is_named(tmp_path):
    folder = make_folder(tmp_path / "photos", test=0)
    save(folder / "test" / "0.png", picture(1))
    assert "is not in a class folder" in refusal(folder)


def test_a_folder_beside_the_parts_that_may_not_be_read_is_only_named(tmp_path, monkeypatch):
    folder, entries = make_folder(tmp_path / "photos"), image_folder.entries
    (folder / "lost+found").mkdir()

    def forbidden(path):
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return entries(path)

    monkeypatch.setattr(image_folder, "entries", forbidden)
    assert any("not read: 'lost+found'" in line for line in read(folder)[1])


def test_classes_of_two_parts_are_the_same_without_case_and_unicode_form(tmp_path):
    folder = make_folder(tmp_path / "photos", classes=("Cherry", "caf\u00e9"))
    plain, _ = read(folder)
    shutil.move(folder / "test" / "Cherry", folder / "test" / "cherry")
    shutil.move(folder / "test" / "caf\u00e9", folder / "test" / "cafe\u0301")
    dataset, lines = read(folder)
    assert dataset.classes == plain.classes
    for label in (0, 1):
        np.testing.assert_array_equal(
            np.sort(dataset.test.images[dataset.test.labels == label], axis=0),
            np.sort(plain.test.images[plain.test.labels == label], axis=0),
        )
    assert sum("'cherry' as 'Cherry'" in line for line in lines) == 1


def test_two_classes_of_the_test_part_that_are_alike_are_not_guessed(tmp_path):
    folder = make_folder(tmp_path / "photos", classes=("Cherry", "dog"))
    save(folder / "test" / "cherry" / "0.png", picture(1))
    assert "cherry" in refusal(folder)


def test_of_three_classes_of_three_images_each_gives_one_to_the_test_part(tmp_path):
    folder = make_folder(tmp_path / "few", classes=("ant", "bee", "cat"), test=0) / "train"
    dataset, lines = read(folder)
    assert all(set(part.labels) == {0, 1, 2} for part in (dataset.train, dataset.test))
    assert any("a sixth of each class, each by its file's name" in line for line in lines)
    drawn, lines = read(folder, split="drawn")
    assert np.bincount(drawn.test.labels).tolist() == [1, 1, 1] and np.bincount(drawn.train.labels).tolist() == [2, 2, 2]
    assert any("a sixth of each class and at least one image" in line for line in lines)


def test_the_only_image_of_a_class_is_trained_on_and_the_line_says_so(tmp_path):
    folder = make_folder(tmp_path / "few", classes=("ant", "bee"), test=0) / "train"
    save(folder / "cow" / "0.png", picture(5))
    dataset, lines = read(folder)
    assert set(dataset.train.labels) == {0, 1, 2} and set(dataset.test.labels) == {0, 1}
    assert any("'cow'" in line for line in lines)
    for name in ("bee", "ant"):
        shutil.rmtree(folder / name)
    save(folder / "dog" / "0.png", picture(6))
    assert "at least two images of a class" in refusal(folder)


def test_large_images_of_one_size_are_said_to_be_large_and_how_to_shrink_them(tmp_path):
    folder = make_folder(tmp_path / "frames", train=2, test=1, size=(108, 192))
    for _ in range(2):
        _, lines = read(folder)
        [line] = (line for line in lines if "--image-size" in line)
        assert "192 x 108 pixels (width x height)" in line and "MB of memory" in line
    for lines in (read(folder, image_size=(108, 192))[1], read(make_folder(tmp_path / "small"))[1]):
        assert not any("--image-size" in line for line in lines)


JOINED = ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0915\u094d\u200d\u0937", "\U0001f469\u200d\U0001f680")


def test_words_of_persian_and_indic_scripts_and_emoji_are_names_of_classes(tmp_path):
    folder = make_folder(tmp_path / "photos", classes=JOINED)
    for _ in range(2):
        assert read(folder)[0].classes == tuple(sorted(JOINED))
    network = minisqx.ShallowSqueezeNext(width=0.125, num_classes=3)
    network.classes = JOINED
    network.save(tmp_path / "net.h5")
    assert minisqx.load(tmp_path / "net.h5").classes == JOINED


@pytest.mark.parametrize("name", ["\u200d", "cat\u200e", "cat\u202e", "cat\n", "cat\x1b[2J", "cat\u2028"])
def test_names_of_joiners_alone_and_with_control_characters_are_refused(tmp_path, name):
    assert "can't be the name of a class" in refusal(make_folder(tmp_path / "photos", classes=("dog", name)))
