"""The image VAE: architecture, loss, training, latent ranking."""

from covary.vae.loss import kl_divergence, warmed_up_beta
from covary.vae.network import VAE, draw_posterior
from covary.vae.ranking import rank_latents
from covary.vae.train import decode, encode, train_vae

__all__ = [
    "VAE",
    "decode",
    "draw_posterior",
    "encode",
    "kl_divergence",
    "rank_latents",
    "train_vae",
    "warmed_up_beta",
]
