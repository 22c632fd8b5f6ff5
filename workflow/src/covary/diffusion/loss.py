"""How far the generator's prediction is from what it should predict."""

from diffusers.training_utils import compute_snr
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from covary.diffusion.generator import ImageGenerator


def reading_errors(
    generator: ImageGenerator,
    z: Float[Tensor, "batch latent"],
    noise: Float[Tensor, "batch c h w"],
    t: Int64[Tensor, " batch"],
    readable: Bool[Tensor, " latent"],
) -> Float[Tensor, " batch"]:
    """Mean squared error, over `readable` latents, with which the encoder reads z from what is drawn for it.

    There is no image for a z ~ N(0, I). So what is noised to the timesteps `t` is its decoding, and what the
    network predicts for it is read. The network must predict x_0 and refine decodings.
    """
    decoding = generator.decoding(z)
    x_t = generator.scheduler.add_noise(noise.new_zeros(noise.shape), noise, t)  # the decoding lacks nothing
    predicted = generator.predict(x_t, t, z, decoding).float()
    drawn = generator.images(predicted, decoding).clamp(0, 1)
    mean, _ = generator.vae.encode(drawn)
    return (mean - z)[:, readable].square().mean(dim=1)


def squared_errors(
    generator: ImageGenerator,
    x: Float[Tensor, "batch c h w"],
    z: Float[Tensor, "batch latent"],
    noise: Float[Tensor, "batch c h w"],
    t: Int64[Tensor, " batch"],
    without_z: Bool[Tensor, " batch"],
    min_snr_gamma: float | None = None,
) -> Float[Tensor, " batch"]:
    """Mean squared error of the prediction for each image, with min-SNR weights (arXiv:2303.09556) if asked.

    `x` are images in the generator's space, noised to the timesteps `t` of its schedule. Where `without_z` is
    true, the network sees zeros in place of z and of its decoding.
    """
    scheduler = generator.scheduler
    decoding = generator.decoding(z)
    x_0 = generator.diffusable(x, decoding)
    x_t = scheduler.add_noise(x_0, noise, t)
    z = z.masked_fill(without_z[:, None], 0)
    if decoding is not None:
        decoding = decoding.masked_fill(without_z[:, None, None, None], 0)
    predicted = generator.predict(x_t, t, z, decoding).float()
    target = generator.target(x_0, noise, t)
    squared_error = (predicted - target).square().mean(dim=(1, 2, 3))
    if min_snr_gamma is not None:
        snr = compute_snr(scheduler, t)
        to_error_of_x_0 = {"sample": 1, "epsilon": snr, "v_prediction": snr + 1}
        weight = snr.clamp(max=min_snr_gamma) / to_error_of_x_0[scheduler.config.prediction_type]
        squared_error = squared_error * weight
    return squared_error
