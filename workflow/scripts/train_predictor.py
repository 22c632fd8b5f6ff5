"""Train one network at one noise level."""

from pathlib import Path

from covary import predict, store
from covary.config import Predictor
from covary.job import job
from covary.subjects import members

with job(snakemake.log[0]):
    dataset = Path(snakemake.input.images).parents[1] / "dataset.zarr"
    subjects = store.read(dataset, "subjects")
    images = store.read(dataset, "images")["image"]
    targets = store.read(dataset, f"estimates/noise_{snakemake.wildcards.noise}")["eta_approx"]
    train, validation = members(subjects, "train"), members(subjects, "validation")
    folder = Path(snakemake.output.weights).parent
    network, history = predict.train_predictor(
        images[train].values,
        targets[train].values,
        images[validation].values,
        targets[validation].values,
        Predictor(**snakemake.params.predictor),
        seed=snakemake.params.seed,
        checkpoint_dir=folder / "checkpoints" / snakemake.params.code,
    )
    network.save(folder)
    history.to_csv(snakemake.output.history, index=False)
