"""From a folder of cells to profiles and tables, as the rule does it."""

from pathlib import Path

import numpy as np
import pandas as pd

from covary import images
from covary.config.images import DrawnCells, Images
from covary.config.vae import Vae
from covary.phantom.cells.dataset import write_cells
from covary.training.draws import seeded
from covary.vae import encode
from covary.vae.train import new_network

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


def test_profiles_and_tables_of_drawn_cells(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    profile_cells = __import__("profile_cells").profile_cells
    drawn = DrawnCells(cells_per_well=1, plates_per_week=2, control_wells=3)
    write_cells(tmp_path / "cells", drawn, seed=1, workers=1)
    config = Images(source="cells", size_px=36)
    folder = tmp_path / "images"
    images.prepare(tmp_path / "cells", folder, config, 1, 1, tmp_path / "checkpoints")
    prepared = images.load(folder)
    with seeded(1, "test"):
        network = new_network(Vae(architecture="cyto", latent_dim=6, base_channels=4), 36, 3).eval()
    network.save(tmp_path / "vae")
    moments = {f"{s}_mean": encode(network, getattr(prepared, s))[0] for s in ("train", "test")}
    np.savez(tmp_path / "vae/encodings.npz", **moments)

    out = {name: tmp_path / f"{name}.parquet" for name in ("wells", "treatments")}
    out |= {name: tmp_path / f"{name}.csv" for name in ("accuracy", "precision", "confusions")}
    profile_cells(
        folder / "index.parquet", tmp_path / "vae/encodings.npz", tmp_path / "vae/weights.safetensors",
        **out, resamples=50, seed=1,
    )  # fmt: skip

    wells, profiles = (pd.read_parquet(out[name]) for name in ("wells", "treatments"))
    assert len(profiles) == 104 and wells["Metadata_Count_Cells"].sum() == len(prepared.index)
    assert [c for c in profiles if not c.startswith("Metadata_")] == [f"latent_{i:03d}" for i in range(6)]
    accuracy = pd.read_csv(out["accuracy"])
    counts = accuracy.groupby(["neighbour", "with_control"])["treatments"].unique().map(list).to_dict()
    assert counts == {
        ("other_compound", False): [103], ("other_compound", True): [104],
        ("other_compound_and_batch", False): [92],
    }  # fmt: skip
    assert (accuracy["low"] <= accuracy["accuracy"]).all() and (
        accuracy["accuracy"] <= accuracy["high"]
    ).all()
    assert set(accuracy["features"]) == {"latents", "random weights", "pixel PCA", "mean intensity"}
    assert pd.read_csv(out["confusions"], index_col=0).to_numpy().sum() == 103
    precision = pd.read_csv(out["precision"])
    assert precision.query("question == 'consistency'")["queries"].eq(103).all()
    assert precision["mean_average_precision"].between(0, 1).all()
