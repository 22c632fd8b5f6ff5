import pytest

from covary.errors import UserError
from covary.jobs.layout import LAYOUT, check_layout, stamp_layout


def test_a_new_folder_and_a_stamped_one_pass(tmp_path):
    results = tmp_path / "demo"
    check_layout(results)
    stamp_layout(results)
    (results / "vae").mkdir()
    check_layout(results)


def test_results_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "demo").touch()
    with pytest.raises(UserError, match=r"demo is a file, where a folder of results is expected"):
        check_layout(tmp_path / "demo")
    with pytest.raises(UserError, match=r"cannot be written to the folder .*demo/a: Not a directory$"):
        stamp_layout(tmp_path / "demo" / "a")


def test_a_folder_of_version_0_1_is_refused_in_one_line(tmp_path):
    (tmp_path / "vae").mkdir()
    with pytest.raises(UserError, match=r"was made by version 0\.1 of Covary, .*move or delete") as caught:
        check_layout(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_of_a_later_version_is_refused(tmp_path):
    (tmp_path / ".layout").write_text(f"{LAYOUT + 1}\n")
    with pytest.raises(UserError, match=f"layout {LAYOUT + 1},"):
        check_layout(tmp_path)
