"""Empirical Bayes estimates of every subject's random effects from the record alone."""

from pathlib import Path

from covary import nlme, store
from covary.config.records import Longitudinal
from covary.jobs.job import job
from covary.records.study import Study

with job(snakemake.log[0]):
    study = Study(Longitudinal.model_validate(snakemake.params.longitudinal))
    noise = snakemake.wildcards.noise
    dataset = Path(snakemake.input.records).parents[2] / "dataset.zarr"
    fitted = Path(snakemake.input.parameters).read_text(encoding="utf-8")
    parameters = nlme.parameters_from_json(fitted)
    observation = store.read(dataset, f"longitudinal/noise_{noise}")["observation"]

    def estimate(part):
        records = study.records(observation[part.start : part.stop].values)
        return study.label_estimates(nlme.empirical_bayes(study.model, parameters, records))

    store.write_parts(
        dataset,
        f"estimates/noise_{noise}",
        len(observation),
        estimate,
        Path(snakemake.output.marker),
        {
            "noise_variance": float(noise),
            "code": snakemake.params.code,
            "records": store.read_marker(Path(snakemake.input.records))["sha256"],
            "parameters": fitted,
        },
    )
