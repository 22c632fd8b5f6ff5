import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from covary import rng
from covary.config.generator import Generator, Sampling
from covary.diffusion import ImageGenerator, PixelSpace, generate, initial_noise, train_generator
from covary.diffusion.loss import squared_errors
from covary.diffusion.train import _draw, _stratified_timesteps
from covary.errors import UserError
from covary.vae import VAE

SIZE_PX, LATENT_DIM = 16, 3
SMALL = Generator(block_channels=[16, 16])
FEW_STEPS = Sampling(steps=4)
SEED = 3


def small_generator(config: Generator = SMALL, seed: int = 0) -> ImageGenerator:
    torch.manual_seed(seed)
    return ImageGenerator.initialise(config, VAE(SIZE_PX, LATENT_DIM, 4).eval(), SIZE_PX)


@given(st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**31))
@settings(max_examples=20)
def test_folding_is_orthogonal_and_undone(patch_px, batch, channels, seed):
    space = PixelSpace(SIZE_PX, patch_px, channels)
    x = torch.randn(batch, channels, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(seed))
    folded = space.fold(2 * x - 1)
    assert folded.shape == (batch, channels * patch_px**2, SIZE_PX // patch_px, SIZE_PX // patch_px)
    torch.testing.assert_close(space.to_images(folded), x)
    assert torch.equal(folded.flatten().sort().values, (2 * x - 1).flatten().sort().values)


def test_one_token_is_the_same_function_as_the_papers_77_padded_ones():
    paper = small_generator(Generator(block_channels=[16, 16], conditioning="paper"))
    assert (paper.tokens, paper.token_width) == (77, 768)
    token = small_generator(Generator(block_channels=[16, 16], conditioning="token"))
    assert (token.tokens, token.token_width) == (1, LATENT_DIM)
    # Zeros see only the first columns of the weights of keys and values.
    weights = {
        key: value[:, :LATENT_DIM] if "attn2.to_k" in key or "attn2.to_v" in key else value
        for key, value in paper.unet.state_dict().items()
    }
    token.unet.load_state_dict(weights)
    x, t, z = torch.randn(2, 16, 4, 4), torch.tensor([3, 900]), torch.randn(2, LATENT_DIM)
    with torch.no_grad():
        many, one, other = (g.predict(x, t, s, None) for g, s in ((paper, z), (token, z), (token, -z)))
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("conditioning", ["residual", "token"])
def test_images_are_the_inverse_of_diffusable(conditioning):
    generator = small_generator(Generator(block_channels=[16, 16], conditioning=conditioning))
    generator.residual_scale = 0.3
    x, decoding = torch.rand(2, 1, SIZE_PX, SIZE_PX), generator.decoding(torch.randn(2, LATENT_DIM))
    assert (decoding is None) == (conditioning == "token")
    x_0 = generator.diffusable(generator.space.fold(2 * x - 1), decoding)
    torch.testing.assert_close(generator.images(x_0, decoding), x)


def test_the_schedule_ends_in_pure_noise():
    assert small_generator().scheduler.alphas_cumprod[-1] < 1e-6


@pytest.mark.parametrize("conditioning", ["residual", pytest.param("token", marks=pytest.mark.slow)])
def test_training_overfits_two_images_told_apart_by_z(conditioning, tmp_path):
    images = np.zeros((32, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    images[:16, 0, :8], images[16:, 0, :, :8] = 255, 255
    mean = np.zeros((32, LATENT_DIM), dtype=np.float32)
    mean[:16, 0], mean[16:, 0] = -1, 1
    log_variance = np.full_like(mean, -6)
    config = Generator(
        block_channels=[32, 32],
        conditioning=conditioning,
        steps=200,
        batch_size=32,
        ema_decay=0.9,
        learning_rate=2e-3,
    )
    torch.manual_seed(0)
    vae = VAE(SIZE_PX, LATENT_DIM, 4)
    generator, history = train_generator(images, mean, log_variance, vae, SIZE_PX, config, 1, tmp_path)
    assert history["step"].tolist() == [100, 200]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    drawn = generate(generator, mean, np.arange(32), Sampling(), 9)
    error = (drawn.astype(float) - images) / 255
    assert np.square(error).mean() < 0.05 < 0.4 * (images / 255).var()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("solver", ["unipc", "ddpm"])
def test_images_do_not_depend_on_the_batch_size(solver):
    generator = small_generator()
    z, subjects = rng.normal(1, "z", 0, 7, (LATENT_DIM,)), np.arange(7)
    few = Sampling(steps=4, solver=solver)
    together = generate(generator, z, subjects, few, SEED).astype(int)
    alone = generate(generator, z, subjects, few.model_copy(update={"batch_size": 1}), SEED).astype(int)
    later = generate(generator, z[4:], subjects[4:], few, SEED).astype(int)
    assert np.abs(together - alone).max() <= 1
    assert np.abs(together[4:] - later).max() <= 1
    assert together.std() > 10


def test_ddpm_draws_noise_of_its_own_for_each_subject():
    generator, z = small_generator(), np.zeros((2, LATENT_DIM))
    ddpm = Sampling(steps=4, solver="ddpm")
    one, two = generate(generator, z, np.array([5, 6]), ddpm, SEED).astype(int)
    assert np.abs(one - two).max() > 10
    again = generate(generator, z[:1], np.array([5]), ddpm, SEED).astype(int)
    assert np.abs(one - again[0]).max() <= 1


def test_initial_noise_belongs_to_the_subject():
    shape = (SIZE_PX, SIZE_PX)
    noise = initial_noise(2, np.arange(7), shape)
    np.testing.assert_array_equal(noise[4:], initial_noise(2, np.arange(4, 7), shape))
    np.testing.assert_array_equal(noise[[0, 0, 3]], initial_noise(2, np.array([0, 0, 3]), shape))


@pytest.mark.parametrize(
    ("solver", "spacing"), [("unipc", 1), ("unipc", 0.6), ("dpmsolver++", 0.6), ("ddim", 1)]
)
def test_solvers_agree_when_steps_are_many(solver, spacing):
    """The ODE has one solution, so with many steps each solver draws the same image, wherever they are."""
    generator, z, subjects = small_generator(), np.zeros((2, LATENT_DIM)), np.arange(2)
    # v of an untrained network is small beside the noise, its x_0 is not, and the ODE less smooth.
    generator.scheduler.register_to_config(prediction_type="v_prediction")
    keys = {} if spacing == 1 else {"spacing": spacing}
    drawn = generate(generator, z, subjects, Sampling(solver=solver, steps=100, **keys), SEED).astype(float)
    reference = generate(generator, z, subjects, Sampling(solver="dpmsolver++", steps=100), SEED).astype(
        float
    )
    assert np.abs(drawn - reference).mean() < 2 < np.abs(reference[0] - reference[1]).mean()


def test_steps_lie_where_the_spacing_says():
    from covary.diffusion.sample import _solver

    scheduler = small_generator().scheduler

    def timesteps(**keys) -> list[int]:
        return _solver(Sampling(**keys), scheduler).timesteps.tolist()

    assert timesteps(steps=4) == [999, 749, 499, 249]
    assert timesteps(steps=4, spacing=0.5) == [999, 865, 706, 499]
    assert timesteps(steps=4, spacing=0.5, solver="dpmsolver++") == [999, 865, 706, 499]
    with pytest.raises(
        UserError, match=r"sampling\.spacing: with 0\.001 two of 6 steps fall on one timestep"
    ):
        timesteps(spacing=0.001)
    with pytest.raises(ValidationError, match="spacing"):
        Sampling(solver="ddim", spacing=0.5)


def test_guidance_moves_from_the_image_without_z_to_the_one_with_it():
    config = Generator(block_channels=[16, 16], conditioning="token")
    generator, subjects = small_generator(config), np.array([0])
    z = np.full((1, LATENT_DIM), 2.0)
    one_step = Sampling(steps=1)

    def drawn(scale: float, z: np.ndarray) -> np.ndarray:
        guided = one_step.model_copy(update={"guidance_scale": scale})
        return generate(generator, z, subjects, guided, SEED).astype(float)

    unguided = generate(generator, z, subjects, one_step, SEED).astype(float)
    np.testing.assert_allclose(drawn(1 + 1e-9, z), unguided, atol=1)
    np.testing.assert_allclose(drawn(0.0, z), drawn(1.0, 0 * z), atol=1)


def test_without_z_the_network_sees_neither_it_nor_its_decoding():
    generator = small_generator()
    images = rng.generator(1, "images").integers(0, 256, (6, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    mean = rng.normal(1, "mean", 0, 6, (LATENT_DIM,)).astype(np.float32)
    seen = []
    generator.unet.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    config = SMALL.model_copy(update={"condition_dropout": 0.5})
    device = torch.device("cpu")
    drawn = _draw(
        generator, images, mean, mean, mean.std(axis=0), config, torch.Generator().manual_seed(1), device
    )
    squared_errors(generator, **vars(drawn))
    ((x, _), conditions), hidden = seen[0], drawn.without_z
    assert 0 < hidden.sum() < 6
    for value in (x[:, 16:], conditions["encoder_hidden_states"], conditions["class_labels"]):
        is_zero = value.flatten(1).abs().sum(dim=1) == 0
        assert torch.equal(is_zero, hidden)


def test_noise_offset_is_equal_over_a_channel_and_of_the_given_size():
    generator = small_generator(Generator(block_channels=[16, 16], patch_px=1))
    images, mean = np.zeros((200, 1, SIZE_PX, SIZE_PX), np.uint8), np.zeros((200, LATENT_DIM), np.float32)
    drawn = [
        _draw(
            generator, images, mean, mean, mean.std(axis=0),
            SMALL.model_copy(update={"noise_offset": offset}), torch.Generator().manual_seed(1),
            torch.device("cpu"),
        ).noise
        for offset in (0.0, 0.5)
    ]  # fmt: skip
    difference = drawn[1] - drawn[0]
    assert difference.std(dim=(2, 3)).max() < 1e-6
    assert difference[:, 0, 0, 0].std().item() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(400))


def test_each_part_of_the_schedule_has_one_image_of_a_batch():
    draws = torch.Generator().manual_seed(1)
    t = torch.stack([_stratified_timesteps(8, 1000, draws) for _ in range(2000)])
    assert torch.equal(t // 125, torch.arange(8).expand(2000, 8))
    assert set((t % 125).unique().tolist()) == set(range(125))


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_min_snr_weights_are_those_of_the_prediction(prediction_type):
    generator = small_generator(Generator(block_channels=[16, 16], conditioning="token"))
    generator.scheduler.register_to_config(prediction_type=prediction_type)
    images = np.zeros((8, 1, SIZE_PX, SIZE_PX), np.uint8)
    mean = np.zeros((8, LATENT_DIM), np.float32)
    draws = torch.Generator().manual_seed(1)
    drawn = _draw(generator, images, mean, mean, mean.std(axis=0), SMALL, draws, torch.device("cpu"))
    with torch.no_grad():
        weight = squared_errors(generator, **vars(drawn), min_snr_gamma=5.0)
        weight = weight / squared_errors(generator, **vars(drawn))
    kept = generator.scheduler.alphas_cumprod[drawn.t]
    snr = kept / (1 - kept)
    clipped = snr.clamp(max=5.0)
    expected = clipped / {"sample": 1, "epsilon": snr, "v_prediction": snr + 1}[prediction_type]
    torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)


def test_saved_generator_draws_the_same_images_and_is_in_the_format_of_diffusers(tmp_path):
    generator, z, subjects = small_generator(), np.ones((2, LATENT_DIM)), np.arange(2)
    generator.residual_scale = 0.4
    generator.save(tmp_path)
    np.testing.assert_array_equal(
        generate(generator, z, subjects, FEW_STEPS, SEED),
        generate(ImageGenerator.load(tmp_path), z, subjects, FEW_STEPS, SEED),
    )
    assert UNet2DConditionModel.from_pretrained(tmp_path / "unet").config.class_embed_type == "projection"
    assert DDPMScheduler.from_pretrained(tmp_path / "scheduler").config.prediction_type == "sample"


def test_missing_part_of_a_generator_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"conditioning.json: no such file"):
        ImageGenerator.load(tmp_path)
