"""Train one predictor on fewer training subjects, for several sizes, and predict the test subjects."""

from pathlib import Path

import numpy as np

from covary import predict, store
from covary.config.predictors import Predictor
from covary.config.records import Longitudinal
from covary.dataset.subjects import members
from covary.jobs.job import job
from covary.records.study import Study

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
        train, validation, test = (members(subjects, split) for split in ("train", "validation", "test"))
        sizes = [max(2, round(fraction * train.stop)) for fraction in params.fractions]
        output = Path(snakemake.output.curve)
        eta_pred = []
        for size in sizes:
            parts = slice(0, size), validation
            network, _ = level.train(
                config.objective,
                [predict.read_inputs(config.network, dataset, part, digest) for part in parts],
                parts,
                predict.for_subjects(config, size, of=train.stop),
                seed=params.seed,
                checkpoint_dir=output.with_suffix("") / "checkpoints" / params.code / str(size),
                workers=snakemake.threads - 1,
            )
            images = predict.read_inputs(config.network, dataset, test, digest)
            eta_pred.append(predict.predict(network, images))
        np.savez(output, sizes=np.array(sizes), eta_pred=np.stack(eta_pred))
