import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from covary.config import Predictor
from covary.predict import ResNet18, predict, train_predictor
from covary.training import place

SIZE_PX = 32


def bands(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose two targets are the vertical position of a band and its brightness."""
    targets = np.random.default_rng(seed).normal(size=(n, 2)).clip(-2, 2)
    rows = np.arange(SIZE_PX)[None]
    profile = (150 + 40 * targets[:, 1:]) * np.exp(-0.5 * ((rows - 16 - 5 * targets[:, :1]) / 2) ** 2)
    return np.repeat(profile[:, :, None], SIZE_PX, axis=2).astype(np.uint8), targets


def test_at_width_64_it_is_torchvisions_resnet18():
    ours, theirs = ResNet18(3, 64), resnet18(num_classes=3)
    theirs.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 1, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_training_overfits_few_images(tmp_path):
    images, targets = bands(24, 0)
    config = Predictor(width=8, epochs=60, patience_epochs=60, batch_size=8)
    network, history = train_predictor(images, targets, images, targets, config, 1, tmp_path)
    assert history["loss"].iloc[-1] < 0.1 * targets.var()
    assert np.square(predict(network, images) - targets).mean() < 0.1 * targets.var()
    assert not list(tmp_path.iterdir())


def test_the_best_epoch_is_kept_and_training_stops_when_patience_ends(tmp_path):
    images, targets = bands(16, 0)
    validation_images, _ = bands(16, 1)
    noise = np.random.default_rng(2).normal(size=targets.shape)
    config = Predictor(width=4, epochs=40, patience_epochs=2, batch_size=8)
    network, history = train_predictor(images, targets, validation_images, noise, config, 1, tmp_path)
    best = history["validation_loss"].idxmin()
    assert len(history) == best + 3 < 40
    loss = np.square(predict(network, validation_images) - noise).mean()
    assert loss == pytest.approx(history["validation_loss"].min(), rel=1e-5)


def test_saved_network_predicts_the_same(tmp_path):
    images, _ = bands(5, 0)
    network = place(ResNet18(3, 4))
    network.save(tmp_path)
    np.testing.assert_array_equal(predict(network, images), predict(ResNet18.load(tmp_path), images))


def test_a_target_that_is_not_finite_stops_the_run(tmp_path):
    images, targets = bands(4, 0)
    targets[1, 1] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        train_predictor(images, targets, images, targets, Predictor(), 1, tmp_path)
