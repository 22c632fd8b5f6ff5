"""Predictors that start from layers which were trained before."""

import numpy as np
import pytest
import torch

from covary.config.experiment import Config
from covary.config.predictors import Predictor
from covary.errors import UserError
from covary.predict import Examples, MeanSquaredError, Targets, predict, train_predictor
from covary.predict.network import PredictorNetwork
from covary.predict.start import start_from
from covary.quality.factors import FactorReader, write_reader

SIZE_PX = 32
WIDTH = 16


def features_of(network: torch.nn.Module) -> torch.nn.Module:
    """The network without its last layer."""
    network.fc = torch.nn.Identity()
    return network.eval()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(3)
    reader = FactorReader(SIZE_PX).eval()
    path = tmp_path_factory.mktemp("start") / "scans.safetensors"
    write_reader(reader, path)
    return reader, path


def examples(n: int) -> Examples:
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    return Examples(images, Targets(rng.normal(size=(n, 2)).astype(np.float32)))


@torch.no_grad()
def test_a_network_that_starts_from_a_file_sees_the_features_of_the_file(start):
    """Up to the rounding of half precision; a network with random weights sees others."""
    reader, path = start
    network, other = (PredictorNetwork("resnet18", 2, SIZE_PX, WIDTH) for _ in range(2))
    last = network.network.fc.weight.clone()
    start_from(network, Predictor(start=str(path)), SIZE_PX, 1)
    assert torch.equal(network.network.fc.weight, last)
    x = torch.rand(4, 1, SIZE_PX, SIZE_PX)
    expected = reader.body(x)
    torch.testing.assert_close(features_of(network.network)(x), expected, rtol=0.02, atol=5e-3)
    assert (features_of(other.network)(x) - expected).abs().mean() > 0.1


def test_a_training_goes_on_from_the_start(start, tmp_path):
    """With next to no steps it keeps the layers of the start; the last layer starts at 0."""
    train, validation = examples(32), examples(16)
    config = Predictor(
        objective="ebe_mse", start=str(start[1]), epochs=1, batch_size=16, learning_rate=1e-9, ema_decay=0
    )
    network, _ = train_predictor(train, validation, MeanSquaredError(), config, 1, tmp_path / "start")
    without = config.model_copy(update={"start": None})
    random, _ = train_predictor(train, validation, MeanSquaredError(), without, 1, tmp_path / "random")
    first = [net.network.layer1[0].conv1.weight.detach() for net in (network, random)]
    torch.testing.assert_close(first[0], start[0].body.layer1[0].conv1.weight, rtol=1e-3, atol=1e-4)
    assert (first[1] - first[0]).abs().mean() > 0.01
    guess = train.evidence.guess().mean(axis=0)
    np.testing.assert_allclose(predict(network, validation.inputs), np.tile(guess, (16, 1)), atol=1e-4)


@pytest.mark.parametrize(
    ("size_px", "channels", "width", "message"),
    [
        (64, 1, WIDTH, "size_px 32, here it is 64"),
        (SIZE_PX, 3, WIDTH, "channels 1, here it is 3"),
        (SIZE_PX, 1, 32, "width 16, here it is 32"),
    ],
)
def test_a_start_of_another_shape_is_refused(start, size_px, channels, width, message):
    network = PredictorNetwork("resnet18", 2, size_px, width, channels)
    with pytest.raises(UserError, match=f"predictors.start: .*{message}; set the key to null"):
        start_from(network, Predictor(start=str(start[1]), width=width), size_px, channels)


SHIPPED = "workflow/pretrained/oct_64px_reader.safetensors"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, [(SHIPPED, 3), (SHIPPED, 3)]),
        ({"predictors": [{"objective": "ebe_mse", "epochs": 9}]}, [(SHIPPED, 9)]),
        ({"predictors": [{"start": None}]}, [(None, 6)]),
        ({"predictors": [{"width": 32}]}, [(None, 6)]),
        ({"predictors": [{"network": "perceptron"}, {}]}, [(None, 6), (SHIPPED, 3)]),
        ({"images": {"size_px": 128}}, [(None, 6), (None, 6)]),
        ({"images": {"source": "folder", "folder": "scans"}}, [(None, 6), (None, 6)]),
        ({"generator": {"block_channels": [32, 64]}}, [(SHIPPED, 3), (SHIPPED, 3)]),
    ],
)
def test_only_readers_of_drawn_scans_start_from_the_shipped_network(raw, expected):
    config = Config(**raw)
    assert [(p.start, p.epochs) for p in config.predictors] == expected
    assert Config(**config.model_dump()) == config


def test_a_reader_learns_for_longer_from_a_start():
    """It learns a strong association, which is not overfitted as soon."""
    config = Config(predictors=[{"network": "perceptron"}, {}])
    readers = config.readers
    assert [readers[name].epochs for name in ("perceptron", "resnet18")] == [6, 6]
    assert [predictor.epochs for predictor in config.predictors] == [6, 3]


@pytest.mark.parametrize("network", ["perceptron", "linear_probe", "resnet50"])
def test_a_start_for_another_network_is_refused(network):
    with pytest.raises(ValueError, match=f"has no effect with network {network}; remove it"):
        Config(predictors=[{"network": network, "start": SHIPPED}])
