"""README's recipes, word by word, and a model with all that a study can have, through the tiny workflow."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from checkout import README, Project, block
from claims import plain
from deep_files import write_tiff_16
from PIL import Image

from covary import nlme, rng, store
from covary.config.records import Longitudinal
from covary.records.study import Study

# One compartment with a first-order input, whose clearance grows with the weight.
MODEL = """
import jax.numpy as jnp
from covary import nlme


class Weighted(nlme.OdeModel):
    fixed_effects = {"ka": "positive", "cl": "positive", "v": "positive"}
    random_effects = ("eta_cl", "eta_v")

    def default_parameters(self):
        omega = [[0.09, 0.02], [0.02, 0.04]]
        return self.parameters([1.0, 0.2, 2.0], omega=omega, residual=nlme.Proportional(0.1))

    def individual(self, theta, eta, covariates):
        return {
            "ka": theta["ka"],
            "cl": theta["cl"] * (covariates["WT"] / 70) ** 0.75 * jnp.exp(eta[0]),
            "v": theta["v"] * jnp.exp(eta[1]),
        }

    def initial_state(self, p):
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        return -p["ka"] * y[0], p["ka"] * y[0] - p["cl"] / p["v"] * y[1]

    def prediction(self, t, y, p):
        return y[1] / p["v"]
"""


def blobs(n: int):
    """Photographs of sorts, (y, x, colour) of uint8: a bright disc on a gradient, 80 × 96 pixels."""
    y, x = np.mgrid[:80, :96]
    for i in range(n):
        u = rng.generator(1, "blobs", i).uniform(size=6)
        disc = np.hypot(x - 20 - 56 * u[0], y - 20 - 40 * u[1]) < 6 + 12 * u[2]
        colours = [60 + 60 * u[3] * x / 96 + 120 * disc * u[3 + c % 3] for c in range(3)]
        yield np.stack(colours, axis=-1).astype(np.uint8)


def run(project: Project, settings: dict, name: str, *targets: str) -> None:
    (project.folder / "config" / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    done = project.snakemake(*targets, config=f"config/{name}.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
def test_own_images_and_the_own_model_of_the_readme(tmp_path):
    project = Project(tmp_path)
    tiny = yaml.safe_load((project.folder / "config" / "tiny.yaml").read_text())
    own = yaml.safe_load(block("yaml", "folder: resources/mine"))
    model = re.search(r"`longitudinal.model: (my_model.py:\w+)`", README).group(1)
    (project.folder / "my_model.py").write_text(block("python", "OdeModel"))
    folder = project.folder / own["images"]["folder"]
    folder.mkdir(parents=True)
    for i, blob in enumerate(blobs(72)):
        Image.fromarray(blob).save(folder / f"{i:03d}.png")
    settings = (
        tiny
        | own
        | {
            "vae": tiny["vae"] | {"epochs": 40, "beta": 0.002},  # so few images teach slowly
            "longitudinal": tiny["longitudinal"] | {"model": model},
            "association": {"noise_variances": [0]},
        }
    )
    run(project, settings, "mine")
    results = project.folder / "results" / "mine"
    prepared = np.load(results / "images" / "train.npy", mmap_mode="r")
    assert prepared.shape[1:] == (3, own["images"]["size_px"], own["images"]["size_px"])
    assert prepared.std() > 10
    effects = store.read(results / "dataset.zarr", "longitudinal/noise_0")["eta_hat"]
    assert effects.shape[1] == 2
    assert (results / "report.html").stat().st_size > 10_000
    # An edit of the model reruns what uses it, and no image is drawn again.
    file = project.folder / "my_model.py"
    file.write_text(file.read_text().replace("[0.3, 0.2]", "[0.6, 0.2]"))
    planned = project.planned(config="config/mine.yaml")
    assert {"prepare_records", "simulate_longitudinal", "fit_population", "evaluate"} <= planned.keys()
    assert not {"prepare_images", "train_image_vae", "train_generator", "generate_images"} & planned.keys()
    # A further image, or another one of the same name, is prepared and learned.
    (folder / "000.png").touch()
    assert {"prepare_images", "train_image_vae"} <= project.planned(config="config/mine.yaml").keys()


@pytest.mark.slow
def test_tiffs_of_16_bits_in_three_channels_reach_the_report(tmp_path):
    """The range of the folder becomes 0 … 255, one scale for all three channels."""
    project = Project(tmp_path)
    tiny = yaml.safe_load((project.folder / "config" / "tiny.yaml").read_text())
    own = yaml.safe_load(block("yaml", "folder: resources/mine"))
    folder = project.folder / own["images"]["folder"]
    folder.mkdir(parents=True)
    deep = [blob.astype(np.uint16) * 150 + 711 for blob in blobs(72)]
    for i, values in enumerate(deep):
        write_tiff_16(folder / f"{i:03d}.tif", values, "<>"[i % 2], deflate=i % 3 == 0)
    settings = {
        "association": {"noise_variances": [0]},
        "predictors": [tiny["predictors"][1] | {"learning_curve": []}],
    }
    run(project, tiny | own | settings, "mine")
    results = project.folder / "results" / "mine"
    low, high = min(values.min() for values in deep), max(values.max() for values in deep)
    scaled = json.loads((results / "images" / "attributes.json").read_text())["scaled_from"]
    assert scaled == {"low": [low] * 3, "high": [high] * 3}
    index = pd.read_parquet(results / "images" / "index.parquet")
    assert (index["status"] == "ok").all() and len(index) == 72
    train = np.load(results / "images" / "train.npy", mmap_mode="r")
    assert train.shape[1:] == (3, 64, 64) and train.min() == 0 and train.max() > 200
    images = xr.open_datatree(results / "dataset.zarr", engine="zarr")["images"]
    assert images["channel"].values.tolist() == ["red", "green", "blue"]
    words = plain((results / "report.html").read_text(encoding="utf-8"))
    assert "uint16 values scaled to 8 bits (72 of 72)" in words
    assert "an image of 64 × 64 pixels (colour)" in words


@pytest.mark.parametrize(
    ("renamed", "covariates", "message"),
    [
        ("predict", {"WT": 70}, " in weighted.py must define prediction"),
        (
            "prediction",
            {"AGE": 50},
            ".individual needs 'WT', which is neither a fixed effect nor a covariate (AGE)",
        ),
    ],
)
def test_a_model_that_does_not_fit_stops_the_run_before_any_job(project, renamed, covariates, message):
    (project.folder / "weighted.py").write_text(MODEL.replace("def prediction(", f"def {renamed}("))
    settings = {"model": "weighted.py:Weighted", "covariates": covariates}
    config = project.edited("own.yaml", longitudinal=settings)
    assert project.refusal(config) == f"config: longitudinal.model: Weighted{message}"
    assert not (project.folder / "results").exists()


@pytest.mark.parametrize("amount", [2, 100])
def test_the_readme_s_model_under_two_doses_is_what_another_solver_finds(tmp_path, amount):
    """The model has no unit of time of its own: 14 units are what the study calls 14 hours.

    A dose of 100 takes the tumour to 1e-16 of its size and less. A dose of 2 leaves enough to measure.
    """
    from scipy.integrate import solve_ivp

    (tmp_path / "my_model.py").write_text(block("python", "OdeModel"))
    regimen = [{"time_h": 0, "amount": amount}, {"time_h": 7, "amount": amount}]
    settings = Longitudinal(model=f"{tmp_path}/my_model.py:TumourGrowth", regimen=regimen, last_time_h=14)
    study = Study.planned(settings, 4, seed=1)
    eta = rng.normal(1, "eta", 0, 4, (2,))
    curves = study.predictions(eta)
    observed = study.simulate(eta, seed=1, stream="records")
    for i in range(4):
        growth, kill = 0.3 * np.exp(0.3 * eta[i, 0]), 0.2 * np.exp(0.5 * eta[i, 1])

        def field(t, y, growth=growth, kill=kill):  # of the drug and of the logarithm of the size
            return [-0.5 * y[0], growth * (1 - np.exp(y[1]) / 5) - kill * y[0]]

        state, log_size = np.array([0.0, 0.0]), []
        for begin, end in ((0, 7), (7, 14)):
            state = state + np.array([amount, 0.0])
            times = study.times_h[(study.times_h > begin) & (study.times_h <= end)]
            solved = solve_ivp(
                field, (begin, end), state, t_eval=times, rtol=1e-11, atol=1e-12, method="LSODA"
            )
            state = solved.y[:, -1]
            log_size.append(solved.y[1])
        expected = np.exp(np.concatenate([[0.0], *log_size]))
        np.testing.assert_allclose(curves[i], expected, rtol=1e-5, atol=1e-7)
    residual = observed - curves
    assert 0.04 < residual.std() < 0.06 and np.abs(residual).max() < 0.05 * 5


@pytest.fixture(scope="module")
def own(finished, tmp_path_factory):
    """The tiny run with a model of one's own, and its configuration."""
    project = Project(tmp_path_factory.mktemp("own"))
    project.take_over(finished)
    (project.folder / "weighted.py").write_text(MODEL)
    tiny = yaml.safe_load((project.folder / "config" / "tiny.yaml").read_text())
    longitudinal = {
        "model": "weighted.py:Weighted",
        "times_h": [0.5, 1, 2, 4, 8, 12.5, 14, 24],
        "regimen": [
            {"time_h": 0, "amount": 10},
            {"time_h": 12, "amount": 5, "duration_h": 2, "compartment": 2},
        ],
        "covariates": {"WT": {"mean": 70, "sd": 12, "distribution": "log_normal"}},
        "fit": {"subjects": 24},
    }
    own = {
        "longitudinal": longitudinal,
        "association": {"noise_variances": [1]},
        "predictors": [tiny["predictors"][1] | {"learning_curve": []}],
    }
    return project, tiny | own


def test_a_model_with_own_omega_error_doses_infusion_and_covariate(own):
    project, settings = own
    run(project, settings, "own", "results/tiny/markers/estimates/noise_1.json")
    dataset = project.results / "dataset.zarr"
    design = store.read(dataset, "design")
    assert design["dose_amount"].values.tolist() == [10, 5]
    assert design["dose_duration_h"].values.tolist() == [0, 2]
    weight = design["covariate_WT"].values
    assert weight.shape == (128,) and weight.mean() == pytest.approx(70, abs=5) and weight.std() > 6
    truth = nlme.parameters_from_json(design.attrs["parameters"])
    assert truth.residual == nlme.Proportional(0.1)
    np.testing.assert_array_equal(truth.omega, [[0.09, 0.02], [0.02, 0.04]])

    # The records follow from the group `design` and eta_hat alone, by a solver that is not Covary's.
    from scipy.integrate import solve_ivp

    records = store.read(dataset, "longitudinal/noise_1")
    assert (records["present"].values == 1).all()
    errors = []
    for subject in (0, 57):
        eta = np.linalg.cholesky(truth.omega) @ records["eta_hat"].values[subject].astype(float)
        cl, v = 0.2 * (weight[subject] / 70) ** 0.75 * np.exp(eta[0]), 2.0 * np.exp(eta[1])

        def field(t, y, cl=cl, v=v):
            return [-y[0], y[0] - cl / v * y[1] + (2.5 if 12 <= t < 14 else 0.0)]

        times = design["time_h"].values
        solved = solve_ivp(field, (0, 24), [10.0, 0.0], t_eval=times, rtol=1e-9, atol=1e-9, max_step=0.05)
        errors.append(records["observation"].values[subject] / (solved.y[1] / v) - 1)
    errors = np.concatenate(errors)
    assert np.abs(errors).max() < 0.5 and 0.04 < errors.std() < 0.2
    assert pd.read_csv(project.results / "population" / "noise_1.csv")["estimate"].notna().all()
    assert store.read(dataset, "estimates/noise_1")["eta_approx"].shape == (128, 2)


@pytest.mark.slow
def test_a_model_of_one_s_own_reaches_the_report(own):
    project, settings = own
    run(project, settings, "own")
    tree = xr.open_datatree(project.results / "dataset.zarr", engine="zarr")
    assert tree["predictions/noise_1/resnet18_marginal_likelihood/eta_pred"].shape == (32, 2)
    assert (project.results / "report.html").stat().st_size > 10_000
