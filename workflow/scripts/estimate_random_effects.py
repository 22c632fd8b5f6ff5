"""Empirical Bayes estimates of every subject's random effects from the record alone."""

from pathlib import Path

from covary import nlme, store
from covary.config import Longitudinal
from covary.job import job
from covary.longitudinal import Study

with job(snakemake.log[0]):
    study = Study(Longitudinal.model_validate(snakemake.params.longitudinal))
    noise = snakemake.wildcards.noise
    dataset = Path(snakemake.input.records).parents[2] / "dataset.zarr"
    observation = store.read(dataset, f"longitudinal/noise_{noise}")["observation"].values
    estimates = nlme.empirical_bayes(
        study.model,
        nlme.parameters_from_json(Path(snakemake.input.parameters).read_text()),
        study.records(observation),
    )
    store.write_group(
        dataset,
        f"estimates/noise_{noise}",
        study.label_estimates(estimates),
        Path(snakemake.output.marker),
        {"noise_variance": float(noise), "code": snakemake.params.code},
    )
