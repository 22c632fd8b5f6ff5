"""Train one network at one noise level."""

from pathlib import Path

from covary import predict, store
from covary.config import Predictor
from covary.job import job
from covary.subjects import members

if __name__ == "__main__":
    with job(snakemake.log[0]):
        marker = Path(snakemake.input.images)
        dataset, digest = marker.parents[1] / "dataset.zarr", store.read_marker(marker)["sha256"]["image"]
        subjects = store.read(dataset, "subjects")
        targets = store.read(dataset, f"estimates/noise_{snakemake.wildcards.noise}")["eta_approx"]
        train, validation = members(subjects, "train"), members(subjects, "validation")
        folder = Path(snakemake.output.weights).parent
        network, history = predict.train_predictor(
            store.Images(dataset, train, digest),
            targets[train].values,
            store.Images(dataset, validation, digest),
            targets[validation].values,
            Predictor(**snakemake.params.predictor),
            seed=snakemake.params.seed,
            checkpoint_dir=folder / "checkpoints" / snakemake.params.code,
            workers=snakemake.threads - 1,
        )
        network.save(folder)
        history.to_csv(snakemake.output.history, index=False)
