"""The benchmarks at their smallest, so that they keep up with the package; their numbers mean nothing."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from covary.amortised.train import Training
from covary.config.experiment import Config

TESTS = Path(__file__).parent
BENCHMARKS = TESTS.parent / "benchmarks"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a benchmark's `main` with arguments and other constants; returns what it prints."""

    def run(name, *arguments, **constants):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for constant, value in constants.items():
            monkeypatch.setattr(module, constant, value)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        module.main()
        return capsys.readouterr().out

    return run


def test_bootstrap(run):
    printed = run("bootstrap", "--subjects", 200, "--resamples", 10)
    assert printed.splitlines()[-1].startswith("all")


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["reaction_3", "sinusoid"])
def test_amortised(run, problem):
    small = {"augment": Training(layers=2, width=16, batch=64, steps=4)}
    printed = run(
        "amortised", problem, 1, "augment", TEST=20, GRID=61, FINE=2001, SETTINGS=small
    ).splitlines()
    assert printed[0].startswith("exact optimum") and printed[1].startswith("augment")


@pytest.mark.slow
def test_amortised_draws(run):
    small = {"layers": 2, "width": 16, "batch": 64, "steps": 4}
    printed = run("amortised_draws", 1, SUBJECTS=20, MISSING=(0.3,), SETTINGS=small).splitlines()
    assert printed[1].startswith("30 % missing") and printed[3].startswith("  10 % wider")


@pytest.mark.slow
def test_amortised_speed(run):
    small = {"layers": 2, "width": 16, "batch": 256, "steps": 20, "learning_rate": 0.004}
    printed = run("amortised_speed", 10, SUBJECTS=200, REFITTED=200, KEPT=(16,), SETTINGS=small).splitlines()
    assert printed[1].startswith("draws of 200 subjects: engine")
    assert all("converged True; from draws" in line for line in printed[3:])


def test_conditioning(run, tmp_path):
    raw = yaml.safe_load((TESTS / "workflow" / "tiny.yaml").read_text())
    raw["ranking"]["active_variance"] = 0  # after one epoch no latent would count
    raw["vae"]["epochs"] = 1
    tiny = Config.model_validate(raw)
    printed = run(
        *("conditioning", "--work", tmp_path, "--size-px", 32, "--seeds", 1),
        **{"DEMO": tiny, "VAE": tiny.vae, "GENERATOR": tiny.generator},
        **{"TRAIN": 64, "VALIDATION": 16, "TEST": 16},
    )
    files = tmp_path.glob("seed_1/*/scores.json")
    scores = {path.parent.name: json.loads(path.read_text()) for path in files}
    assert set(scores) == {"paper", "covary"}
    assert all(score["readback_r2"] < 1 and score["predicted_r2"] < 1 for score in scores.values())
    assert printed.splitlines()[-1].startswith("mean")


@pytest.mark.slow
def test_oracle(run, tmp_path):
    output = tmp_path / "oracle.json"
    sizes = {"TRAIN": 128, "VALIDATION": 32, "TEST": 64, "DRAWS": 4}
    printed = run("oracle", "--noise", 9, "--seeds", 1, "--output", output, **sizes)
    rows = json.loads(output.read_text())
    assert {row["objective"] for row in rows} == {"ebe_mse", "marginal_likelihood"}
    assert all(0 < row["coverage"] <= 1 for row in rows)
    assert "marginal_likelihood" in printed
    assert run("oracle", "--noise", 9, "--seeds", 1, "--output", output) == printed  # nothing twice


@pytest.mark.slow
def test_paper_scale(run, tmp_path):
    output = tmp_path / "paper_scale.json"
    run("paper_scale", "--subjects", 64, "--fit-subjects", 24, "--output", output,
        NOISE_VARIANCES=(9.0,), SCORED=32)  # fmt: skip
    (level,) = json.loads(output.read_text())["levels"]
    assert sum(level["status"]) == 64 and level["nll_true"] < level["nll_random"]


def test_sampling(run, finished, tmp_path):
    results = tmp_path / "sampling.json"
    run("sampling", "--generator", finished.results / "generator", "--images", 8, "--results", results)
    found = json.loads(results.read_text())
    assert "reference (ddpm 50, 77 tokens)" in found
    assert all(c["readback_r2"] < 1 and 0 <= c["precision"] <= 1 for c in found.values())


def test_spirals(run, tmp_path):
    output = tmp_path / "spirals.json"
    few = {"POINTS": 40, "EPOCHS": 1}
    arguments = ("spirals", "--seeds", 1, 2, "--methods", "plain", "armed", "--output", output)
    printed = run(*arguments, **few)
    rows = json.loads(output.read_text())
    assert len(rows) == 8 and all(0 <= row["accuracy"] <= 1 for row in rows)
    assert all(("reliance" in row) is (row["variant"] == "confounded") for row in rows)
    assert run(*arguments, **few) == printed  # nothing twice


def test_spirals_are_the_paper_s(run):
    """Radii of the paper's random seed, and equal classes."""
    spec = importlib.util.spec_from_file_location("spirals", BENCHMARKS / "spirals.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x, y, site = module.spirals(confounded=False)
    assert x.shape == (10_000, 2) and (np.bincount(site) == 1000).all() and y.mean() == 0.5
    radii = [0.702, 0.681, 0.809, 1.318, 0.953, 1.328, 0.378, 1.210, 1.502, 0.881]
    reach = [np.quantile(np.linalg.norm(x[site == i], axis=1), 0.95) for i in range(10)]
    np.testing.assert_allclose(reach, radii, atol=0.1)


def test_sites(run, tmp_path):
    output = tmp_path / "sites.json"
    arguments = (
        "sites",
        "--seeds",
        1,
        "--confounding",
        0.9,
        "--methods",
        "plain",
        "armed",
        "--output",
        output,
    )
    printed = run(*arguments, EPOCHS=1, PER_SITE=20)
    plain, armed = json.loads(output.read_text())
    assert "correlation" in armed and "correlation" not in plain
    assert all(row["seen"] < 1 and 0 <= row["site_found"] <= 1 for row in (plain, armed))
    assert run(*arguments) == printed  # nothing twice


def test_lmmnn(run):
    few = {"SUBJECTS": 1000, "TRAINING": {"epochs": 1, "batch_size": 100}}
    printed = run("lmmnn", "--between", 1, "--sites", 100, "--methods", "plain", "lmmnn", **few)
    assert "1.100" in printed and "2.090" in printed  # the published errors


@pytest.mark.parametrize("contender", ["covary", "covary_zstd", "memmap", "naive_zarr"])
def test_storage(run, contender, tmp_path):
    source = tmp_path / "images.npy"
    images = np.arange(64, dtype=np.uint8)[:, None, None] + np.zeros((64, 16, 16), np.uint8)
    np.save(source, images)
    (tmp_path / "store").mkdir()
    arguments = ("--contender", contender, "--source", source, "--folder", tmp_path / "store")
    measured = json.loads(run("storage", *arguments))  # `measure` counts what it reads
    assert set(measured) == {"written_per_s", "megabytes", "read_per_s"}
    assert all(np.isfinite(value) for value in measured.values())
    compressed = contender == "covary_zstd"
    assert (measured["megabytes"] < images.nbytes / 1e6) is compressed  # equal pixels take next to no room


@pytest.mark.parametrize(
    ("contender", "holds"),
    [
        ("simulate_covary", lambda result: result["largest_error"] < 1e-4),
        ("modes_covary", lambda result: result["global_mode_fraction"] > 0.98),
        ("fit_covary_theoph", lambda result: abs(result["ofv"] - 116.8034) < 1e-3),
        pytest.param("fit_covary_600", lambda result: result["converged"], marks=pytest.mark.slow),
    ],
)
def test_nlme(run, contender, holds):
    result = json.loads(run("nlme", "--contender", contender, "--subjects", 64))
    assert holds(result), result
    assert result["subjects_per_s"] * result["seconds"] == pytest.approx(result["subjects"])


@pytest.mark.slow
def test_first_fits(run):
    result = json.loads(run("nlme", "--contender", "first_fit_closed"))
    for state in ("cold", "warm"):
        assert abs(result[f"{state}_ofv"] - 116.8034) < 1e-3 and result[f"{state}_converged"]
        assert 0 < result[f"{state}_fit_s"] < result[f"{state}_s"]


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu")


# In this order: `agreement` compares with what `reference` leaves in the folder. `compiled` trains the VAE
# as `image_vae` does.
@pytest.mark.parametrize(
    "part",
    [
        *("machine", "engine", "reference"),
        pytest.param("agreement", marks=pytest.mark.slow),
        pytest.param("image_vae", marks=pytest.mark.slow),
        "predictor",
        pytest.param("stable_diffusion", marks=pytest.mark.slow),
        "generator",
        pytest.param("compiled", marks=pytest.mark.slow),
    ],
)
def test_gpu(run, part, shared_folder, tmp_path):
    output = tmp_path / "gpu.csv"
    with torch._dynamo.config.patch(disable=True):  # compiling takes minutes on a CPU
        run("gpu", "--smallest", "--part", part, "--work", shared_folder, "--output", output)
    if part == "reference":
        assert (shared_folder / "reference.npz").exists()
        return
    rows = pd.read_csv(output, names=["part", "task", "setting", "value", "unit"])
    assert (rows["part"] == part).all()
    rates = rows.loc[rows["unit"].isin(["images/s", "subjects/s"]), "value"].astype(float)
    assert (rates > 0).all() and (len(rates) > 0 or part in ("machine", "agreement"))
    if part == "agreement" and not torch.cuda.is_available():  # with itself
        exact = rows[rows["task"].str.contains("difference|differ") & ~rows["setting"].str.startswith("bf16")]
        assert len(exact) > 8 and (exact["value"].astype(float) < 1e-4).all()


def test_gpu_runs_parts_until_its_time_is_over(run, tmp_path):
    output = tmp_path / "gpu.csv"
    printed = run("gpu", "--smallest", "--seconds", 0, "--only", "machine", "engine", "--output", output)
    assert printed.count("not started: no time left") == 2 == len(pd.read_csv(output))


@pytest.mark.slow
def test_cells(run, tmp_path):
    rows = (
        {"family": "beta_vae", "beta": 1.0},
        {"family": "sparse_vae_gan", "beta": 1.0, "sparsity": {"alpha": 0.2}},
    )
    arguments = ["--seeds", 1, "--cells", 1, "--size", 36, "--epochs", 1, "--latents", 4, "--channels", 4,
                 "--folder", tmp_path, "--output", tmp_path / "cells.json"]  # fmt: skip
    printed = run("cells", *arguments, ROWS=rows)
    assert "β-VAE" in printed and "SparseVAE-GAN" in printed
    stored = json.loads((tmp_path / "cells.json").read_text())
    assert [row["alpha"] for row in stored] == [None, 0.2] and all(row["spectrum"] > 0 for row in stored)
    assert run("cells", *arguments, ROWS=rows) == printed


@pytest.mark.slow
def test_deep(run, tmp_path):
    small = {"steps": 0, "draws": 2, "final_draws": 8, "final_steps": 2, "evaluation_draws": 8}
    output = tmp_path / "ladder.csv"
    arguments = ("ladder", "--models", "latent", "--effects", 1, "--subjects", 2, "--seeds", 1)
    run("deep", *arguments, "--output", output, FIT=small, TEST_SUBJECTS=2)
    row = pd.read_csv(output).iloc[0]
    assert row["random_effects"] == 1 and row["seen_ratio"] > 1
