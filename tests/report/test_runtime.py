import pytest

from covary.report import read_benchmarks

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def test_jobs_of_a_rule_are_added_up(tmp_path):
    (tmp_path / "predict").mkdir()
    (tmp_path / "predict" / "noise_0.tsv").write_text(
        HEADER + "10.5\t0:00:10\t300.0\t1\t1\t1\t0\t0\t90.0\t9.0\n"
    )
    (tmp_path / "predict" / "noise_1.tsv").write_text(
        HEADER + "20.0\t0:00:20\t500.0\t1\t1\t1\t0\t0\t90.0\t18.0\n"
    )
    (tmp_path / "encode_images.tsv").write_text(HEADER + "0.2\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA\n")
    (tmp_path / "create_dataset.tsv").write_text(HEADER + "0.1\t0:00:00\t-\t-\t-\t-\t-\t-\t-\t0\n")
    table = read_benchmarks(tmp_path).set_index("stage")
    assert list(table.index) == ["predict", "encode_images", "create_dataset"]
    assert table.loc["predict"].to_dict() == {
        "jobs": 2, "total_s": 30.5, "longest_s": 20.0, "cpu_s": 27.0, "max_rss_mb": 500.0,
    }  # fmt: skip
    assert table.loc["encode_images", ["cpu_s", "max_rss_mb"]].isna().all()
    assert table.loc["create_dataset", "cpu_s"] == 0


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: expected benchmark files"):
        read_benchmarks(tmp_path)
    (tmp_path / "x.tsv").write_text("s\tmax_rss\n1\t2\n")
    with pytest.raises(
        ValueError, match=r"x\.tsv: expected a Snakemake benchmark file, column cpu_time is missing"
    ):
        read_benchmarks(tmp_path)
