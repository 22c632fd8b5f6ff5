"""Blur eta into eta_hat and simulate the records that it drives."""

from pathlib import Path

from covary import association, rng, store
from covary.config import Longitudinal
from covary.job import job
from covary.longitudinal import Study

with job(snakemake.log[0]):
    study = Study(Longitudinal(**snakemake.params.longitudinal))
    seed, noise = snakemake.params.seed, snakemake.wildcards.noise
    dataset = Path(snakemake.input.subjects).parents[1] / "dataset.zarr"
    eta = store.read(dataset, "subjects")["eta"].values
    r = rng.normal(seed, f"association/noise_{noise}", 0, len(eta), eta.shape[1:])
    eta_hat = association.blur(eta, float(noise), r)
    observation = study.simulate(eta_hat, seed=seed, stream=f"residual_error/noise_{noise}")
    store.write_group(
        dataset,
        f"longitudinal/noise_{noise}",
        study.label_records(eta_hat, observation),
        Path(snakemake.output.marker),
        {"noise_variance": float(noise), "seed": seed, "code": snakemake.params.code},
    )
