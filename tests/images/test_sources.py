import logging
import os

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
        "status": ["ok"] * 4,
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


def test_hidden_files_and_texts_are_no_images(tmp_path):
    touch(tmp_path, "a.png", "b.png", "._a.png", ".cache/c.png", "notes.csv")
    assert find_images(tmp_path, 0.5, 1)["file"].tolist() == ["a.png", "b.png"]


def test_other_types_and_dangling_links_are_named_and_left_out(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("covary.images.medical.find_spec", lambda package: None)
    touch(tmp_path, "a.png", "b.png", "c.bmp", "d.webp", "e.dcm", "f")
    (tmp_path / "g.png").symlink_to(tmp_path / "nowhere.png")
    with caplog.at_level(logging.WARNING, "covary"):
        table = find_images(tmp_path, 0.5, 1).set_index("file")
    assert table.index[table["status"] == "ok"].tolist() == ["a.png", "b.png"]
    assert table["status"]["g.png"] == "a link to a file that does not exist"
    assert "3 files (.bmp, .webp, no suffix), such as c.bmp: not one of the supported types" in caplog.text
    assert ".jpeg, .jpg, .png, .tif, .tiff, .dcm, .nii, .nii.gz" in caplog.text
    assert "1 files (.dcm), such as e.dcm: needs the package pydicom, which is not installed" in caplog.text
    assert (table["split"][table["status"] != "ok"] == "").all()


@pytest.mark.parametrize(
    "names",
    [
        ["person1_bacteria_0.png", "person1_bacteria_1.png", "person2_virus_0.png"],
        ["NORMAL/IM-0001-0001.jpeg", "NORMAL/IM-0002-0001.jpeg"],
        ["patient_7/IM-0001-0001.jpeg", "patient_8/IM-0001-0001.jpeg", "patient_8/IM-0001-0002.jpeg"],
    ],
)
def test_one_warning_says_that_names_say_nothing_of_patients(tmp_path, caplog, names):
    with caplog.at_level(logging.WARNING, "covary"):
        table = find_images(touch(tmp_path, *names), 0.5, 1)
    assert table["patient"].is_unique
    (message,) = [record.message for record in caplog.records]
    assert f"which patient {len(names)} of {len(names)} images show" in message
    assert "images.pattern" in message and "images.table" in message


def test_a_pattern_tells_patients_classes_and_splits(tmp_path, caplog):
    touch(
        tmp_path, "x/person1_bacteria_0.png", "x/person1_virus_1.png", "y/z/person2_virus_0.png", "readme.png"
    )
    with caplog.at_level(logging.WARNING, "covary"):
        table = find_images(tmp_path, 0.5, 1, pattern=r".*(?P<patient>person\d+)_(?P<class>[a-z]+)_\d+\.png")
    assert table["patient"].tolist() == ["", "person1", "person1", "person2"]
    assert table["class"].tolist() == ["", "bacteria", "virus", "virus"]
    assert table["split"][1] == table["split"][2] != table["split"][3]
    assert table["status"][0] == "its path does not match images.pattern"
    assert "nothing says" not in caplog.text
    touch(tmp_path / "own", "a_train.png", "b_test.png", "c_val.png")
    table = find_images(tmp_path / "own", 0.5, 1, pattern=r"(?P<patient>.)_(?P<split>.*)\.png")
    assert table["split"].tolist() == ["train", "test", ""]
    assert table["status"][2] == "its split is 'val', neither train nor test"


def test_a_table_tells_patients_classes_and_splits(tmp_path):
    folder = touch(tmp_path / "images", "deep/er/a.png", "b.png", "c.png", "d.png")
    table = tmp_path / "table.csv"
    table.write_text("file,patient,split\nb.png,01,train\ndeep/er/a.png,02,test\nc.png,01,train\n")
    found = find_images(folder, 0.5, 1, table=table).set_index("file")
    assert found.loc[["b.png", "c.png", "deep/er/a.png"], "patient"].tolist() == ["01", "01", "02"]
    assert found.loc["deep/er/a.png", "split"] == "test"
    assert found.loc["d.png", "status"] == "not in images.table"
    for text, message in (
        ("name,patient\na.png,1\n", "must have the column file"),
        ("file\na.png\n", "must have the column file and any of patient"),
        ("file,patient\na.png,1\na.png,2\n", "lists a.png more than once"),
        ("", "cannot be read"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=rf"^images\.table: [^\n]*{message}[^\n]*$"):
            find_images(folder, 0.5, 1, table=table)


def test_images_outside_the_layout_are_said(tmp_path, caplog):
    touch(tmp_path, "train/A/a.png", "test/A/b.png", "val/A/c.png", "train/A/deep/d.png")
    with caplog.at_level(logging.WARNING, "covary"):
        table = find_images(tmp_path, 0.5, 1)
    assert table["file"][table["status"] == "ok"].tolist() == ["test/A/b.png", "train/A/a.png"]
    assert "2 files (.png), such as train/A/deep/d.png: not laid out as [train/ or test/]" in caplog.text


def test_a_name_that_is_not_utf_8_is_left_out(tmp_path, caplog):
    folder = touch(tmp_path, "a.png", "Ä.png", "c.png")
    (folder / os.fsdecode("Ö.png".encode("latin-1"))).touch()
    table = find_images(folder, 0.5, 1).set_index("file")
    assert table["status"].to_dict() == dict.fromkeys(["a.png", "Ä.png", "c.png"], "ok") | {
        "\ufffd.png": "its name is not UTF-8; give it another"
    }
    assert "such as \ufffd.png: its name is not UTF-8" in caplog.text


def test_a_folder_of_another_layout_is_told_once_and_how_to_describe_it(tmp_path):
    touch(tmp_path, "p1/visit1/left/a.png", "p2/visit1/left/a.png")
    with pytest.raises(ValueError) as error:
        find_images(tmp_path, 0.5, 1)
    (line,) = str(error.value).splitlines()
    assert line.count("[CLASS/]NAME") == 1 and "images.pattern or images.table" in line
    with pytest.raises(ValueError) as error:
        find_images(tmp_path, 0.5, 1, pattern=r"(?P<patient>q\d)/.*")
    assert "[CLASS/]NAME" not in str(error.value) and "does not match images.pattern" in str(error.value)


def test_patients_in_both_splits_are_said(tmp_path, caplog):
    touch(tmp_path, "train/CNV/CNV-7-1.jpeg", "test/CNV/CNV-7-2.jpeg")
    with caplog.at_level(logging.WARNING, "covary"):
        find_images(tmp_path, 0.5, 1)
    assert "in both train/ and test/: 1, such as 7; their 1 training images are kept" in caplog.text


def test_shared_patients_are_left_out_of_training_alone(tmp_path):
    touch(tmp_path, "train/CNV/CNV-7-1.jpeg", "train/DME/DME-7-3.jpeg", "train/CNV/CNV-8-1.jpeg")
    touch(tmp_path, "test/CNV/CNV-7-2.jpeg")
    table = find_images(tmp_path, 0.5, 1, patient_disjoint=True)
    fine = table["status"] == "ok"
    assert table["file"][fine].tolist() == ["test/CNV/CNV-7-2.jpeg", "train/CNV/CNV-8-1.jpeg"]
    assert set(table["status"][~fine]) == {"its patient is also in test/"}


def test_bad_folders_are_named_with_the_config_key(tmp_path):
    with pytest.raises(ValueError, match=r"images\.folder: .*nowhere is not a folder"):
        find_images(tmp_path / "nowhere", 0.5, 1)
    with pytest.raises(ValueError, match=r"images\.folder: .* holds no image that can be used"):
        find_images(tmp_path, 0.5, 1)
    touch(tmp_path / "deep", "OCT/train/CNV/CNV-1-1.jpeg")
    with pytest.raises(ValueError, match=r"1 files are left out, such as OCT/train/CNV/CNV-1-1\.jpeg"):
        find_images(tmp_path / "deep", 0.5, 1)
    with pytest.raises(ValueError, match=r"no image in test/; give both splits or neither"):
        find_images(touch(tmp_path / "half", "train/CNV/CNV-1-1.jpeg"), 0.5, 1)
    with pytest.raises(ValueError, match="images of 1 patient"):
        find_images(touch(tmp_path / "one", "CNV/CNV-1-1.jpeg", "CNV/CNV-1-2.jpeg"), 0.5, 1)
