import numpy as np
import pytest
import torch

from covary.config.predictors import Predictor
from covary.predict import Examples, MeanSquaredError, Targets, for_subjects, predict, train_predictor

SIZE_PX = 32


def bands(n: int, seed: int) -> Examples:
    """Images whose two targets are the vertical position of a band and its brightness."""
    targets = np.random.default_rng(seed).normal(size=(n, 2)).clip(-2, 2)
    rows = np.arange(SIZE_PX)[None]
    profile = (150 + 40 * targets[:, 1:]) * np.exp(-0.5 * ((rows - 16 - 5 * targets[:, :1]) / 2) ** 2)
    return Examples(np.repeat(profile[:, None, :, None], SIZE_PX, axis=3).astype(np.uint8), Targets(targets))


def squared_error(network, examples: Examples) -> float:
    return np.square(predict(network, examples.inputs) - examples.evidence.value).mean()


def test_training_overfits_few_images(tmp_path):
    examples = bands(24, 0)
    config = Predictor(width=8, epochs=60, patience_epochs=60, batch_size=8)
    network, history = train_predictor(examples, examples, MeanSquaredError(), config, 1, tmp_path)
    variance = examples.evidence.value.var()
    assert history["loss"].iloc[-1] < 0.1 * variance
    assert squared_error(network, examples) < 0.1 * variance
    assert [path.name for path in tmp_path.iterdir()] == ["finished.pt"]


def test_the_best_epoch_is_kept_and_training_stops_when_patience_ends(tmp_path):
    noise = np.random.default_rng(2).normal(size=(16, 2))
    validation = Examples(bands(16, 1).inputs, Targets(noise))
    config = Predictor(width=4, epochs=40, patience_epochs=2, batch_size=8)
    network, history = train_predictor(bands(16, 0), validation, MeanSquaredError(), config, 1, tmp_path)
    best = history["validation_loss"].idxmin()
    assert len(history) == best + 3 < 40
    assert squared_error(network, validation) == pytest.approx(history["validation_loss"].min(), rel=1e-5)


def test_an_estimate_that_is_not_finite_stops_the_run(tmp_path):
    examples = bands(40, 0)
    examples.evidence.value[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 40 training subjects have no estimate .* is number 1"):
        train_predictor(examples, bands(4, 0), MeanSquaredError(), Predictor(batch_size=32), 1, tmp_path)


def test_fewer_training_subjects_than_a_batch(tmp_path):
    with pytest.raises(ValueError, match=r"predictors.batch_size: must be at most .* subjects, 31, got 32"):
        train_predictor(bands(31, 0), bands(4, 0), MeanSquaredError(), Predictor(batch_size=32), 1, tmp_path)


def test_fewer_subjects_are_passed_over_more_often_and_more_take_no_more_steps():
    config = Predictor(epochs=8, patience_epochs=2, batch_size=32)
    quarter, fourfold = for_subjects(config, 100, of=400), for_subjects(config, 1600, of=400)
    assert (quarter.epochs, quarter.passes, quarter.batch_size) == (8, 2, 32)
    assert (fourfold.epochs, fourfold.passes, fourfold.patience_epochs) == (2, 1, 1)
    assert for_subjects(config.model_copy(update={"passes": 4}), 1600, of=400).passes == 4
    started = for_subjects(config.model_copy(update={"start": "scans.safetensors"}), 100, of=400)
    assert (started.epochs, started.passes, started.patience_epochs) == (16, 1, config.patience_epochs)
    assert for_subjects(config, 20).batch_size == 20
    assert for_subjects(config, 400, of=400) == config


def test_an_epoch_of_several_passes_takes_the_steps_of_as_many_epochs(tmp_path):
    def steps(**lengths):
        config = Predictor(batch_size=8, width=4, learning_rate_schedule="constant", **lengths)
        options = {"seed": 1, "checkpoint_dir": tmp_path / str(lengths)}
        return train_predictor(bands(24, 0), bands(8, 1), MeanSquaredError(), config, **options)[1]

    each, together = steps(epochs=4), steps(epochs=2, passes=2)
    np.testing.assert_array_equal(together["validation_loss"], each["validation_loss"][1::2])
    pairs = each["loss"].to_numpy().reshape(2, 2)
    np.testing.assert_allclose(together["loss"], pairs.mean(axis=1), rtol=1e-6)


def test_features_are_inputs_too(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 4))
    examples = Examples(x, Targets(x[:, :2] - 0.5 * x[:, 2:]))
    config = Predictor(
        network="linear_probe",
        epochs=200,
        patience_epochs=200,
        batch_size=16,
        learning_rate=0.02,
        weight_decay=0.0,
    )
    network, _ = train_predictor(examples, examples, MeanSquaredError(), config, 1, tmp_path)
    assert squared_error(network, examples) < 1e-3
    torch.testing.assert_close(network.covariance.cpu(), torch.eye(2))
