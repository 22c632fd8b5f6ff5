"""Sites through the whole chain."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

CONFIG = "config/tiny-sites.yaml"
SETTINGS = Path(__file__).parent / "sites.yaml"


@pytest.fixture
def with_sites(project):
    shutil.copy(SETTINGS, project.folder / CONFIG)
    return project


def test_a_run_with_sites_trains_every_method_and_reports_them(with_sites):
    planned = with_sites.planned(config=CONFIG)
    assert planned["train_site_method"] == 3
    assert planned["draw_at_sites"] == planned["measure_sites"] == planned["plot_sites"] == 1


@pytest.mark.slow
def test_sites_are_in_dataset_tables_and_report_and_another_method_reruns_only_itself(with_sites):
    run = with_sites.snakemake(config=CONFIG)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    results = with_sites.folder / "results/tiny-sites"
    tree = xr.open_datatree(results / "dataset.zarr", engine="zarr")
    subjects = tree["subjects"]
    site, shift = subjects["site"].values, subjects["site_case_mix"].values
    assert len(site) == 160 and set(site[128:]) == {4, 5}
    difference = tree["longitudinal/noise_0/eta_hat"].values - subjects["eta"].values
    np.testing.assert_allclose(difference, shift[site], atol=1e-5)
    scores = pd.read_csv(results / "tables/sites.csv")
    assert set(scores["method"]) == {"plain", "armed", "armed_without_adversary_ebe_mse"}
    assert set(scores["part"]) == {"seen", "unseen"}
    assert 'id="sites"' in (results / "report.html").read_text()

    more = yaml.safe_load(SETTINGS.read_text())
    more["sites"]["methods"].append("site_input")
    (with_sites.folder / "config/more.yaml").write_text(yaml.safe_dump(more))
    planned = with_sites.planned(config="config/more.yaml")
    assert planned.pop("train_site_method") == 1
    assert planned.keys() == {
        *("measure_sites", "plot_sites", "plot_workflow", "describe_dataset"),  # two know all settings
        *("write_report", "write_provenance"),
    }
