"""The attack finds nothing in fresh images; a generator that learned 50 images by heart is caught."""

import numpy as np
import pytest
import torch

from covary import rng
from covary.config.generator import Generator
from covary.diffusion import ImageGenerator, train_generator, write_start
from covary.diffusion.membership import attack_errors, denoising_errors
from covary.quality.privacy import area_under_curve, attack_table
from covary.vae import VAE, encode
from covary.wording import ATTACK_BY_START

SIZE_PX, N = 16, 50


def textures(name: str) -> np.ndarray:
    """Smooth random images, of which no two are alike."""
    coarse = rng.normal(1, name, 0, N, (1, 5, 5)).astype(np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(SIZE_PX, SIZE_PX), mode="bicubic")
    return (127 + 50 * fine).clamp(0, 255).to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator after so many steps on 50 images, which is by far too many steps."""
    torch.manual_seed(0)
    vae, train = VAE(SIZE_PX, 4, 4).eval(), textures("train")
    mean, log_variance = encode(vae, train)
    config = Generator(
        block_channels=[32, 32], patch_px=2, steps=300, batch_size=25, learning_rate=2e-3,
        conditioning_source="posterior_mean",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("checkpoints")
    generator, _ = train_generator(train, mean, log_variance, vae, SIZE_PX, config, 1, folder)
    return generator


def test_images_learned_by_heart_are_caught(trained):
    members, others = (denoising_errors(trained, x, x, 1) for x in (textures("train"), textures("others")))
    area, low, _ = area_under_curve(-members, -others)
    assert area > 0.9 and low > 0.5
    table = attack_table(members, others, seed=1).set_index("measure")
    assert table.loc["membership_auc", "value"] == area
    assert table.loc["true_positives", "low"] > 0.01


def test_two_sets_that_were_not_seen_cannot_be_told_apart(trained):
    one, other = (denoising_errors(trained, x, x, 1) for x in (textures("others"), textures("further")))
    _, low, high = area_under_curve(-one, -other)
    assert low < 0.5 < high


def test_errors_do_not_depend_on_the_other_images(trained):
    images = textures("others")
    alone = denoising_errors(trained, images[:3], images[:3], 1)
    np.testing.assert_allclose(alone, denoising_errors(trained, images, images, 1)[:3], rtol=1e-3)


def test_a_network_that_only_started_gives_nothing_away_against_its_start(trained, tmp_path):
    """Whatever the images are: errors of the same network differ by nothing, and ties count half."""
    config = Generator(block_channels=[32, 32], patch_px=2)
    write_start(trained.unet, trained.residual_scale, config, SIZE_PX, 1, tmp_path / "start.safetensors")
    config = config.model_copy(update={"start": str(tmp_path / "start.safetensors")})
    untrained = ImageGenerator.initialise(config, trained.vae, SIZE_PX)
    members, others = (
        attack_errors(untrained, config, x, x, 1)[ATTACK_BY_START]
        for x in (textures("train"), textures("others"))
    )
    table = attack_table(members, others, seed=1, compared_by=ATTACK_BY_START).set_index("measure")
    assert table.loc["membership_auc", "value"] == 0.5 and set(table["space"]) == {ATTACK_BY_START}
