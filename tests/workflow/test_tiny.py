"""The whole chain on real files, in a temporary folder, and what reruns after which change."""

import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from checkout import Project

from covary.nlme.catalogue import SHIPPED
from covary.store import read_marker

TABLES = Path(__file__).parent / "tables"


def test_the_dataset_opens_and_is_complete(finished):
    tree = xr.open_datatree(finished.results / "dataset.zarr", engine="zarr", consolidated=True)
    assert tree["images/image"].shape == (128, 1, 32, 32)
    assert np.array_equal(tree["subjects/eta"], tree["subjects/z"][:, tree["subjects/eta"].attrs["latents"]])
    assert np.array_equal(tree["longitudinal/noise_0/eta_hat"], tree["subjects/eta"])
    assert not np.allclose(tree["longitudinal/noise_9/eta_hat"], tree["subjects/eta"])
    assert tree["estimates/noise_9/eta_approx"].shape == (128, 3)
    for objective in ("ebe_mse", "marginal_likelihood"):
        predicted = tree[f"predictions/noise_9/resnet18_{objective}"]
        assert predicted["eta_pred"].shape == (32, 3) and predicted["covariance"].shape == (3, 3)
        assert tree[f"predictions/noise_9/oracle_{objective}/eta_pred_read_resnet18"].shape == (32, 3)
    assert tree["predictions/noise_free/resnet18/eta_read"].shape == (32, 3)
    for node in tree.subtree:
        for name, variable in node.data_vars.items():
            assert {"long_name", "units"} <= variable.attrs.keys(), f"{node.path}/{name}"
            assert np.isfinite(variable.values).all(), f"{node.path}/{name}"
    manifest = read_marker(finished.results / "manifest.json")
    assert len(manifest["groups"]) == 4 + 6 * 2


def test_the_tables_have_the_papers_columns(finished):
    effects = pd.read_csv(finished.results / "tables" / "random_effects.csv")
    assert list(effects.columns) == [
        "noise_variance",
        "predictor",
        "term_1",
        "term_2",
        "random_effect",
        "mse",
        "mse_low",
        "mse_high",
        "r2",
        "r2_low",
        "r2_high",
        "theoretical_max",
        "fraction_of_max",
    ]
    assert len(effects) == 2 * 5 * 4
    nll = pd.read_csv(finished.results / "tables" / "longitudinal_nll.csv")
    assert list(nll.columns) == [
        *("noise_variance", "predictor", "population", "nll", "nll_low", "nll_high"),
        *("gain", "gain_low", "gain_high"),
    ]
    assert list(nll["population"][:6]) == ["true", *["predicted"] * 2, "approximate", "average", "random"]
    true = nll.query("noise_variance == 0 and population == 'true'")["nll"].item()
    assert true == pytest.approx(-67.1, abs=4 * np.sqrt(21 / 2 / 32))


@pytest.fixture(scope="module")
def stored_tables(finished):
    """The stored tables of the processor that this one rounds like: those of which most agree."""
    return max(TABLES.iterdir(), key=lambda folder: sum(map(partial(agrees, finished), folder.iterdir())))


def agrees(finished, stored):
    try:
        assert_as_stored(pd.read_csv(finished.results / "tables" / stored.name), pd.read_csv(stored))
    except AssertionError:
        return False
    return True


def assert_as_stored(table, expected):
    """A gain is a difference of large numbers, so it is as exact as they are."""
    gains = [name for name in expected if name.startswith("gain")]
    pd.testing.assert_frame_equal(
        table.drop(columns=gains), expected.drop(columns=gains), rtol=5e-3, atol=5e-3
    )
    if gains:
        of_nll = 2e-3 * expected["nll"].abs().max()
        pd.testing.assert_frame_equal(table[gains], expected[gains], rtol=0, atol=of_nll)


@pytest.mark.parametrize("name", sorted(path.name for path in (TABLES / "intel").iterdir()))
def test_the_tables_are_those_that_are_stored(finished, stored_tables, name):
    """Other processors round otherwise, and trainings amplify that; on one processor they are equal."""
    assert_as_stored(pd.read_csv(finished.results / "tables" / name), pd.read_csv(stored_tables / name))


def test_snakemakes_own_executor_writes_the_same_tables(finished):
    tables = sorted((finished.results / "tables").glob("*.csv"))
    before = [table.read_bytes() for table in tables]
    run = finished.snakemake("--forcerun", "evaluate", "--until", "evaluate", executor="local")
    assert run.returncode == 0, run.stdout + run.stderr
    assert [table.read_bytes() for table in tables] == before


def test_the_ledger_adds_up(finished):
    ledger = pd.read_csv(finished.results / "tables" / "association_ledger.csv")
    rows = ledger.groupby(["noise_variance", "predictor", "random_effect"])
    assert len(rows) == 2 * 2 * 4
    np.testing.assert_allclose(rows["value"].sum(), rows["explainable"].first(), atol=1e-9)


def test_learning_curves_have_four_sizes(finished):
    curve = pd.read_csv(finished.results / "tables" / "learning_curve.csv")
    assert curve.query("kind == 'measured'")["subjects"].tolist() == [4, 8, 16, 64] * 2
    power = pd.read_csv(finished.results / "tables" / "power.csv")
    assert (power["ideal"] >= 4).all()


def test_the_report_is_one_file_that_needs_no_network(finished):
    html = (finished.results / "report.html").read_text()
    assert "<html" in html and 'src="http' not in html and "<link" not in html


def test_metadata_are_the_same_utf_8_where_the_locale_is_not(finished):
    """Without UTF-8 mode and without the change of the locale that Python makes, C means ASCII."""
    files = [finished.results / name for name in ("croissant.json", "README.md")]
    before = [file.read_bytes() for file in files]
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    options = ("--forcerun", "describe_dataset", "--until", "describe_dataset")
    run = finished.snakemake(*options, environment=environment, executor="local")
    assert run.returncode == 0, run.stdout + run.stderr
    assert [file.read_bytes() for file in files] == before
    assert all("σ²" in text.decode("utf-8") for text in before)


def test_a_second_run_has_nothing_to_do_even_if_files_were_touched(finished):
    for path in (finished.folder / "workflow").rglob("*.*"):
        os.utime(path)
    assert finished.planned() == {}


def test_a_predictor_setting_reruns_predictors_and_what_follows(finished):
    tiny = yaml.safe_load((finished.folder / "config/tiny.yaml").read_text())["predictors"]
    config = finished.edited("predictor.yaml", predictors=[p | {"learning_rate": 0.002} for p in tiny])
    planned = finished.planned(config=config)
    assert planned.pop("train_predictor") == 4
    assert planned.pop("train_reader") == 1
    assert planned.pop("train_oracle") == planned.pop("measure_learning_curve") == 2
    assert planned.keys() == AFTER_PREDICTION


def test_a_new_noise_level_runs_only_its_own_jobs(finished):
    config = finished.edited("level.yaml", association={"noise_variances": [0, 9, 2.5]})
    planned = finished.planned(config=config)
    for rule in (
        "simulate_longitudinal",
        "fit_population",
        "estimate_random_effects",
        "draw_posteriors",
        "train_oracle",
        "measure_learning_curve",
        "plot_population",
    ):
        assert planned.pop(rule) == 1
    assert planned.pop("train_predictor") == 2
    assert planned.keys() == AFTER_PREDICTION


def test_more_test_subjects_draw_their_own_images_and_nothing_is_trained_again(finished, tmp_path):
    project = Project(tmp_path)
    project.take_over(finished)
    first = project.results / "dataset.zarr/images/image/c/0/0/0/0"
    before = first.stat().st_mtime_ns
    config = project.edited("more.yaml", subjects={"train": 64, "validation": 32, "test": 96})
    images, predictions = (f"results/tiny/markers/{name}.json" for name in (
        "images", "predictions/noise_0/resnet18_ebe_mse"))  # fmt: skip
    assert project.planned(images, config=config) == {"generate_images": 1, "gather_images": 1}
    run = project.snakemake(predictions, config=config)
    assert run.returncode == 0, run.stderr
    assert first.stat().st_mtime_ns == before
    known = read_marker(finished.results / "markers/images.json")["shards"]
    assert read_marker(project.folder / images)["shards"][:2] == known
    log = (project.results / "logs/train_predictor/noise_0_resnet18_ebe_mse.log").read_text()
    assert "the same training has ended before" in log
    for kept in ("population/noise_0.json", "predictors/noise_0/resnet18_ebe_mse/weights.safetensors"):
        assert (project.results / kept).read_bytes() == (finished.results / kept).read_bytes()
    assert xr.open_zarr(
        project.results / "dataset.zarr", group="predictions/noise_0/resnet18_ebe_mse", consolidated=False
    ).sizes["subject"] == 96  # fmt: skip


def test_sampling_settings_do_not_retrain_the_generator(finished):
    planned = finished.planned(config=finished.edited("sampling.yaml", sampling={"steps": 3}))
    assert planned["generate_images"] == 2
    assert not {"train_generator", "train_image_vae", "simulate_longitudinal"} & planned.keys()


# plot_workflow also writes down the configuration of the run.
AFTER_PREDICTION = {
    *("finalise_dataset", "describe_dataset", "write_provenance"),
    *("evaluate", "plot_association", "plot_evaluation", "plot_training", "plot_workflow", "write_report"),
    *("measure_visits_worth", "plot_visits_worth"),
}


@pytest.mark.parametrize(
    ("name", "own_rules"),
    [
        ("workstation", {"draw_phantoms"}),
        ("visits", {"draw_phantoms"}),
        ("sites", {"draw_phantoms"}),
    ],
)
def test_shipped_experiments_can_be_planned(project, name, own_rules):
    planned = project.planned(config=f"config/{name}.yaml")
    assert planned.keys() & {"draw_phantoms", "cache_latents"} == own_rules
    assert {
        "prepare_images",
        "train_image_vae",
        "train_generator",
        "measure_generator",
        "write_report",
    } <= planned.keys()
    assert not {"fit_ladder", "compare_ladder", "plot_ladder"} & planned.keys()  # no model was asked for


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"vae": {"epoch": 3}}, "config: vae.epoch: unknown key; did you mean `epochs`?"),
        (
            {"association": {"noise_variances": [0, 1, -9]}},
            "config: association.noise_variances[2]: must be ≥ 0, got -9",
        ),
        (
            {"longitudinal": {"model": "saturable_eliminaton"}},
            f"config: longitudinal.model: must be one of {', '.join(SHIPPED)} or my_model.py:MyModel, "
            "got 'saturable_eliminaton'",
        ),
    ],
)
def test_a_faulty_config_stops_the_run_before_any_job(project, sections, message):
    assert project.refusal(project.edited("faulty.yaml", **sections)) == message
    assert not (project.folder / "results").exists()


def test_results_of_version_0_1_stop_the_run_and_stay_as_they_are(project):
    (project.results / "vae").mkdir(parents=True)
    (project.results / "vae" / "weights.safetensors").write_bytes(b"of version 0.1")
    before = sorted(project.results.rglob("*"))
    assert "results/tiny was made by version 0.1 of Covary" in project.refusal()
    assert sorted(project.results.rglob("*")) == before


def test_a_gate_stops_the_run_in_one_line_and_leaves_no_table(finished, project):
    project.take_over(finished)
    table = "results/tiny/gates/vae.csv"
    assert (project.folder / table).is_file()
    run = project.snakemake(table, config=project.edited("gate.yaml", gates={"vae": 0.999}), executor="local")
    assert run.returncode != 0
    said = r"error: gates\.vae: a share of 0\.999 of each random .* \(latent \d\).* `gates: \{vae: null\}`"
    assert len(re.findall(said, run.stdout + run.stderr)) == 1, run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert not (project.folder / table).exists()


def test_a_setting_on_the_command_line_has_its_type(project):
    settings = ("vae={epochs: 13, horizontal_flip: false}", "seed=7", "images={channels: grey, size_px: 32}")
    plan = project.planned("results/tiny-seed7/vae/weights.safetensors", "--config", *settings)
    assert plan["train_image_vae"] == 1


def test_a_seed_on_the_command_line_has_results_of_its_own(finished):
    planned = finished.planned("results/tiny-seed7/report.html", "--config", "seed=7")
    assert planned["draw_phantoms"] == planned["train_image_vae"] == 1
    settings = ("seed=7", "experiment=tiny")  # whoever names the experiment means it
    assert finished.planned("results/tiny/report.html", "--config", *settings)["train_image_vae"] == 1


def test_an_empty_image_folder_is_named(project):
    (project.folder / "scans").mkdir()
    config = project.edited("empty.yaml", images={"source": "folder", "folder": "scans", "phantom": ...})
    run = project.snakemake("results/tiny/images/index.parquet", config=config, executor="local")
    assert run.returncode != 0
    assert "scans" in run.stderr and "images.folder" in run.stderr
    assert not list((project.folder / "results").rglob("*.npy"))


def test_too_many_unreadable_images_stop_the_run(finished, project):
    source = finished.folder / "resources" / "phantom" / "tiny"
    shutil.copytree(source, project.folder / "scans", ignore=shutil.ignore_patterns("*.parquet"))
    damaged = sorted((project.folder / "scans").rglob("*.jpeg"))[0]
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    settings = {"source": "folder", "folder": "scans", "phantom": ..., "size_px": 32}
    target = "results/tiny/images/index.parquet"
    strict = project.edited("strict.yaml", images=settings | {"max_unreadable_fraction": 0.0})
    run = project.snakemake(target, config=strict, executor="local")
    assert run.returncode != 0
    assert not (project.folder / target).exists()
    lenient = project.edited("lenient.yaml", images=settings | {"max_unreadable_fraction": 0.1})
    run = project.snakemake(target, config=lenient, executor="local")
    assert run.returncode == 0
    assert damaged.name in (project.folder / "results/tiny/logs/prepare_images.log").read_text()
