"""Fit the population model to training records by maximum likelihood."""

import logging
from pathlib import Path

from covary import nlme, store
from covary.config.records import Longitudinal
from covary.dataset.subjects import members
from covary.jobs.job import job
from covary.records.study import Study

log = logging.getLogger("covary")

with job(snakemake.log[0]):
    settings = Longitudinal.model_validate(snakemake.params.longitudinal)
    study = Study(settings)
    dataset = Path(snakemake.input.records).parents[2] / "dataset.zarr"
    train = members(store.read(dataset, "subjects"), "train")
    chosen = slice(train.start, min(train.stop, train.start + settings.fit.subjects))
    group = store.read(dataset, f"longitudinal/noise_{snakemake.wildcards.noise}")
    fit = nlme.fit_population(
        study.model,
        study.records(group["observation"][chosen].values),
        study.initial(settings.fit),
        method=settings.fit.method,
    )
    log.log(logging.INFO if fit.converged else logging.WARNING, "population fit %s", fit.verdict)
    Path(snakemake.output.parameters).write_text(nlme.parameters_to_json(fit.parameters))
    fit.table().to_csv(snakemake.output.table, index=False)
