"""What holds for all three trainings: a run that was killed ends with the weights of one that was not."""

import logging
import signal
import subprocess
import sys
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from covary import nlme
from covary.config.base import Section
from covary.config.generator import Generator
from covary.config.predictors import Predictor
from covary.config.vae import Vae
from covary.diffusion import train_generator
from covary.nlme.likelihood import RecordLikelihood
from covary.predict import Examples, MarginalLikelihood, Posteriors, train_predictor
from covary.training.checkpoint import Checkpoint, fingerprint
from covary.training.draws import keyed_generator, seeded, shuffled_batches
from covary.vae import VAE, train_vae

sys.path.insert(0, str(Path(__file__).parents[1] / "diffusion"))
from tiny import save_tiny_stable_diffusion

SIZE_PX = 16
SETTINGS: dict[str, Section] = {
    "vae": Vae(latent_dim=2, base_channels=2, epochs=4, batch_size=8),
    "generator": Generator(block_channels=[16, 16], steps=30, batch_size=4, checkpoint_steps=20),
    "pretrained": Generator(
        pretrained="stable_diffusion",
        conditioning="paper",
        steps=30,
        batch_size=4,
        checkpoint_steps=10,
        checkpoints_kept=2,
        noise_offset=0.1,
        min_snr_gamma=5.0,
        condition_dropout=0.2,
        learning_rate_schedule="constant",
    ),
    "predictor": Predictor(width=2, epochs=4, batch_size=8),
}


def train(kind: str, checkpoint_dir: Path, seed: int = 1) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Final weights and history of a tiny training of this kind."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    values = draw.normal(size=(20, 2)).astype(np.float32)
    config = SETTINGS[kind]
    match kind:
        case "vae":
            network, history = train_vae(images, images[:4], config, seed, checkpoint_dir)
        case "generator":
            torch.manual_seed(0)
            vae = VAE(SIZE_PX, 2, 2)
            generator, history = train_generator(
                images, values, values - 2, vae, SIZE_PX, config, seed, checkpoint_dir
            )
            network = generator.unet
        case "pretrained":
            torch.manual_seed(0)
            vae = VAE(SIZE_PX, 2, 2)
            source = checkpoint_dir.parent / f"{checkpoint_dir.name}_{config.pretrained}"
            save_tiny_stable_diffusion(source)
            config = config.model_copy(update={"pretrained": str(source)})
            posterior = draw.normal(size=(20, 8, SIZE_PX // 2, SIZE_PX // 2)).astype(np.float16)
            generator, history = train_generator(
                posterior, values, values - 2, vae, SIZE_PX, config, seed, checkpoint_dir
            )
            network = generator.unet
        case "predictor":
            everyone = Examples(images, posteriors(values))
            some = Examples(images[:4], everyone.evidence[:4])
            objective = MarginalLikelihood(np.eye(1))
            network, history = train_predictor(everyone, some, objective, config, seed, checkpoint_dir)
    return network.state_dict(), history.to_dict("records")


class Level(nlme.ClosedFormModel):
    """y = a + η."""

    fixed_effects: ClassVar = {"a": "real"}
    random_effects = ("eta_a",)

    def individual(self, theta, eta, covariates):
        """The level."""
        return {"a": theta["a"] + eta[0]}

    def closed_form(self, time_h, doses, p):
        """Constant in time."""
        return p["a"] + 0 * time_h


def posteriors(values: np.ndarray) -> Posteriors:
    """Few draws, so that every way to evaluate the likelihood is taken."""
    model = Level()
    parameters = model.parameters([0.0], 1.0, nlme.Additive(0.2))
    records = nlme.Records.of(nlme.Design.regular([0.0, 1.0], n_subjects=len(values)), values)
    draws = values[:, :1, None] + np.linspace(-0.2, 0.2, 9)[None, :, None]
    likelihood = RecordLikelihood(model, parameters, records)
    return Posteriors(draws.astype(np.float32), np.zeros(len(values)), likelihood, np.arange(len(values)))


@cache
def uninterrupted(kind: str) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """What such a training ends with."""
    with TemporaryDirectory() as folder:
        return train(kind, Path(folder) / "checkpoints")


KINDS = [pytest.param(kind, marks=pytest.mark.slow) if kind == "pretrained" else kind for kind in SETTINGS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(kind, tmp_path, caplog):
    torch.set_num_threads(1)
    expected, history = uninterrupted(kind)

    process = subprocess.Popen(
        [sys.executable, __file__, kind, str(tmp_path / "killed")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "trained past its checkpoint\n"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    assert checkpoint.exists()

    with caplog.at_level(logging.INFO):
        weights, resumed_history = train(kind, tmp_path / "killed")
    assert "goes on from" in caplog.text
    assert resumed_history == history
    assert weights.keys() == expected.keys()
    for name in expected:
        assert torch.equal(weights[name], expected[name]), name
    assert not checkpoint.exists()


def test_a_predictor_that_was_trained_before_is_not_trained_again(tmp_path, caplog):
    weights, history = train("predictor", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["finished.pt"]
    with caplog.at_level(logging.INFO):
        again, same_history = train("predictor", tmp_path)
    assert "the same training has ended before" in caplog.text
    assert same_history == history
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    caplog.clear()
    other, _ = train("predictor", tmp_path, seed=2)
    assert "ended before" not in caplog.text
    assert any(not torch.equal(other[name], weights[name]) for name in weights)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_weights(kind, tmp_path):
    first, _ = uninterrupted(kind)
    state = torch.random.get_rng_state()
    other, _ = train(kind, tmp_path, seed=2)
    if kind not in ("generator", "pretrained"):
        assert torch.equal(torch.random.get_rng_state(), state)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_checkpoint_of_other_settings_is_not_taken_up(tmp_path, caplog):
    network = torch.nn.Linear(2, 2)
    Checkpoint(tmp_path, "a", network=network).write(3, [{"epoch": 1.0}])
    assert Checkpoint(tmp_path, "a", network=network).resume() == (3, [{"epoch": 1.0}])
    assert Checkpoint(tmp_path, "b", network=network).resume() == (0, [])
    assert "belongs to other settings" in caplog.text


def test_a_diverged_training_is_no_checkpoint(tmp_path):
    checkpoint = Checkpoint(tmp_path, "a", network=torch.nn.Linear(2, 2))
    checkpoint.write(1, [{"loss": 0.5}])
    with pytest.raises(ValueError, match="diverged: validation loss is nan after round 2"):
        checkpoint.write(2, [{"loss": 0.5}, {"loss": 0.4, "validation_loss": float("nan")}])
    assert checkpoint.resume() == (1, [{"loss": 0.5}])


def test_older_checkpoints_are_kept_up_to_the_limit(tmp_path):
    network = torch.nn.Linear(2, 2)
    checkpoint = Checkpoint(tmp_path, "a", keep=2, network=network)
    for completed in (10, 20, 30):
        with torch.no_grad():
            network.weight.fill_(completed)
        checkpoint.write(completed, [])
    names = ["checkpoint-000000020.pt", "checkpoint-000000030.pt", "checkpoint.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    found = [torch.load(tmp_path / name, weights_only=True)["completed"] for name in names]
    assert found == [20, 30, 30]
    checkpoint.discard()
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint.pt: not a checkpoint"):
        Checkpoint(tmp_path, "a").resume()


def test_fingerprint_tells_settings_seeds_and_images_apart():
    image = np.zeros((1, 2), dtype=np.uint8)
    kinds = [
        (Vae(), 1, image),
        (Vae(epochs=7), 1, image),
        (Vae(), 2, image),
        (Vae(), 1, image + 1),
        (Vae(), 1, image.T),
    ]
    assert len({fingerprint(*kind) for kind in kinds}) == len(kinds)


@given(st.integers(2, 300), st.integers(2, 64), st.integers(0, 50))
def test_batches_hold_every_image_once_and_are_nearly_equal(n, batch_size, epoch):
    batches = shuffled_batches(1, "order", epoch, n, batch_size)
    assert sorted(np.concatenate(batches)) == list(range(n))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="at least 2 images"):
        shuffled_batches(1, "order", 0, 1, 8)


def test_draws_are_keyed_and_leave_the_global_generator_alone():
    state = torch.random.get_rng_state()
    with seeded(1, "weights"):
        first = torch.randn(3)
    with seeded(1, "weights"):
        assert torch.equal(torch.randn(3), first)
    with seeded(2, "weights"):
        assert not torch.equal(torch.randn(3), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    steps = [torch.randn(3, generator=keyed_generator(1, "noise", step)) for step in (0, 1, 0)]
    assert torch.equal(steps[0], steps[2]) and not torch.equal(steps[0], steps[1])


def stop_before_the_second_checkpoint():
    """Say so and wait to be killed: weights have moved on from those on disk by then."""
    write, calls = Checkpoint.write, count(1)

    def write_once(self, completed, history):
        if next(calls) > 1:
            print("trained past its checkpoint", flush=True)
            signal.pause()
        write(self, completed, history)

    Checkpoint.write = write_once


if __name__ == "__main__":
    torch.set_num_threads(1)
    stop_before_the_second_checkpoint()
    nlme.configure()
    train(sys.argv[1], Path(sys.argv[2]))
