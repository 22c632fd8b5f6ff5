"""Cells through the whole chain, with a spike-and-slab prior that carries the association."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

CONFIG = "config/tiny-cells.yaml"


@pytest.fixture
def cells(project):
    shutil.copy(Path(__file__).parent / "cells.yaml", project.folder / CONFIG)
    return project


def test_a_run_with_cells_trains_the_other_families_and_profiles_all(cells):
    planned = cells.planned(config=CONFIG)
    assert planned["train_image_vae"] == planned["train_family"] == 1
    assert planned["profile_cells"] == planned["plot_phenotypes"] == planned["write_report"] == 1


@pytest.mark.slow
def test_random_effects_are_open_in_every_subject_and_the_report_has_both_parts(cells):
    run = cells.snakemake(config=CONFIG)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    results = cells.folder / "results/tiny-cells"
    subjects = xr.open_datatree(results / "dataset.zarr", engine="zarr")["subjects"]
    z, chosen = subjects["z"].values, subjects["eta"].attrs["latents"]
    np.testing.assert_array_equal(z[:, chosen], subjects["eta"].values)
    assert (z[:, chosen] != 0).all()
    others = np.delete(z, chosen, axis=1)
    assert 0.02 < (others != 0).mean() < 0.25  # α is 0.1
    page = (results / "report.html").read_text()
    assert 'id="phenotypes"' in page and 'id="association_ledger_table"' in page
    families = pd.read_csv(results / "tables/vae_families.csv")
    assert set(families["family"].dropna()) == {"sparse_vae", "beta_vae"}
