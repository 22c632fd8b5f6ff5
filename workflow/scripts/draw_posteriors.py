"""Draw random effects of training and validation subjects from their posteriors given the record alone."""

from pathlib import Path

import numpy as np

from covary import nlme, store
from covary.config.records import Longitudinal
from covary.dataset.subjects import members
from covary.jobs.job import job
from covary.records.study import Study

with job(snakemake.log[0]):
    params, noise = snakemake.params, snakemake.wildcards.noise
    study = Study(Longitudinal(**params.longitudinal))
    dataset = Path(snakemake.input.estimates).parents[2] / "dataset.zarr"
    stop = members(store.read(dataset, "subjects"), "validation").stop
    drawn = nlme.posterior_draws(
        study.model,
        nlme.parameters_from_json(Path(snakemake.input.parameters).read_text(encoding="utf-8")),
        study.records(store.read(dataset, f"longitudinal/noise_{noise}")["observation"][:stop].values),
        study.modes(store.read(dataset, f"estimates/noise_{noise}")[{"subject": slice(stop)}]),
        params.draws,
        params.seed,
        stream=f"posterior_draws/noise_{noise}",
    )
    draws = drawn.eta.astype(np.float32)
    np.savez(snakemake.output.posteriors, draws=draws, log_marginal=drawn.log_marginal)
