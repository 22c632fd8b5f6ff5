"""How far the generator's prediction is from what it should predict."""

from diffusers.training_utils import compute_snr
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from covary.diffusion.generator import ImageGenerator


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
