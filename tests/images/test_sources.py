import logging

import pytest

from covary.images.sources import find_images


def touch(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def oct_names(patients):
    return [f"CNV/CNV-{patient}-{scan}.jpeg" for patient in range(patients) for scan in range(1, 4)]


def test_given_splits_are_kept(tmp_path):
    touch(tmp_path, "train/CNV/CNV-7-2.jpeg", "train/DME/DME-8-1.PNG", "test/CNV/CNV-9-1.tif", "train/a.jpg")
    table = find_images(tmp_path, 0.5, 1)
    assert table.to_dict("list") == {
        "file": ["test/CNV/CNV-9-1.tif", "train/CNV/CNV-7-2.jpeg", "train/DME/DME-8-1.PNG", "train/a.jpg"],
        "split": ["test", "train", "train", "train"],
        "class": ["CNV", "CNV", "DME", ""],
        "patient": ["9", "7", "8", "/a"],
    }


def test_patients_are_held_out_whole(tmp_path):
    touch(tmp_path, *oct_names(40))
    table = find_images(tmp_path, 0.2, 5)
    assert set(table["class"]) == {"CNV"}
    assert table.groupby("patient")["split"].nunique().eq(1).all()
    assert (table["split"] == "test").sum() == pytest.approx(0.2 * 120, abs=3)


def test_the_split_depends_on_names_and_seed_not_on_the_order_of_creation(tmp_path):
    names = oct_names(40)
    one = find_images(touch(tmp_path / "one", *names), 0.2, 5)
    two = find_images(touch(tmp_path / "two", *reversed(names)), 0.2, 5)
    other = find_images(tmp_path / "one", 0.2, 6)
    assert one.equals(two)
    assert not one.equals(other)


def test_names_without_a_patient_are_patients_of_their_own(tmp_path):
    touch(tmp_path, "0/001.png", "1/001.png", "1/002.png")
    table = find_images(tmp_path, 0.34, 1)
    assert table["patient"].tolist() == ["0/001", "1/001", "1/002"]
    assert table["split"].tolist().count("test") == 1


@pytest.mark.parametrize("test_fraction", [0.001, 0.5, 0.999])
def test_neither_split_is_ever_empty(tmp_path, test_fraction):
    touch(tmp_path, "a.png", "b.png", "c.png")
    assert set(find_images(tmp_path, test_fraction, 3)["split"]) == {"train", "test"}


def test_hidden_and_other_files_are_passed_over(tmp_path):
    touch(tmp_path, "a.png", "b.png", "._a.png", ".cache/c.png", "notes.csv")
    assert find_images(tmp_path, 0.5, 1)["file"].tolist() == ["a.png", "b.png"]


def test_images_outside_the_layout_are_said(tmp_path, caplog):
    touch(tmp_path, "train/A/a.png", "test/A/b.png", "val/A/c.png", "train/A/deep/d.png")
    with caplog.at_level(logging.WARNING, "covary"):
        table = find_images(tmp_path, 0.5, 1)
    assert table["file"].tolist() == ["test/A/b.png", "train/A/a.png"]
    assert "2 images" in caplog.text
    assert "train/A/deep/d.png" in caplog.text


def test_patients_in_both_splits_are_said(tmp_path, caplog):
    touch(tmp_path, "train/CNV/CNV-7-1.jpeg", "test/CNV/CNV-7-2.jpeg")
    with caplog.at_level(logging.WARNING, "covary"):
        find_images(tmp_path, 0.5, 1)
    assert "in both train/ and test/: 1, such as 7; their 1 training images are kept" in caplog.text


def test_shared_patients_are_left_out_of_training_alone(tmp_path):
    touch(tmp_path, "train/CNV/CNV-7-1.jpeg", "train/DME/DME-7-3.jpeg", "train/CNV/CNV-8-1.jpeg")
    touch(tmp_path, "test/CNV/CNV-7-2.jpeg")
    table = find_images(tmp_path, 0.5, 1, patient_disjoint=True)
    assert table["file"].tolist() == ["test/CNV/CNV-7-2.jpeg", "train/CNV/CNV-8-1.jpeg"]
    assert table.index.tolist() == [0, 1]


def test_bad_folders_are_named_with_the_config_key(tmp_path):
    with pytest.raises(ValueError, match=r"images\.folder: .*nowhere is not a folder"):
        find_images(tmp_path / "nowhere", 0.5, 1)
    with pytest.raises(ValueError, match=r"images\.folder: .* holds no image as"):
        find_images(tmp_path, 0.5, 1)
    touch(tmp_path / "deep", "OCT/train/CNV/CNV-1-1.jpeg")
    with pytest.raises(ValueError, match=r"1 lie elsewhere below it, such as OCT/train/CNV/CNV-1-1\.jpeg"):
        find_images(tmp_path / "deep", 0.5, 1)
    with pytest.raises(ValueError, match=r"no image in test/; give both splits or neither"):
        find_images(touch(tmp_path / "half", "train/CNV/CNV-1-1.jpeg"), 0.5, 1)
    with pytest.raises(ValueError, match="images of 1 patient"):
        find_images(touch(tmp_path / "one", "CNV/CNV-1-1.jpeg", "CNV/CNV-1-2.jpeg"), 0.5, 1)
