"""Blur eta into eta_hat and simulate the records that it drives."""

from pathlib import Path

from covary import rng, store
from covary.config.records import Longitudinal
from covary.dataset import association
from covary.jobs.job import job
from covary.records.study import Study

with job(snakemake.log[0]):
    study = Study(Longitudinal(**snakemake.params.longitudinal))
    seed, noise = snakemake.params.seed, snakemake.wildcards.noise
    dataset = Path(snakemake.input.subjects).parents[1] / "dataset.zarr"
    every_eta = store.read(dataset, "subjects")["eta"]

    def simulate(part):
        eta = every_eta[part.start : part.stop].values
        r = rng.normal(seed, f"association/noise_{noise}", part.start, part.stop, eta.shape[1:])
        eta_hat = association.blur(eta, float(noise), r)
        stream = f"residual_error/noise_{noise}"
        observation = study.simulate(eta_hat, seed=seed, stream=stream, start=part.start)
        return study.label_records(eta_hat, observation)

    store.write_parts(
        dataset,
        f"longitudinal/noise_{noise}",
        len(every_eta),
        simulate,
        Path(snakemake.output.marker),
        {
            "noise_variance": float(noise),
            "seed": seed,
            "code": snakemake.params.code,
            "subjects": store.read_marker(Path(snakemake.input.subjects))["sha256"],
        },
    )
