"""What is diffused: the pixels of an image, folded, or its latents in the space of an AutoencoderKL."""

import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from covary.errors import UserError
from covary.images.pixels import to_unit_range
from covary.jobs.progress import progress
from covary.jobs.resumable import Journal, RowWriter
from covary.training.device import device_of

_LUMA = 0.299, 0.587, 0.114  # ITU-R 601, as when colour images are read as grey
_ENCODING_BATCH = 8
_SYNC_IMAGES = 32 * _ENCODING_BATCH  # a killed job loses at most so many


class PixelSpace:
    """Values -1 … 1, each patch of patch_px × patch_px pixels being the channels of one place.

    An image of `image_channels` channels has image_channels · patch_px² channels in this space.
    """

    def __init__(self, size_px: int, patch_px: int, image_channels: int = 1):
        self.size_px, self.patch_px, self.image_channels = size_px, patch_px, image_channels
        self.channels, self.grid_px = image_channels * patch_px**2, size_px // patch_px
        self.noise_shape = (image_channels, size_px, size_px)

    def read(
        self, stored: UInt8[np.ndarray, "batch image_c h w"], draws: torch.Generator, device: torch.device
    ) -> Float[Tensor, "batch c grid_h grid_w"]:
        """Images as they are diffused; draws nothing."""
        return self.fold(2 * to_unit_range(stored, device) - 1)

    def from_noise(self, noise: Float[Tensor, "batch image_c h w"]) -> Float[Tensor, "batch c grid_h grid_w"]:
        """Noise drawn in `noise_shape`, as x_T."""
        return self.fold(noise)

    def to_images(self, x: Float[Tensor, "batch c grid_h grid_w"]) -> Float[Tensor, "batch image_c h w"]:
        """Images with values 0 … 1, not clipped."""
        return 0.5 * (torch.nn.functional.pixel_shuffle(x, self.patch_px) + 1)

    def fold(self, x: Float[Tensor, "batch image_c h w"]) -> Float[Tensor, "batch c grid_h grid_w"]:
        """Space to depth."""
        return torch.nn.functional.pixel_unshuffle(x, self.patch_px)


class LatentSpace:
    """Scaled latents of a frozen AutoencoderKL for images of one or three channels.

    A grey image goes in as three equal colours and comes out as luma. Three channels go in and come out as
    they are.

    Images are stored as the parameters of their posterior (mean and log variance along the channels), of
    which every training step draws anew, as latent diffusion does.
    """

    def __init__(self, autoencoder: AutoencoderKL, size_px: int, image_channels: int = 1):
        if image_channels not in (1, autoencoder.config.in_channels):
            raise UserError(
                f"generator.pretrained: its autoencoder sees 1 or {autoencoder.config.in_channels} channels, "
                f"the images have {image_channels}; select with images.channels, or set the key to null"
            )
        factor = 2 ** (len(autoencoder.config.block_out_channels) - 1)
        if size_px % factor:
            raise UserError(
                f"images.generator_size_px (or size_px) must be a multiple of {factor}, by which the "
                f"autoencoder of generator.pretrained reduces, got {size_px}"
            )
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.autoencoder.enable_slicing()
        self.size_px, self.image_channels = size_px, image_channels
        self.channels, self.grid_px = autoencoder.config.latent_channels, size_px // factor
        self.noise_shape = (self.channels, self.grid_px, self.grid_px)
        self._scale, self._shift = autoencoder.config.scaling_factor, autoencoder.config.shift_factor or 0.0

    @torch.no_grad()
    def encode(self, images: UInt8[np.ndarray, "n image_c h w"]) -> Float16[np.ndarray, "n c2 grid_h grid_w"]:
        """Posterior parameters of images, as they are stored."""
        x = 2 * to_unit_range(images, device_of(self.autoencoder)) - 1
        posterior = self.autoencoder.encode(x.expand(-1, self.autoencoder.config.in_channels, -1, -1))
        return posterior.latent_dist.parameters.half().cpu().numpy()

    def read(
        self,
        stored: Float16[np.ndarray, "batch c2 grid_h grid_w"],
        draws: torch.Generator,
        device: torch.device,
    ) -> Float[Tensor, "batch c grid_h grid_w"]:
        """A draw of the latents of stored images."""
        posterior = DiagonalGaussianDistribution(torch.from_numpy(np.ascontiguousarray(stored)).float())
        return (posterior.sample(draws).to(device) - self._shift) * self._scale

    def from_noise(
        self, noise: Float[Tensor, "batch c grid_h grid_w"]
    ) -> Float[Tensor, "batch c grid_h grid_w"]:
        """Noise drawn in `noise_shape`, as x_T."""
        return noise

    @torch.no_grad()
    def to_images(self, x: Float[Tensor, "batch c grid_h grid_w"]) -> Float[Tensor, "batch image_c h w"]:
        """Images with values 0 … 1, not clipped."""
        colours = self.autoencoder.decode(x / self._scale + self._shift).sample
        if self.image_channels < colours.shape[1]:
            colours = (colours * colours.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)
        return 0.5 * (colours.float() + 1)


Space = PixelSpace | LatentSpace


def cache_latents(
    space: LatentSpace,
    images: UInt8[np.ndarray, "n image_c h w"],
    path: Path,
    checkpoint_dir: Path,
    identity: str,
) -> None:
    """Write the posterior parameters of all images to the .npy file `path`, once and for all.

    A job that finds in `checkpoint_dir` what an earlier one with the same `identity` had done goes on from
    there.
    """
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    journal = Journal(checkpoint_dir / "journal.json", identity)
    done = next(iter(journal.read()), 0)
    row_shape = (2 * space.channels, space.grid_px, space.grid_px)
    writer = RowWriter(path, checkpoint_dir / "latents.part", row_shape, np.float16, done)
    try:
        with progress(len(images), done, "encode latents") as bar:
            for start in range(done, len(images), _ENCODING_BATCH):
                for row in space.encode(images[start : start + _ENCODING_BATCH]):
                    writer.append(row)
                bar.update(writer.rows - start)
                if writer.rows % _SYNC_IMAGES == 0:
                    writer.sync()
                    journal.write([writer.rows])
        writer.finish()
    finally:
        writer.close()
    shutil.rmtree(checkpoint_dir)
