"""The `resnet18` architecture against the paper's Table 3."""

import numpy as np
import pytest
import torch
from torch import nn

from covary.config.vae import Vae
from covary.vae import VAE, train_vae

# (channels in, channels out, side) of each convolution of the decoder; 3 × 3, stride 1, padding 1.
DECODER_CONVOLUTIONS = [
    (1024, 512, 7),
    (512, 512, 14),
    (512, 256, 14),
    (256, 256, 28),
    (256, 128, 28),
    (128, 128, 56),
    (128, 64, 56),
    (64, 64, 112),
    (64, 32, 112),
    (32, 32, 224),
    (32, 1, 224),
]


def outputs(part: nn.Sequential, x: torch.Tensor) -> list[tuple[nn.Module, torch.Size]]:
    shapes = []
    with torch.no_grad():
        for layer in part:
            x = layer(x)
            shapes.append((layer, x.shape))
    return shapes


@pytest.fixture(scope="module")
def table_3() -> VAE:
    return VAE(224, 128, 64, architecture="resnet18").eval()


def test_encoder_is_that_of_table_3(table_3):
    (resnet, features), (relu, _), (heads, posterior) = outputs(table_3.encoder, torch.rand(2, 1, 224, 224))
    assert features == (2, 512) and isinstance(relu, nn.ReLU) and posterior == (2, 256)
    assert (resnet.conv1.in_channels, resnet.conv1.out_channels) == (1, 64)
    for dense in (heads.mean, heads.log_variance):
        assert (dense.in_features, dense.out_features) == (512, 128)
    # torchvision's ResNet-18 has 11,689,512 parameters: less two colours and the classes.
    assert sum(p.numel() for p in resnet.parameters()) == 11_689_512 - 2 * 64 * 49 - 513_000


def test_decoder_is_that_of_table_3(table_3):
    dense, relu, reshape, *rest = outputs(table_3.decoder, torch.randn(2, 128))
    assert (dense[0].in_features, dense[1]) == (128, (2, 50_176))
    assert isinstance(relu[0], nn.ReLU) and reshape[1] == (2, 1024, 7, 7)
    convolutions = [(layer, shape) for layer, shape in rest if isinstance(layer, nn.Conv2d)]
    found = [(layer.in_channels, layer.out_channels, shape[-1]) for layer, shape in convolutions]
    assert found == DECODER_CONVOLUTIONS
    assert {(c.kernel_size, c.stride, c.padding) for c, _ in convolutions} == {((3, 3), (1, 1), (1, 1))}
    kinds = [type(layer).__name__ for layer, _ in rest]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == [*block, "Upsample", *([*block, *block, "Upsample"] * 4), *block, "Conv2d", "Sigmoid"]
    assert {layer.mode for layer, _ in rest if isinstance(layer, nn.Upsample)} == {"nearest"}
    assert rest[-1][1] == (2, 1, 224, 224)


def test_parameter_count_of_table_3(table_3):
    dense = 128 * 50_176 + 50_176
    convolutions = sum(9 * i * o + o for i, o, _ in DECODER_CONVOLUTIONS)
    batch_norms = sum(2 * o for _, o, _ in DECODER_CONVOLUTIONS[:-1])
    decoder = sum(p.numel() for p in table_3.decoder.parameters())
    assert decoder == dense + convolutions + batch_norms == 15_906_913
    heads = 2 * (512 * 128 + 128)
    assert sum(p.numel() for p in table_3.parameters()) == 11_170_240 + heads + decoder == 27_208_481


def test_width_and_size_are_configurable_and_saved(tmp_path):
    vae = VAE(64, 5, 8, architecture="resnet18", crop_rows=6, channels=3).eval()
    x = torch.rand(2, 3, 64, 64)
    mean, log_variance = vae.encode(x)
    assert mean.shape == log_variance.shape == (2, 5)
    assert vae.decode(mean).shape == vae.view(x).shape == (2, 3, 64, 64)
    assert vae.features(x).shape == (2, 64)
    vae.save(tmp_path)
    again = VAE.load(tmp_path)
    assert (again.crop_rows, again.channels) == (6, 3)
    torch.testing.assert_close(again.encode(x)[0], mean)
    with pytest.raises(ValueError, match="multiple of 32, got 48"):
        VAE(48, 5, 8, architecture="resnet18")


def test_features_of_the_compact_encoder_are_averaged_maps():
    vae = VAE(32, 3, 4).eval()
    x = torch.rand(2, 1, 32, 32)
    maps = vae.encoder[:4](x)
    torch.testing.assert_close(vae.features(x), maps.mean(dim=(2, 3)))


def test_the_papers_recipe_trains(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 32, 32), dtype=np.uint8)
    config = Vae(
        architecture="resnet18", base_channels=8, latent_dim=4, epochs=2, batch_size=6, crop_rows=5,
        perceptual="random", learning_rate_schedule="constant", sleep_weight=0.0,
    )  # fmt: skip
    vae, history = train_vae(images, images[:4], config, 1, tmp_path)
    assert vae.crop_rows == 5
    assert (history["perceptual"] > 0).all() and (history["test_perceptual"] > 0).all()
    mse, kl = (config.mse_weight * history["mse"], history["beta"] * history["kl"])
    np.testing.assert_allclose(history["loss"], mse + history["perceptual"] + kl, rtol=1e-5)


@pytest.mark.slow
def test_the_full_size_vae_trains_a_step(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 224, 224), dtype=np.uint8)
    config = Vae(
        architecture="resnet18", base_channels=64, latent_dim=128, epochs=1, batch_size=5, crop_rows=34,
        perceptual="random", learning_rate_schedule="constant", sleep_weight=0.0,
    )  # fmt: skip
    vae, history = train_vae(images, images, config, 1, tmp_path)
    assert np.isfinite(history.to_numpy()).all()
    assert sum(p.numel() for p in vae.parameters()) == 27_208_481
