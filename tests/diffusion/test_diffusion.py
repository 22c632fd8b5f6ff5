import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import rng
from covary.config import Generator, Sampling
from covary.diffusion import ImageGenerator, generate, initial_noise, train_generator
from covary.diffusion.generator import fold, unfold
from covary.vae import VAE

SIZE_PX, LATENT_DIM = 16, 3
SMALL = Generator(block_channels=[16, 16])
FEW_STEPS = Sampling(steps=4)


def small_generator(config: Generator = SMALL, seed: int = 0) -> ImageGenerator:
    torch.manual_seed(seed)
    return ImageGenerator.initialise(config, VAE(SIZE_PX, LATENT_DIM, 4).eval())


@given(st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=20)
def test_folding_is_orthogonal_and_undone_by_unfolding(patch_px, batch, seed):
    x = torch.randn(batch, 1, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(seed))
    folded = fold(x, patch_px)
    assert folded.shape == (batch, patch_px**2, SIZE_PX // patch_px, SIZE_PX // patch_px)
    assert torch.equal(unfold(folded, patch_px), x)
    assert torch.equal(folded.flatten().sort().values, x.flatten().sort().values)


def test_one_token_is_the_same_function_as_77_equal_tokens():
    generator = small_generator(Generator(block_channels=[16, 16], conditioning="token"))
    x, t, z = torch.randn(2, 16, 4, 4), torch.tensor([3, 900]), torch.randn(2, LATENT_DIM)
    with torch.no_grad():
        one = generator.velocity(x, t, z, None)
        tokens = z[:, None].expand(-1, 77, -1)
        many = generator.unet(x, t, encoder_hidden_states=tokens, class_labels=z).sample
        other = generator.velocity(x, t, -z, None)
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("conditioning", ["residual", "token"])
def test_image_is_the_inverse_of_diffusable(conditioning):
    generator = small_generator(Generator(block_channels=[16, 16], conditioning=conditioning))
    generator.residual_scale = 0.3
    x, decoding = torch.rand(2, 1, SIZE_PX, SIZE_PX), generator.decoding(torch.randn(2, LATENT_DIM))
    assert (decoding is None) == (conditioning == "token")
    torch.testing.assert_close(generator.image(generator.diffusable(x, decoding), decoding), x)


def test_the_schedule_ends_in_pure_noise():
    assert small_generator().scheduler.alphas_cumprod[-1] < 1e-6


@pytest.mark.parametrize("conditioning", ["residual", "token"])
def test_training_overfits_two_images_told_apart_by_z(conditioning, tmp_path):
    images = np.zeros((32, SIZE_PX, SIZE_PX), dtype=np.uint8)
    images[:16, :8], images[16:, :, :8] = 255, 255
    mean = np.zeros((32, LATENT_DIM), dtype=np.float32)
    mean[:16, 0], mean[16:, 0] = -1, 1
    log_variance = np.full_like(mean, -6)
    config = Generator(
        block_channels=[32, 32],
        conditioning=conditioning,
        steps=300,
        batch_size=32,
        ema_decay=0.9,
        learning_rate=2e-3,
    )
    torch.manual_seed(0)
    vae = VAE(SIZE_PX, LATENT_DIM, 4)
    generator, history = train_generator(images, mean, log_variance, vae, config, 1, tmp_path)
    assert history["step"].tolist() == [100, 200, 300]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    drawn = generate(generator, mean, initial_noise(9, 0, 32, SIZE_PX), Sampling())
    error = (drawn.astype(float) - images) / 255
    assert np.square(error).mean() < 0.05 < 0.4 * (images / 255).var()
    assert not list(tmp_path.iterdir())


def test_images_do_not_depend_on_the_batch_size():
    generator = small_generator()
    z = rng.normal(1, "z", 0, 7, (LATENT_DIM,))
    noise = initial_noise(2, 0, 7, SIZE_PX)
    together = generate(generator, z, noise, FEW_STEPS).astype(int)
    alone = generate(generator, z, noise, Sampling(steps=4, batch_size=1)).astype(int)
    assert np.abs(together - alone).max() <= 1
    assert together.std() > 10


def test_initial_noise_belongs_to_the_subject():
    np.testing.assert_array_equal(initial_noise(2, 0, 7, SIZE_PX)[4:], initial_noise(2, 4, 7, SIZE_PX))


@pytest.mark.parametrize("solver", ["unipc", "ddim"])
def test_solvers_agree_when_steps_are_many(solver):
    """The ODE has one solution, so with many steps each solver draws the same image."""
    generator, z, noise = small_generator(), np.zeros((2, LATENT_DIM)), initial_noise(3, 0, 2, SIZE_PX)
    drawn = generate(generator, z, noise, Sampling(solver=solver, steps=100)).astype(float)
    reference = generate(generator, z, noise, Sampling(solver="dpmsolver++", steps=100)).astype(float)
    assert np.abs(drawn - reference).mean() < 2 < np.abs(reference[0] - reference[1]).mean()


def test_saved_generator_draws_the_same_images_and_is_in_the_format_of_diffusers(tmp_path):
    generator, z, noise = small_generator(), np.ones((2, LATENT_DIM)), initial_noise(3, 0, 2, SIZE_PX)
    generator.save(tmp_path)
    np.testing.assert_array_equal(
        generate(generator, z, noise, FEW_STEPS), generate(ImageGenerator.load(tmp_path), z, noise, FEW_STEPS)
    )
    assert UNet2DConditionModel.from_pretrained(tmp_path / "unet").config.class_embed_type == "projection"
    assert DDPMScheduler.from_pretrained(tmp_path / "scheduler").config.prediction_type == "v_prediction"


def test_missing_part_of_a_generator_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"unet/config.json: no such file"):
        ImageGenerator.load(tmp_path)
