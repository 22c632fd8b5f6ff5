"""The families of image VAEs: networks, gates, divergences, adversaries, and trainings that are resumed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covary.config.base import ConfigError
from covary.config.experiment import Config
from covary.config.phenotypes import Phenotypes
from covary.config.reading import check
from covary.config.vae import Adversary, Sparsity, Vae
from covary.training import checkpoint
from covary.vae import VAE, draw_gated, encode, train_vae
from covary.vae.families.adversarial import Discriminator, Opponent
from covary.vae.families.beta import Gaussian, GaussianPosterior
from covary.vae.families.catalogue import FAMILIES
from covary.vae.families.cyto import last_grid_px
from covary.vae.families.spike_slab import SpikeSlab, SpikeSlabPosterior

SIZES_PX = {"compact": 32, "cyto": 36}


def weights(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spots(n: int, size_px: int, channels: int) -> np.ndarray:
    """Bright spots of known places on a dark ground."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:size_px, :size_px]
    at = draw.uniform(8, size_px - 8, (2, n, channels, 1, 1))
    return np.rint(255 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 30)).astype(np.uint8)


@pytest.mark.parametrize(("posterior", "expected"), [("gaussian", 747_107), ("spike_and_slab", 952_675)])
def test_cyto_is_the_network_of_the_paper(posterior, expected):
    vae = VAE(68, 256, 32, "cyto", channels=3, posterior=posterior).eval()
    assert weights(vae) == expected
    x = torch.rand(2, 3, 68, 68)
    mean, _ = vae.encode(x)
    assert mean.shape == (2, 256) and vae.decode(mean).shape == x.shape


def test_the_discriminator_is_that_of_the_paper():
    discriminator = Discriminator(68, 3, 32)
    assert weights(discriminator) == 105_345
    features, logits = discriminator(torch.rand(2, 3, 68, 68))
    assert [level[0].numel() for level in features] == [32_768, 6_272, 800, 64]
    assert logits.shape == (2,)


def test_the_encoder_of_cyto_gives_log_sd():
    vae = VAE(36, 2, 4, "cyto").eval()
    h = vae.encoder[:-1](torch.rand(3, 1, 36, 36))
    torch.testing.assert_close(vae.encode(torch.rand(3, 1, 36, 36))[1].shape, h[:, 2:].shape)
    torch.testing.assert_close(vae.encoder[-1](h)[:, 2:], 2 * h[:, 2:])


@given(st.integers(1, 12))
def test_cyto_comes_back_to_the_size_of_the_image(grid_px):
    size_px = 28 + 8 * grid_px
    assert last_grid_px(size_px) == grid_px
    for wrong in (size_px + 1, size_px - 4, 28):
        with pytest.raises(ValueError, match="28 and a multiple of 8"):
            last_grid_px(wrong)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("architecture", "channels"), [("compact", 1), ("cyto", 3)])
def test_families_architectures_and_channels_are_independent(family, architecture, channels, tmp_path):
    size_px = SIZES_PX[architecture]
    images = spots(12, size_px, channels)
    config = Vae(
        family=family, architecture=architecture, latent_dim=3, base_channels=4, epochs=1, batch_size=6
    )
    vae, history = train_vae(images, images[:4], config, 1, tmp_path)
    mean, log_variance = encode(vae, images)
    assert mean.shape == log_variance.shape == (12, 3) and np.isfinite(log_variance).all()
    assert ("open_share" in history) == config.is_sparse
    assert ("discriminator" in history) == ("features" in history) == config.has_adversary
    vae.save(tmp_path)
    np.testing.assert_array_equal(encode(VAE.load(tmp_path), images)[0], mean)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_training_of_each_family_ends_with_the_bytes_of_one_that_was_not(
    family, tmp_path, monkeypatch
):
    images = spots(12, 36, 3)
    config = Vae(family=family, architecture="cyto", latent_dim=3, base_channels=4, epochs=3, batch_size=6)
    whole, history = train_vae(images, images[:4], config, 1, tmp_path / "whole")
    write = checkpoint.Checkpoint.write

    def killed(self, completed, rows):
        write(self, completed, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "write", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_vae(images, images[:4], config, 1, tmp_path / "killed")
    monkeypatch.undo()
    resumed, again = train_vae(images, images[:4], config, 1, tmp_path / "killed")
    assert history.equals(again)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("gamma", "mean", "below"), [(0.1, 0.10, 0.80), (0.5, 0.50, 0.40), (0.9, 0.90, 0.03)]
)
def test_gates_of_the_reference_are_open_with_probability_gamma(gamma, mean, below):
    n = 200_000
    q = SpikeSlabPosterior(torch.ones(n, 1), torch.full((n, 1), -40.0), torch.full((n, 1), math.log(gamma)))
    gate = SpikeSlab(Vae(family="sparse_vae")).draw(q, draws(), epoch=0)
    assert gate.mean().item() == pytest.approx(mean, abs=0.01)
    assert (gate < 0.05).float().mean().item() > below
    assert ((gate > 0.05) & (gate < 0.95)).float().mean().item() < 0.13


def test_the_papers_gate_is_soft():
    n = 200_000
    q = SpikeSlabPosterior(torch.ones(n, 1), torch.full((n, 1), -40.0), torch.full((n, 1), math.log(0.1)))
    gate = SpikeSlab(Vae(family="sparse_vae", sparsity=Sparsity(gate="paper"))).draw(q, draws(), epoch=0)
    assert gate.mean().item() == pytest.approx(0.32, abs=0.01)
    assert gate.std().item() == pytest.approx(0.19, abs=0.01)
    assert (gate < 0.05).float().mean().item() == pytest.approx(0.02, abs=0.01)


def test_gates_become_steeper_from_epoch_to_epoch():
    n = 50_000
    q = SpikeSlabPosterior(torch.ones(n, 1), torch.full((n, 1), -40.0), torch.full((n, 1), math.log(0.5)))
    prior = SpikeSlab(Vae(family="sparse_vae", sparsity=Sparsity(steepness=10, steepness_growth=10)))
    between = [
        ((gate > 0.05) & (gate < 0.95)).float().mean().item()
        for gate in (prior.draw(q, draws(), epoch) for epoch in (0, 1, 9))
    ]
    assert between[0] > 1.5 * between[1] > 3 * between[2]


def hard_draws(q: SpikeSlabPosterior, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """z ~ q of one latent with gates that are 0 or 1, and which are open."""
    is_open = torch.rand((n, 1), generator=draws(1)) < q.log_gate.exp()
    slab = q.mean + torch.randn((n, 1), generator=draws(2)) * torch.exp(0.5 * q.log_variance)
    return torch.where(is_open, slab, 0.0), is_open


@settings(max_examples=30)
@given(st.floats(0.02, 0.98), st.floats(-2, 2), st.floats(-2, 1), st.sampled_from([0.05, 0.1, 0.5]))
def test_the_divergence_is_that_of_monte_carlo(gamma, mean, log_variance, alpha):
    one = torch.ones(1, 1, dtype=torch.float64)
    q = SpikeSlabPosterior(mean * one, log_variance * one, math.log(gamma) * one)
    prior = SpikeSlab(Vae(family="sparse_vae", sparsity=Sparsity(alpha=alpha)))
    z, is_open = hard_draws(q, 20_000)
    of = torch.distributions.Normal
    ratio = (
        math.log(gamma / alpha)
        + of(q.mean, torch.exp(0.5 * q.log_variance)).log_prob(z)
        - of(0.0, 1.0).log_prob(z)
    )
    closed = math.log((1 - gamma) / (1 - alpha))
    samples = torch.where(is_open, ratio, closed)
    error = samples.std().item() / math.sqrt(len(samples))
    assert prior.kl(q).item() == pytest.approx(samples.mean().item(), abs=5 * error + 1e-6)
    assert prior.kl(q).item() >= -1e-9


def test_the_divergence_is_zero_at_the_prior_alone_and_finite_at_gates_of_zero_and_one():
    zero = torch.zeros(1, 1, dtype=torch.float64)
    prior = SpikeSlab(Vae(family="sparse_vae"))
    assert prior.kl(SpikeSlabPosterior(zero, zero, zero + math.log(0.1))).item() == pytest.approx(0, abs=1e-9)
    assert prior.kl(SpikeSlabPosterior(zero, zero, zero)).item() == pytest.approx(math.log(10), abs=1e-3)
    shut = prior.kl(SpikeSlabPosterior(zero, zero, zero - 200))
    assert shut.item() == pytest.approx(-math.log(0.9), abs=1e-3)


def test_with_all_gates_open_the_slab_is_the_gaussian_family():
    mean, log_variance = torch.randn(2, 64, 3, generator=draws()).double()
    wide = SpikeSlabPosterior(mean, log_variance, torch.zeros_like(mean))
    prior = SpikeSlab(Vae(family="sparse_vae", sparsity=Sparsity(alpha=0.999999)))
    gaussian = Gaussian(Vae()).kl(GaussianPosterior(mean, log_variance))
    torch.testing.assert_close(prior.kl(wide), gaussian, atol=1e-4, rtol=1e-4)


def test_moments_of_the_spike_and_slab_are_those_of_its_draws():
    q = SpikeSlabPosterior(*(torch.full((1, 1), v) for v in (1.5, math.log(0.25), math.log(0.3))))
    z, _ = hard_draws(q, 400_000)
    mean, log_variance = q.moments()
    assert mean.item() == pytest.approx(z.mean().item(), abs=0.01)
    assert log_variance.exp().item() == pytest.approx(z.var().item(), rel=0.02)


def test_the_density_is_right_where_z_is_zero_and_where_it_is_not():
    q = SpikeSlabPosterior(*(torch.full((2, 1), v) for v in (1.5, math.log(0.25), math.log(0.3))))
    z = torch.tensor([[0.0], [1.0]])
    slab = 0.3 * math.exp(torch.distributions.Normal(1.5, 0.5).log_prob(torch.tensor(1.0)).item())
    expected = -0.5 * (math.log(0.7) + math.log(slab) + 0.5 * math.log(2 * math.pi))
    density = SpikeSlab(Vae(family="sparse_vae")).negative_log_density(z, q)
    assert density.item() == pytest.approx(expected, abs=1e-4)


def test_samples_of_the_prior_are_sparse():
    z = SpikeSlab(Vae(family="sparse_vae")).sample(20_000, 4, draws())
    assert (z != 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert z[z != 0].var().item() == pytest.approx(1, abs=0.05)


def test_posteriors_cannot_overflow():
    wild = torch.tensor([[0.0, 0.0, 1e9, -1e9, 1e9, -1e9]])
    for q in (SpikeSlabPosterior.of(wild), GaussianPosterior.of(wild[:, 1:5])):
        assert torch.isfinite(torch.cat([*q.moments()])).all()
    assert SpikeSlabPosterior.of(wild).log_gate.max() <= 0


def opponent(**settings) -> Opponent:
    torch.manual_seed(0)
    return Opponent(36, 1, Adversary(**settings), weight_decay=0.0)


def test_features_of_equal_images_match_and_the_discriminator_does_not_learn_from_it():
    x = torch.rand(4, 1, 36, 36)
    other = opponent()
    assert other.mismatch(other.look(x, x.clone()), 0).item() == pytest.approx(0, abs=1e-10)
    x_hat = torch.rand(4, 1, 36, 36, requires_grad=True)
    other.mismatch(other.look(x, x_hat), 0).backward(inputs=[x_hat])
    assert x_hat.grad.abs().sum() > 0
    assert all(p.grad is None for p in other.discriminator.parameters())


def test_both_networks_learn_from_one_pass_as_from_a_pass_each():
    x, x_hat = torch.rand(4, 1, 36, 36), torch.rand(4, 1, 36, 36)
    slopes, weights = [], []
    for passes in (1, 2):
        other, drawn = opponent(), x_hat.clone().requires_grad_()
        seen = other.look(x, drawn)
        other.mismatch(seen, 0).backward(inputs=[drawn], retain_graph=True)
        other.learn(seen if passes == 1 else other.look(x, x_hat))
        slopes.append(drawn.grad)
        weights.append([p.detach() for p in other.discriminator.parameters()])
    assert torch.equal(*slopes) and all(map(torch.equal, *weights))


def test_levels_that_are_matched_and_their_progressive_weights():
    n = len(opponent().discriminator.levels)
    assert opponent().level_weights(0) == [1.0] * n
    assert opponent(levels="all_but_last").level_weights(0) == [1.0] * (n - 1)
    ramp = opponent(progressive_steps=10)
    assert ramp.level_weights(0) == [0.0] * n
    assert ramp.level_weights(15)[:2] == [0.5, 0.0]
    assert ramp.level_weights(10 * (n + 1)) == [1.0] * n


def test_the_discriminator_learns_to_tell_noise_from_spots_also_image_by_image():
    real = torch.from_numpy(spots(32, 36, 1)).float() / 255
    fake = 0.3 * torch.rand(32, 1, 36, 36, generator=draws())
    other = opponent()
    for _ in range(30):
        found = other.learn(other.look(real, fake))
    assert found["discriminator_accuracy"] == 1
    # One batch of both in training: the moments of batch normalisation hold for real and fake alone, too.
    with torch.no_grad():
        for _ in range(30):  # until they are those of the weights at the end
            other.discriminator(torch.cat([real, fake]))
    other.discriminator.eval()
    assert (other.discriminator(real)[1] > 0).float().mean() > 0.9
    assert (other.discriminator(fake)[1] < 0).float().mean() > 0.9


def test_a_sparse_vae_uses_about_the_share_of_latents_that_its_prior_expects(tmp_path):
    images = spots(48, 32, 1)
    config = Vae(
        family="sparse_vae", latent_dim=10, base_channels=8, epochs=60, batch_size=12, beta=1.0,
        mse_weight=1024.0, sleep_weight=0.0, horizontal_flip=False, sparsity=Sparsity(alpha=0.3),
    )  # fmt: skip
    _, history = train_vae(images, images, config, 2, tmp_path)
    assert history["test_mse"].iloc[-1] < 0.5 * history["test_mse"].iloc[0]
    assert 0.15 < history["open_share"].iloc[-1] < 0.45


def test_draws_from_moments_and_gates_have_those_moments_and_gates():
    n = 200_000
    q = SpikeSlabPosterior(*(torch.full((n, 2), v) for v in (1.5, math.log(0.3), math.log(0.25))))
    q.log_gate[:, 1] = 0.0  # always open
    z = draw_gated(*q.moments(), q.gate(), draws())
    assert (z[:, 0] != 0).float().mean().item() == pytest.approx(0.25, abs=0.005)
    for j, is_open in enumerate((z[:, 0] != 0, z[:, 1] != 0)):
        assert z[is_open, j].mean().item() == pytest.approx(1.5, abs=0.01)
        assert z[is_open, j].var().item() == pytest.approx(0.3, abs=0.01)
    mean, log_variance = (part[0] for part in q.moments())
    torch.testing.assert_close(z.mean(dim=0), mean, atol=0.01, rtol=0)
    torch.testing.assert_close(z.var(dim=0), log_variance.exp(), atol=0.02, rtol=0)


def test_keys_of_other_families_are_refused():
    for family, section in (("beta_vae", "sparsity"), ("vae_gan", "sparsity"), ("sparse_vae", "adversary")):
        with pytest.raises(ConfigError, match=f"vae.{section}: has no effect with family {family}"):
            check({"vae": {"family": family, section: {}}})
    with pytest.raises(ConfigError, match=r"images\.size_px must be 28 and a multiple of 8"):
        check({"vae": {"architecture": "cyto"}})


def test_the_gaussian_posterior_is_what_the_encoder_gives():
    """Log variances of first steps may be far out; to clamp them would change what a training ends with."""
    h = torch.tensor([[0.5, 40.0], [-3.0, -90.0]])
    posterior = GaussianPosterior.of(h)
    assert torch.equal(posterior.mean, h[:, :1]) and torch.equal(posterior.log_variance, h[:, 1:])


def test_compared_families_have_the_settings_of_the_vae_but_for_those_of_their_own():
    cells = {
        "images": {"source": "cells", "size_px": 64},
        "vae": {"family": "sparse_vae", "sparsity": {"alpha": 0.2}},
    }
    config = Config.model_validate(cells)
    assert config.vae_of_family("sparse_vae") == config.vae
    assert config.vae_of_family("sparse_vae_gan").sparsity.alpha == 0.2
    own = Config.model_validate(
        cells | {"phenotypes": {"sparsity": {"alpha": 0.1}, "adversary": {"weight": 0.3}}}
    )
    assert own.vae_of_family("sparse_vae").sparsity.alpha == 0.2
    other = own.vae_of_family("sparse_vae_gan")
    assert other.sparsity.alpha == 0.1 and other.adversary.weight == 0.3
    assert own.vae_of_family("beta_vae").start is None


@pytest.mark.parametrize("given", [{"sparsity": {"alpha": 0.1}}, {"adversary": {"weight": 0.3}}])
def test_settings_of_kinds_of_families_that_are_not_compared_are_refused(given):
    with pytest.raises(ValueError, match="has no effect with families beta_vae; remove it"):
        Phenotypes(families=["beta_vae"], **given)
