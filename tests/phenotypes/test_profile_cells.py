"""From a folder of cells to profiles, tables and figures, as the rules do it."""

from pathlib import Path

import pandas as pd
import pytest

from covary import figures, images
from covary.config.experiment import Config
from covary.config.images import DrawnCells, Images
from covary.config.phenotypes import Phenotypes
from covary.config.vae import Vae
from covary.phantom.cells.dataset import write_cells
from covary.phenotypes.comparison import main_accuracy
from covary.report import phenotypes
from covary.vae import train_vae

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
FAMILIES = {
    family: Vae(architecture="cyto", latent_dim=6, base_channels=4, epochs=1, family=family)
    for family in ("beta_vae", "sparse_vae_gan")
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Prepared cells of all treatments, and a network of two families trained on them."""
    folder = tmp_path_factory.mktemp("cells")
    drawn = DrawnCells(cells_per_well=1, plates_per_week=2, control_wells=3)
    write_cells(folder / "cells", drawn, seed=1, workers=1)
    config = Images(source="cells", size_px=36)
    images.prepare(folder / "cells", folder / "images", config, 1, 1, folder / "checkpoints")
    prepared = images.load(folder / "images")
    for family, config in FAMILIES.items():
        network, history = train_vae(prepared.train, prepared.test, config, 1, folder / "checkpoints")
        network.save(folder / family)
        history.to_csv(folder / family / "history.csv", index=False)
    return folder


def of_families(folder, name):
    return [folder / family / name for family in FAMILIES]


@pytest.fixture(scope="module")
def tables(cells):
    """What the rule profile_cells writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        patch.setattr("covary.phenotypes.table._DRAWS", 200)  # of random orders; no p-value is asserted
        profile_cells = __import__("profile_cells").profile_cells
        out = {name: cells / f"{name}.parquet" for name in ("wells", "treatments")}
        names = ("accuracy", "precision", "gain", "confusions", "families")
        out |= {name: cells / f"{name}.csv" for name in names}
        profile_cells(
            cells / "images/index.parquet",
            of_families(cells, "weights.safetensors"), of_families(cells, "history.csv"),
            **out, trained=FAMILIES, settings=Phenotypes(readback_draws=100), resamples=50, seed=1,
        )  # fmt: skip
    return {
        name: pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
        for name, file in out.items()
    }


def test_profiles_are_those_of_the_first_family(cells, tables):
    wells, profiles = tables["wells"], tables["treatments"]
    cells_used = images.load(cells / "images").index["row"].notna().sum()
    assert len(profiles) == 104 and wells["Metadata_Count_Cells"].sum() == cells_used
    assert [c for c in profiles if not c.startswith("Metadata_")] == [f"latent_{i:03d}" for i in range(6)]


def test_accuracies_of_families_and_baselines_count_the_treatments(tables):
    accuracy = tables["accuracy"]
    counts = accuracy.groupby(["neighbour", "with_control"])["treatments"].unique().map(list).to_dict()
    assert counts == {
        ("other_compound", False): [103], ("other_compound", True): [104],
        ("other_compound_and_batch", False): [92],
    }  # fmt: skip
    assert (accuracy["low"] <= accuracy["accuracy"]).all() and (
        accuracy["accuracy"] <= accuracy["high"]
    ).all()
    baselines = {"random weights", "pixel PCA", "shapes", "mean intensity", "cell count"}
    assert set(accuracy["features"]) == {*FAMILIES, *baselines}
    assert set(accuracy["normalisation"]) == {"none", "plate", "sphered"}
    by_orientations = accuracy.groupby("orientations")
    once, averaged = (by_orientations.get_group(n).reset_index(drop=True) for n in (1, 4))
    same = (once["accuracy"] == averaged["accuracy"]).groupby(once["features"]).all()
    assert same[["shapes", "mean intensity", "cell count"]].all()  # they do not depend on the orientation
    assert not same[["pixel PCA", "random weights"]].any()
    assert tables["confusions"].drop(columns="Metadata_moa").to_numpy().sum() == 103
    precision = tables["precision"]
    assert precision.query("question == 'consistency'")["queries"].eq(103).all()
    assert precision["mean_average_precision"].between(0, 1).all()


def test_gains_are_differences_of_the_accuracies_on_the_same_treatments(tables):
    found = tables["accuracy"].groupby("features").apply(main_accuracy, include_groups=False)["accuracy"]
    gains = tables["gain"]
    assert len(gains) == len(FAMILIES) * 5
    difference = found[gains["family"]].to_numpy() - found[gains["features"]].to_numpy()
    assert gains["gain"].to_numpy() == pytest.approx(difference)
    assert ((gains["low"] <= gains["gain"]) & (gains["gain"] <= gains["high"])).all()


def test_families_stand_beside_what_was_published(tables):
    families = tables["families"]
    here = families[families["source"] == "this run"].set_index("family")
    assert here["alpha"].isna()["beta_vae"] and here["alpha"]["sparse_vae_gan"] == 0.1
    assert here["open_share"].between(0, 1)["sparse_vae_gan"] and (here["readback_r2_1"] <= 1).all()
    assert (here["readback_r2_1"] >= here["readback_r2_3"]).all()
    paper = families[families["source"] == "paper 003"]
    assert len(paper) == 11 and paper["accuracy"].max() == pytest.approx(0.904)


def test_the_figures_and_the_sentences_of_the_report(cells, tables):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        plot_phenotypes = __import__("plot_phenotypes").plot_phenotypes
    drawn = {name: cells / f"{name}.png" for name in phenotypes.FIGURES}
    plot_phenotypes(
        cells / "images/index.parquet",
        of_families(cells, "weights.safetensors"), of_families(cells, "history.csv"),
        cells / "accuracy.csv", cells / "confusions.csv", **drawn, trained=FAMILIES,
    )  # fmt: skip
    assert all(file.stat().st_size > 10_000 for file in drawn.values())
    assert phenotypes.has_phenotypes(Config(images=Images(source="cells", size_px=64)))
    of_file = {"vae_families": "families", "phenotype_accuracy": "accuracy", "phenotype_gain": "gain"}
    found, gained, carried = phenotypes.sentences({file: tables[name] for file, name in of_file.items()})
    assert "of 103 treatments" in found and "averaged over 4 orientations" in found
    assert "] over pixel PCA" in gained
    assert "β-VAE" in carried and "SparseVAE-GAN" in carried


def test_without_gates_the_figure_of_gates_says_so():
    figure = figures.open_gates({}, {})
    assert figure.axes[0].texts[0].get_text() == "No family with gates was trained."
