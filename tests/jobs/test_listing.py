import os
import shutil

from covary.jobs.listing import digest_of_files, listed_files


def test_a_folder_is_told_by_names_sizes_and_times_of_its_files(tmp_path):
    folder = tmp_path / "mine"
    (folder / "A").mkdir(parents=True)
    for name in ("A/1.png", "2.tif", "notes.txt", ".DS_Store"):
        (folder / name).write_bytes(b"1234")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    assert listed_files(folder) == ["2.tif", "A/1.png", "gone.png"]
    first = digest_of_files(folder)
    assert digest_of_files(folder) == first

    shutil.copytree(folder, tmp_path / "moved", symlinks=True)
    assert digest_of_files(tmp_path / "moved") == first

    (folder / "notes.txt").write_text("described again")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "3.png").write_bytes(b"5")
    assert digest_of_files(folder) == first

    seen = {first}
    (folder / "3.png").write_bytes(b"1234")
    seen.add(digest_of_files(folder))  # added
    (folder / "3.png").rename(folder / "4.png")
    seen.add(digest_of_files(folder))  # renamed
    (folder / "4.png").write_bytes(b"12345")
    seen.add(digest_of_files(folder))  # of another size
    os.utime(folder / "2.tif", (1, 1))
    seen.add(digest_of_files(folder))  # of another time
    (folder / "A" / "1.png").unlink()
    seen.add(digest_of_files(folder))  # removed
    assert len(seen) == 6


def test_a_folder_that_does_not_exist_has_a_digest_too(tmp_path):
    assert listed_files(tmp_path / "nowhere") == []
    assert digest_of_files(tmp_path / "nowhere") == digest_of_files(tmp_path)
