"""The image VAE: architecture, loss, training, latent ranking."""

from covary.vae.conditioning import READABLE_VARIANCE, conditioning, joint_distribution
from covary.vae.families.beta import draw_posterior
from covary.vae.families.spike_slab import draw_gated
from covary.vae.loss import kl_divergence, warmed_up_beta, with_free_bits
from covary.vae.network import VAE
from covary.vae.perceptual import PerceptualLoss, perceptual_loss
from covary.vae.ranking import rank_latents, ranking_agreement, read_back
from covary.vae.start import write_start
from covary.vae.train import train_vae
from covary.vae.use import decode, encode, gates, seen

__all__ = [
    "READABLE_VARIANCE",
    "VAE",
    "PerceptualLoss",
    "conditioning",
    "decode",
    "draw_gated",
    "draw_posterior",
    "encode",
    "gates",
    "joint_distribution",
    "kl_divergence",
    "perceptual_loss",
    "rank_latents",
    "ranking_agreement",
    "read_back",
    "seen",
    "train_vae",
    "warmed_up_beta",
    "with_free_bits",
    "write_start",
]
