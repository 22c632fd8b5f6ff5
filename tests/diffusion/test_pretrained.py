"""Fine-tuning of a diffusion model in the space of its own autoencoder."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from tiny import SCHEDULE, save_tiny_stable_diffusion, tiny_autoencoder

from covary import rng
from covary.config.generator import Generator, Sampling
from covary.diffusion import (
    ImageGenerator,
    LatentSpace,
    cache_latents,
    generate,
    load_autoencoder,
    train_generator,
)
from covary.vae import VAE

SIZE_PX, LATENT_DIM = 16, 3


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return save_tiny_stable_diffusion(tmp_path_factory.mktemp("stable_diffusion"))


def config(source, **keys) -> Generator:
    return Generator(
        pretrained=str(source), conditioning="paper", steps=4, batch_size=4, checkpoint_steps=2, **keys
    )


def images(n: int) -> np.ndarray:
    return rng.generator(1, "images").integers(0, 256, (n, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)


def train(source: Path, folder: Path, **keys):
    """A generator fine-tuned from `source`, and its training history."""
    torch.manual_seed(0)
    vae = VAE(SIZE_PX, LATENT_DIM, 2)
    space = LatentSpace(load_autoencoder(str(source)), SIZE_PX)
    mean = rng.normal(1, "mean", 0, 12, (LATENT_DIM,)).astype(np.float32)
    data = space.encode(images(12))
    return train_generator(
        data, mean, mean - 2, vae, SIZE_PX, config(source, **keys), 1, folder / "checkpoints"
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_latents_are_draws_from_the_posterior_of_the_image(channels):
    torch.manual_seed(0)
    autoencoder = tiny_autoencoder(channels).eval()
    space = LatentSpace(autoencoder, SIZE_PX)
    stored = space.encode(images(1))
    assert stored.dtype == np.float16 and stored.shape == (1, 8, 8, 8)
    colours = torch.from_numpy(images(1) / 127.5 - 1).float().expand(-1, channels, -1, -1)
    with torch.no_grad():
        posterior = autoencoder.encode(colours).latent_dist
    draws = space.read(np.repeat(stored, 4000, axis=0), torch.Generator().manual_seed(1), torch.device("cpu"))
    scale = autoencoder.config.scaling_factor
    sd = scale * posterior.std
    assert ((draws.mean(dim=0) - scale * posterior.mean).abs() < 6 * sd / 4000**0.5 + 1e-3).all()
    torch.testing.assert_close(draws.std(dim=0), sd[0], rtol=0.1, atol=1e-3)


def test_images_of_latents_are_the_luma_of_their_decoding():
    torch.manual_seed(0)
    autoencoder = tiny_autoencoder().eval()
    space = LatentSpace(autoencoder, SIZE_PX)
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        red, green, blue = autoencoder.decode(x / 0.18215).sample.unbind(dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    torch.testing.assert_close(space.to_images(x), (luma[:, None] + 1) / 2)
    with pytest.raises(ValueError, match=r"images\.generator_size_px .* multiple of 2, .* got 15"):
        LatentSpace(autoencoder, 15)


def test_latents_are_cached_once_and_an_interrupted_cache_goes_on(source, tmp_path):
    space = LatentSpace(load_autoencoder(str(source)), SIZE_PX)
    many = images(600)
    cache_latents(space, many, tmp_path / "whole.npy", tmp_path / "a", "id")
    expected = np.load(tmp_path / "whole.npy")
    np.testing.assert_allclose(expected[:3], space.encode(many[:3]), atol=1e-2)

    class Killed(BaseException):
        """Stands for the end of the process."""

    broken = space.encode
    left = iter(range(60))

    def encode(batch):
        if next(left, None) is None:
            raise Killed
        return broken(batch)

    space.encode = encode
    with pytest.raises(Killed):
        cache_latents(space, many, tmp_path / "cut.npy", tmp_path / "b", "id")
    space.encode = broken
    assert not (tmp_path / "cut.npy").exists()
    encoded = []
    space.encode = lambda batch: encoded.append(len(batch)) or broken(batch)
    cache_latents(space, many, tmp_path / "cut.npy", tmp_path / "b", "id")
    assert sum(encoded) == 600 - 256
    np.testing.assert_array_equal(np.load(tmp_path / "cut.npy"), expected)
    assert not (tmp_path / "b").exists()


def test_fine_tuning_starts_from_the_weights_given_and_leaves_the_autoencoder_alone(source, tmp_path):
    generator, history = train(source, tmp_path, learning_rate=1e-12, weight_decay=0.0, ema_decay=0.0)
    assert history["step"].tolist() == [2, 4]
    before = UNet2DConditionModel.from_pretrained(source / "unet").state_dict()
    for name, value in generator.unet.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-9)
    moved, _ = train(source, tmp_path, learning_rate=1e-3)
    assert any(not torch.equal(value, before[name]) for name, value in moved.unet.state_dict().items())
    frozen = AutoencoderKL.from_pretrained(source / "vae").state_dict()
    for name, value in moved.space.autoencoder.state_dict().items():
        assert torch.equal(value, frozen[name])
    assert generator.scheduler.config.prediction_type == "epsilon"


def test_saved_generator_is_loadable_by_diffusers_and_draws_the_same(source, tmp_path):
    generator, _ = train(source, tmp_path)
    generator.save(tmp_path)
    z, subjects, few = np.ones((3, LATENT_DIM)), np.arange(3), Sampling(solver="dpmsolver++", steps=3)
    drawn = generate(generator, z, subjects, few, 1)
    assert drawn.shape == (3, 1, SIZE_PX, SIZE_PX)
    np.testing.assert_array_equal(drawn, generate(ImageGenerator.load(tmp_path), z, subjects, few, 1))
    assert UNet2DConditionModel.from_pretrained(tmp_path / "unet").config.cross_attention_dim == 768
    assert AutoencoderKL.from_pretrained(tmp_path / "autoencoder").config.scaling_factor == 0.18215
    assert DDPMScheduler.from_pretrained(tmp_path / "scheduler").config.beta_end == 0.012


@pytest.mark.parametrize("solver", ["dpmsolver++", "unipc", "ddim", "ddpm"])
def test_every_solver_draws_images_that_do_not_depend_on_the_batch(source, solver):
    torch.manual_seed(0)
    generator = ImageGenerator.initialise(config(source), VAE(SIZE_PX, LATENT_DIM, 2).eval(), SIZE_PX)
    z, few = rng.normal(1, "z", 0, 5, (LATENT_DIM,)), Sampling(solver=solver, steps=4, batch_size=5)
    together = generate(generator, z, np.arange(5), few, 1).astype(int)
    alone = generate(generator, z, np.arange(5), few.model_copy(update={"batch_size": 2}), 1).astype(int)
    assert np.abs(together - alone).max() <= 1 and np.isfinite(together).all()


def test_the_papers_reference_sampler_has_its_timesteps():
    """50 leading steps, 981 … 1, as the paper's notebook takes them."""
    from covary.diffusion.sample import _solver

    solver = _solver(Sampling(solver="ddpm", steps=50), DDPMScheduler(**SCHEDULE))
    assert solver.timesteps.tolist() == list(range(981, 0, -20))


def test_faults_are_one_line_with_the_path_and_the_key(source, tmp_path):
    def fault(pretrained) -> str:
        with pytest.raises(ValueError, match=r"^generator\.pretrained: ") as caught:
            ImageGenerator.initialise(config(pretrained), VAE(SIZE_PX, LATENT_DIM, 2), SIZE_PX)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert f"{tmp_path}/none: no such directory" in fault(tmp_path / "none")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "unet").symlink_to(source / "unet")
    assert "half/vae/config.json: no such file" in fault(tmp_path / "half")
    for name in ("vae", "scheduler"):
        (tmp_path / "half" / name).symlink_to(source / name)
    (tmp_path / "half" / "unet").unlink()
    (tmp_path / "half" / "unet").mkdir()
    (tmp_path / "half" / "unet" / "config.json").write_bytes((source / "unet" / "config.json").read_bytes())
    (tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors").write_text("no weights")
    assert "unet of" in fault(tmp_path / "half")
    with pytest.raises(ValueError, match=r"too narrow for 800 latents \(vae\.latent_dim\)"):
        ImageGenerator.initialise(config(source), VAE(SIZE_PX, 800, 2), SIZE_PX)


@pytest.mark.slow
def test_two_processes_train_what_one_does(source, tmp_path):
    for processes in (1, 2):
        command = [sys.executable, __file__, str(processes), str(source), str(tmp_path / str(processes))]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    one, two = (ImageGenerator.load(tmp_path / n).unet.state_dict() for n in ("1", "2"))
    start = UNet2DConditionModel.from_pretrained(source / "unet").state_dict()

    def apart(a: dict, b: dict) -> float:
        return sum((a[name] - b[name]).double().square().sum().item() for name in one) ** 0.5

    assert apart(one, two) < 1e-2 * apart(one, start)  # rounding, of which Adam makes more


def train_and_save(source: str, folder: str) -> None:
    from covary.training.device import is_main_process

    # Nothing that divides by tiny gradients, so that rounding stays rounding.
    generator, _ = train(
        Path(source), Path(folder), learning_rate=1e-4, noise_offset=0.1, condition_dropout=0.2
    )
    if is_main_process():
        generator.save(Path(folder))


if __name__ == "__main__":
    if sys.argv[1] == "1":
        train_and_save(*sys.argv[2:])
    else:
        from accelerate import debug_launcher

        debug_launcher(train_and_save, tuple(sys.argv[2:]), num_processes=2)
