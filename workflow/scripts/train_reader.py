"""Train the network on the noise-free random effects and read those of every test subject from its image."""

from pathlib import Path

from covary import predict, store
from covary.config.predictors import Predictor
from covary.dataset.groups import write_predictions
from covary.dataset.subjects import members
from covary.jobs.job import job

if __name__ == "__main__":
    with job(snakemake.log[0]):
        params, marker = snakemake.params, Path(snakemake.input.images)
        dataset, digest = marker.parents[1] / "dataset.zarr", store.read_marker(marker)["sha256"]["image"]
        config = Predictor(**params.predictor)
        subjects = store.read(dataset, "subjects")
        splits = [members(subjects, split) for split in ("train", "validation", "test")]
        inputs = [predict.read_inputs(config.network, dataset, part, digest) for part in splits]
        targets = [predict.Targets(subjects["eta"][part].values) for part in splits]
        folder = Path(snakemake.output.weights).parent
        network, history = predict.train_predictor(
            *map(predict.Examples, inputs[:2], targets[:2]),
            predict.MeanSquaredError(),
            config,
            seed=params.seed,
            checkpoint_dir=folder / "checkpoints" / params.code,
            workers=snakemake.threads - 1,
        )
        network.save(folder)
        history.to_csv(snakemake.output.history, index=False)
        write_predictions(
            dataset,
            f"noise_free/{config.label}",
            splits[2],
            {"eta_read": predict.predict(network, inputs[2])},
            Path(snakemake.output.marker),
            params.code,
        )
