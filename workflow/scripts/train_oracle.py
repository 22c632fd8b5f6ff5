"""Train the network that sees eta itself, for each objective; use it on eta and on eta read from images."""

from pathlib import Path

from covary import predict, store
from covary.config.records import Longitudinal
from covary.dataset.groups import eta_pred_read, write_predictions
from covary.dataset.subjects import members
from covary.jobs.job import job
from covary.records.study import Study

with job(snakemake.log[0]):
    params, source, noise = snakemake.params, snakemake.input, snakemake.wildcards.noise
    dataset = Path(source.eta_read[0]).parents[3] / "dataset.zarr"
    study = Study(Longitudinal(**params.longitudinal))
    level = predict.Level(dataset, noise, study, Path(source.parameters), source.posteriors)
    subjects = store.read(dataset, "subjects")
    train, validation, test = (members(subjects, split) for split in ("train", "validation", "test"))
    config = predict.for_subjects(predict.ORACLE, train.stop, of=min(train.stop, predict.ORACLE_SUBJECTS))
    eta = subjects["eta"].values
    networks = [Path(file).stem for file in source.eta_read]
    eta_read = {
        name: store.read(dataset, f"predictions/noise_free/{name}")["eta_read"].values for name in networks
    }
    for (objective, covariance), marker in zip(params.covariances.items(), snakemake.output, strict=True):
        network, _ = level.train(
            objective,
            (eta[train], eta[validation]),
            (train, validation),
            config.model_copy(update={"covariance": covariance}),
            seed=params.seed,
            checkpoint_dir=Path(params.checkpoints) / Path(marker).stem / params.code,
        )
        predictions = {"eta_pred": predict.predict(network, eta[test])} | {
            eta_pred_read(name): predict.predict(network, values) for name, values in eta_read.items()
        }
        name = f"noise_{noise}/oracle_{objective}"
        write_predictions(
            dataset, name, test, predictions, Path(marker), params.code, covariance=network.covariance
        )
