"""Models of different kind beside each other, through the whole chain."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

CONFIG = "config/tiny-deep.yaml"


@pytest.fixture
def deep(project):
    shutil.copy(Path(__file__).parent / "deep.yaml", project.folder / CONFIG)
    return project


def test_a_run_with_a_ladder_fits_each_model(deep):
    planned = deep.planned(config=CONFIG)
    assert planned["fit_ladder"] == planned["estimate_by_model"] == 2
    assert planned["compare_ladder"] == planned["compare_estimators"] == planned["plot_ladder"] == 1


@pytest.mark.slow
def test_the_report_compares_models_and_the_association_under_each(deep):
    run = deep.snakemake(config=CONFIG)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    results = deep.folder / "results/tiny-deep"
    table = pd.read_csv(results / "tables/deep_ladder.csv")
    assert table["model"].tolist() == ["true_parameters", "right_structure", "known_absorption"]
    assert table["random_effects"].tolist() == [3, 3, 2]
    association = pd.read_csv(results / "tables/deep_association.csv")
    assert len(association) == 2 * 4 and (association["r2"] <= 1).all()
    page = (results / "report.html").read_text()
    assert 'id="ladder"' in page and 'id="deep_association_table"' in page
    assert deep.planned(config=CONFIG) == {}
