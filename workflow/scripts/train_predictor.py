"""Train one network at one noise level."""

from pathlib import Path

from covary import predict, store
from covary.config import Longitudinal, Predictor
from covary.job import job
from covary.longitudinal import Study
from covary.subjects import members

if __name__ == "__main__":
    with job(snakemake.log[0]):
        params, source = snakemake.params, snakemake.input
        marker = Path(source.images)
        dataset, digest = marker.parents[1] / "dataset.zarr", store.read_marker(marker)["sha256"]["image"]
        study, config = Study(Longitudinal(**params.longitudinal)), Predictor(**params.predictor)
        level = predict.Level(
            dataset, snakemake.wildcards.noise, study, Path(source.parameters), source.posteriors
        )
        subjects = store.read(dataset, "subjects")
        parts = members(subjects, "train"), members(subjects, "validation")
        folder = Path(snakemake.output.weights).parent
        network, history = level.train(
            params.objective,
            [predict.read_inputs(config.network, dataset, part, digest) for part in parts],
            parts,
            config,
            seed=params.seed,
            checkpoint_dir=folder / "checkpoints" / params.code,
            workers=snakemake.threads - 1,
        )
        network.save(folder)
        history.to_csv(snakemake.output.history, index=False)
