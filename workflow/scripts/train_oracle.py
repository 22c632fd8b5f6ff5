"""Train the network that sees eta itself, for each objective; use it on eta and on eta read from images."""

from pathlib import Path

from covary import predict, store
from covary.config.records import Longitudinal
from covary.dataset.groups import write_predictions
from covary.dataset.subjects import members
from covary.jobs.job import job
from covary.records.study import Study

with job(snakemake.log[0]):
    params, source, noise = snakemake.params, snakemake.input, snakemake.wildcards.noise
    dataset = Path(source.eta_read).parents[3] / "dataset.zarr"
    study = Study(Longitudinal(**params.longitudinal))
    level = predict.Level(dataset, noise, study, Path(source.parameters), source.posteriors)
    subjects = store.read(dataset, "subjects")
    train, validation, test = (members(subjects, split) for split in ("train", "validation", "test"))
    config = predict.for_subjects(predict.ORACLE, train.stop, of=min(train.stop, predict.ORACLE_SUBJECTS))
    config = config.model_copy(update={"covariance": params.covariance})
    eta = subjects["eta"].values
    eta_read = store.read(dataset, f"predictions/noise_free/{Path(source.eta_read).stem}")["eta_read"].values
    for objective, marker in zip(params.objectives, snakemake.output, strict=True):
        network, _ = level.train(
            objective,
            (eta[train], eta[validation]),
            (train, validation),
            config,
            seed=params.seed,
            checkpoint_dir=Path(params.checkpoints) / Path(marker).stem / params.code,
        )
        predictions = {
            "eta_pred": predict.predict(network, eta[test]),
            "eta_pred_read": predict.predict(network, eta_read),
        }
        name = f"noise_{noise}/oracle_{objective}"
        write_predictions(
            dataset, name, test, predictions, Path(marker), params.code, covariance=network.covariance
        )
