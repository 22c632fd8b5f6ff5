import numpy as np
import pytest

from covary.jobs.resumable import Journal, RowWriter, identity

ROWS = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float16)


def write(folder, start, stop):
    writer = RowWriter(folder / "rows.npy", folder / "rows.part", (2, 3), np.float16, start)
    for row in ROWS[start:stop]:
        writer.append(row)
    return writer


def test_rows_come_back_in_order_and_the_name_comes_last(tmp_path):
    writer = write(tmp_path, 0, 7)
    assert not (tmp_path / "rows.npy").exists()
    writer.finish()
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy", mmap_mode="r", allow_pickle=False), ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]


def test_an_interrupted_array_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path):
    write(tmp_path, 0, 7).finish()
    expected = (tmp_path / "rows.npy").read_bytes()
    write(tmp_path, 0, 5).close()  # two more rows than were noted down
    write(tmp_path, 3, 7).finish()
    assert (tmp_path / "rows.npy").read_bytes() == expected


def test_rows_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows\.npy: rows are float16\[2, 3\], got float64\[2, 3\]"):
        write(tmp_path, 0, 0).append(np.zeros((2, 3)))


def test_a_journal_of_another_job_does_not_count(tmp_path):
    path = tmp_path / "journal.json"
    assert Journal(path, "a").read() == []
    Journal(path, "a").write([[True, "é"]])
    assert Journal(path, "a").read() == [[True, "é"]]
    assert Journal(path, "b").read() == []
    path.write_text("{")
    assert Journal(path, "a").read() == []


def test_identities_differ_with_every_part():
    assert len({identity(parts) for parts in (["a", "b"], ["ab"], ["a"], ["b", "a"])}) == 4
