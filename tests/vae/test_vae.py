import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from covary.config.dataset import Subjects
from covary.config.vae import Ranking, Vae
from covary.dataset.latents import Latents
from covary.dataset.subjects import sample
from covary.training.device import place
from covary.vae import (
    VAE,
    decode,
    draw_posterior,
    encode,
    kl_divergence,
    rank_latents,
    ranking_agreement,
    train_vae,
    warmed_up_beta,
    with_free_bits,
)
from covary.vae.loss import negative_log_density
from covary.vae.train import _augmented

SIZE_PX, LATENT_DIM = 32, 4


@pytest.fixture(scope="module")
def bands() -> np.ndarray:
    """Bright bands of known vertical position on a dark ground."""
    position = np.random.default_rng(0).uniform(6, 26, 48)
    rows = np.arange(SIZE_PX)
    profile = np.exp(-0.5 * ((rows[None] - position[:, None]) / 3) ** 2)
    return np.round(255 * np.repeat(profile[:, None, :, None], SIZE_PX, axis=3)).astype(np.uint8)


def small_vae(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return place(VAE(SIZE_PX, LATENT_DIM, 4)).eval()


def test_encoder_and_decoder_have_the_shapes_they_promise():
    vae = small_vae()
    mean, log_variance = vae.encode(torch.rand(3, 1, SIZE_PX, SIZE_PX))
    assert mean.shape == log_variance.shape == (3, LATENT_DIM)
    image = vae.decode(mean)
    assert image.shape == (3, 1, SIZE_PX, SIZE_PX)
    assert image.min() >= 0 and image.max() <= 1


def test_size_must_be_a_multiple_of_sixteen():
    with pytest.raises(ValueError, match="multiple of 16, got 40"):
        VAE(40, LATENT_DIM, 4)


@given(st.floats(-3, 3), st.floats(-4, 2))
def test_kl_divergence_is_that_of_torch(mean, log_variance):
    q = torch.distributions.Normal(mean, math.exp(0.5 * log_variance))
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).item()
    kl = kl_divergence(torch.full((5, 1), mean), torch.full((5, 1), log_variance))
    assert kl.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_kl_divergence_is_zero_only_at_the_prior():
    zero = torch.zeros(2, 3)
    assert torch.equal(kl_divergence(zero, zero), torch.zeros(3))
    assert kl_divergence(zero + 1, zero).tolist() == [0.5] * 3


def test_free_bits_cost_nothing_and_pull_at_nothing():
    kl = torch.tensor([0.1, 0.5, 2.0], requires_grad=True)
    assert with_free_bits(kl, 0.0).item() == pytest.approx(2.6)
    total = with_free_bits(kl, 0.5)
    assert total.item() == pytest.approx(0.5 + 0.5 + 2.0)
    total.backward()
    assert kl.grad[0] == 0 and kl.grad[2] == 1


@given(st.floats(-3, 3), st.floats(-4, 2), st.floats(-3, 3))
def test_negative_log_density_is_that_of_torch(mean, log_variance, z):
    q = torch.distributions.Normal(mean, math.exp(0.5 * log_variance))
    expected = -q.log_prob(torch.tensor(z)).item() - 0.5 * math.log(2 * math.pi)
    density = negative_log_density(*(torch.full((5, 1), value) for value in (z, mean, log_variance)))
    assert density.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_beta_rises_linearly_and_stays():
    assert warmed_up_beta(0.0, 0.0376, 5.0) == 0
    assert warmed_up_beta(2.5, 0.0376, 5.0) == pytest.approx(0.0188)
    assert warmed_up_beta(5.0, 0.0376, 5.0) == warmed_up_beta(80.0, 0.0376, 5.0) == 0.0376
    assert warmed_up_beta(0.0, 0.0376, 0.0) == 0.0376


def test_draws_from_the_posterior_have_its_moments():
    mean, log_variance = torch.full((40_000, 2), 1.5), torch.full((40_000, 2), math.log(0.25))
    z = draw_posterior(mean, log_variance, torch.Generator().manual_seed(1))
    # Five standard errors of a mean and of a variance over 80,000 draws.
    assert z.mean().item() == pytest.approx(1.5, abs=5 * 0.5 / math.sqrt(80_000))
    assert z.var().item() == pytest.approx(0.25, abs=5 * 0.25 * math.sqrt(2 / 80_000))


def test_training_overfits_few_images_and_uses_a_latent(bands, tmp_path):
    config = Vae(
        latent_dim=LATENT_DIM,
        base_channels=8,
        epochs=60,
        batch_size=16,
        learning_rate=3e-3,
        beta=0.004,
        horizontal_flip=False,
    )
    vae, history = train_vae(bands, bands, config, 3, tmp_path)
    variance = (bands / 255).var()
    assert history["mse"].iloc[-1] < 0.1 * variance
    assert history["test_mse"].iloc[-1] < 0.1 * variance
    assert history["active_units"].iloc[-1] >= 1
    assert list(history["epoch"]) == list(range(1, 61))
    assert not list(tmp_path.iterdir())
    mean, _ = encode(vae, bands)
    error = decode(vae, mean).astype(float) - bands
    assert np.square(error / 255).mean() == pytest.approx(history["test_mse"].iloc[-1], rel=0.02)


def test_the_encoder_learns_asleep_to_read_what_the_decoder_draws(bands, tmp_path):
    config = Vae(latent_dim=LATENT_DIM, base_channels=4, epochs=40, batch_size=16, learning_rate=3e-3)
    vae, history = train_vae(bands, bands, config, 3, tmp_path / "with_sleep")
    # An encoder that knew nothing of z could do no better than N(0, 1), at E ½z² = ½ a latent.
    assert history["sleep"].iloc[-1] < 0.8 * 0.5 * LATENT_DIM
    z = np.random.default_rng(1).normal(size=(500, LATENT_DIM))
    mean, _ = encode(vae, decode(vae, z))
    assert np.square(z - mean).mean(axis=0).min() < 0.5
    awake = config.model_copy(update={"sleep_weight": 0.0, "epochs": 2})
    assert (train_vae(bands, bands, awake, 3, tmp_path / "awake")[1]["sleep"] == 0).all()


def test_saved_network_gives_the_same_numbers(bands, tmp_path):
    vae = small_vae()
    vae.save(tmp_path)
    for a, b in zip(encode(vae, bands), encode(VAE.load(tmp_path), bands), strict=True):
        np.testing.assert_array_equal(a, b)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"config.json: no such file"):
        VAE.load(tmp_path)


class LinearVae(VAE):
    """A VAE with known answers: latent j scales pixel j by gain[j] and is read back shrunk by fidelity[j]."""

    def __init__(self, gain: list[float], fidelity: list[float]):
        super().__init__(16, len(gain), 1)
        self.gain, self.fidelity = torch.tensor(gain), torch.tensor(fidelity)

    def decode(self, z):
        return (z * self.gain)[:, None, None, :]

    def encode(self, x):
        mean = x[:, 0, 0] / self.gain * self.fidelity
        return mean, torch.zeros_like(mean)


def test_rankings_of_a_linear_vae_are_its_closed_forms():
    gain, fidelity = [0.5, 3.0, 1.0, 2.0, 9.0], [0.9, 0.3, 1.0, 0.6, 1.0]
    posterior_mean_variance = np.array([0.5, 0.4, 0.9, 0.02, 0.009])
    vae, draws = LinearVae(gain, fidelity), 4000
    table = rank_latents(
        vae, posterior_mean_variance, Ranking(readback_draws=draws, sensitivity_draws=draws), 5
    )
    # E (z - f z)² = (1 - f)²; a redrawn latent moves its pixel, one of five, by g (z - z'): E = 2 g² / 5.
    np.testing.assert_allclose(table["readback_mse"], (1 - np.array(fidelity)) ** 2, rtol=0.15, atol=1e-12)
    np.testing.assert_allclose(table["sensitivity"], 2 * np.array(gain) ** 2 / 5, rtol=0.15)
    np.testing.assert_allclose(table["readback_r2"], 1 - (1 - np.array(fidelity)) ** 2, atol=0.06)
    assert table["active"].tolist() == [True, True, True, True, False]
    assert table["rank_readback"].tolist() == [2, 4, 1, 3, -1]
    assert table["rank_sensitivity"].tolist() == [4, 1, 3, 2, -1]
    assert table["random_effect"].tolist() == [1, -1, 0, 2, -1]
    assert (table["open_share"] == 1).all()
    by_sensitivity = Ranking(method="sensitivity", readback_draws=draws, sensitivity_draws=draws)
    chosen = rank_latents(vae, posterior_mean_variance, by_sensitivity, 5)["random_effect"]
    assert chosen.tolist() == [-1, 0, 2, 1, -1]


def test_under_a_prior_with_gates_latents_are_ranked_by_open_ones_and_the_chosen_are_always_open():
    fidelity = [0.9, 0.3, 1.0, 0.6]
    vae = LinearVae([0.5, 3.0, 1.0, 2.0], fidelity)
    draws = Ranking(readback_draws=8000, sensitivity_draws=500)
    table = rank_latents(vae, np.full(4, 0.5), draws, 5, random_effects=2, open_share=0.25)
    # As without gates: closed ones, which any encoder reads back, do not count.
    np.testing.assert_allclose(table["readback_r2"], 1 - (1 - np.array(fidelity)) ** 2, atol=0.06)
    assert table["random_effect"].tolist() == [1, -1, 0, -1]
    assert table["open_share"].tolist() == [1, 0.25, 1, 0.25]
    subjects = sample(Latents.of_ranking(table), Subjects(train=4000, validation=100, test=100), seed=3)
    eta, z = subjects["eta"].values, subjects["z"].values
    np.testing.assert_array_equal(eta, z[:, [2, 0]])
    assert (eta != 0).all() and eta.std() == pytest.approx(1, abs=0.03)
    assert (z[:, [1, 3]] != 0).mean() == pytest.approx(0.25, abs=0.02)


def test_agreement_of_the_methods_has_a_measured_rank_correlation():
    ranks = [1, 2, 3, 4, 5, 6]
    table = pd.DataFrame(
        {
            "active": [True] * 6 + [False],
            "rank_readback": [*ranks, -1],
            "rank_sensitivity": [2, 1, 4, 3, 6, 5, -1],
            "random_effect": [0, 1, 2, -1, -1, -1, -1],
        }
    )
    row = ranking_agreement(table).iloc[0]
    # Spearman: 1 - 6 Σd² / n(n² - 1) with six differences of one.
    assert row["spearman"] == pytest.approx(1 - 6 * 6 / (6 * 35))
    se = math.sqrt((1 + row["spearman"] ** 2 / 2) / 3)
    assert math.atanh(row["spearman_high"]) == pytest.approx(math.atanh(row["spearman"]) + 1.959964 * se)
    assert row["spearman_low"] < row["spearman"] < row["spearman_high"]
    assert (row["active"], row["chosen"], row["shared"]) == (6, 3, 2)
    same = ranking_agreement(table.assign(rank_sensitivity=table["rank_readback"])).iloc[0]
    assert same["spearman"] == pytest.approx(1) and same["shared"] == 3
    few = ranking_agreement(table.assign(active=[True] * 3 + [False] * 4)).iloc[0]
    assert math.isnan(few["spearman_low"])


def test_active_units_are_counted_by_the_threshold_given(bands, tmp_path):
    config = Vae(latent_dim=LATENT_DIM, base_channels=4, epochs=1, batch_size=16)
    counts = [
        train_vae(bands, bands, config, 3, tmp_path, active_variance=v)[1]["active_units"].item()
        for v in (0.0, 1e9)
    ]
    assert counts == [LATENT_DIM, 0]


def test_free_bits_keep_latents_from_collapsing(bands, tmp_path):
    config = Vae(
        latent_dim=LATENT_DIM, base_channels=4, epochs=15, batch_size=16, learning_rate=3e-3, beta=10.0,
        beta_warmup_epochs=0.0, sleep_weight=0.0, horizontal_flip=False,
    )  # fmt: skip
    counts = [
        train_vae(bands, bands, config.model_copy(update={"free_bits": free}), 3, tmp_path / str(free))[1]
        for free in (0.0, 0.5)
    ]
    assert [history["active_units"].iloc[-1] for history in counts] == [0, LATENT_DIM]


def test_the_view_cuts_rows_and_stretches_the_rest():
    vae = VAE(16, 2, 1, crop_rows=8)
    ramp = torch.arange(16.0)[None, None, :, None].expand(3, 1, 16, 16).contiguous()
    middle = vae.view(ramp)
    # Half-pixel bilinear stretch of rows 4 … 11 by two: 4, 4.25, 4.75, … 10.75, 11.
    expected = torch.cat([torch.tensor([4.0]), torch.arange(4.25, 11, 0.5), torch.tensor([11.0])])
    torch.testing.assert_close(middle[0, 0, :, 0], expected)
    moved = vae.view(ramp, torch.tensor([0, 4, 8]))
    torch.testing.assert_close(moved[:, 0, 0, 0], torch.tensor([0.0, 4.0, 8.0]))
    torch.testing.assert_close(moved[1], middle[1])
    assert VAE(16, 2, 1).view(ramp) is ramp


def test_whole_images_are_encoded_as_they_were_seen_in_training(bands):
    torch.manual_seed(0)
    vae = place(VAE(SIZE_PX, LATENT_DIM, 4, crop_rows=6)).eval()
    x = torch.from_numpy(bands[:5]) / 255
    np.testing.assert_array_equal(encode(vae, bands[:5])[0], vae.encode(vae.view(x))[0].detach().numpy())


def test_too_few_active_latents_stop_the_run():
    with pytest.raises(ValueError, match="has 1 active latents, but 3 random effects are needed"):
        rank_latents(small_vae(), np.array([0.5, 0.001, 0.0, 0.01]), Ranking(), 1)


def test_quarter_turns_turn_images_and_nothing_else():
    x = torch.arange(2 * 16 * 16.0).reshape(1, 2, 16, 16).expand(200, -1, -1, -1)
    network = VAE(16, LATENT_DIM, 4, channels=2)
    seen = _augmented(network, x, Vae(horizontal_flip=False, quarter_turns=True), seed=1, step=3)
    turns = [x[0].rot90(k, (1, 2)) for k in range(4)]
    of = [next(k for k, turn in enumerate(turns) if torch.equal(turn, one)) for one in seen]
    counts = np.bincount(of, minlength=4)
    assert counts.sum() == 200 and (counts > 25).all()  # 50 each, with a standard deviation of 6
    as_it_is = _augmented(network, x, Vae(horizontal_flip=False), seed=1, step=3)
    assert torch.equal(as_it_is, x)
