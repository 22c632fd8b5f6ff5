"""Train one network at one noise level, and predict every test subject from the image alone."""

from pathlib import Path

from covary import predict, store
from covary.config.predictors import Predictor
from covary.config.records import Longitudinal
from covary.dataset.groups import write_predictions
from covary.dataset.subjects import members
from covary.jobs.job import job
from covary.records.study import Study

if __name__ == "__main__":
    with job(snakemake.log[0]):
        params, source, noise = snakemake.params, snakemake.input, snakemake.wildcards.noise
        marker, config = Path(source.images), Predictor(**params.predictor)
        dataset, digest = marker.parents[1] / "dataset.zarr", store.read_marker(marker)["sha256"]["image"]
        study, population = Study(Longitudinal(**params.longitudinal)), Path(source.parameters)
        level = predict.Level(dataset, noise, study, population, source.posteriors)
        subjects = store.read(dataset, "subjects")
        *parts, test = (members(subjects, split) for split in ("train", "validation", "test"))
        images = [predict.read_inputs(config.network, dataset, part, digest) for part in (*parts, test)]
        folder = Path(snakemake.output.weights).parent
        network, history = level.train(
            config.objective,
            images[:2],
            parts,
            config,
            seed=params.seed,
            checkpoint_dir=folder / "checkpoints" / params.code,
            workers=snakemake.threads - 1,
        )
        network.save(folder)
        history.to_csv(snakemake.output.history, index=False)
        name, output = f"noise_{noise}/{folder.name}", Path(snakemake.output.marker)
        eta_pred = {"eta_pred": predict.predict(network, images[2])}
        write_predictions(dataset, name, test, eta_pred, output, params.code, covariance=network.covariance)
