"""Train the image VAE."""

from pathlib import Path

from covary import images, vae
from covary.config.vae import Vae
from covary.jobs.job import job

with job(snakemake.log[0]):
    prepared = images.load(Path(snakemake.input.index).parent)
    folder = Path(snakemake.output.weights).parent
    model, history = vae.train_vae(
        prepared.train,
        prepared.test,
        Vae(**snakemake.params.vae),
        seed=snakemake.params.seed,
        checkpoint_dir=folder / "checkpoints" / snakemake.params.code,
        active_variance=snakemake.params.active_variance,
    )
    model.save(folder)
    history.to_csv(snakemake.output.history, index=False)
