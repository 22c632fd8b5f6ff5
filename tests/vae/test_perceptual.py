import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from covary.config.vae import Vae
from covary.vae import PerceptualLoss, perceptual_loss


def vgg_features() -> nn.Sequential:
    """The first 16 feature layers of VGG16, written out."""
    torch.manual_seed(0)
    layers, channels = [], 3
    for width in (64, 64, None, 128, 128, None, 256, 256, 256):
        if width is None:
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


@pytest.fixture
def pair():
    return torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)


def test_the_loss_is_its_definition_on_weights_read_from_a_file(tmp_path, pair):
    features = vgg_features()
    save_file(
        {f"features.{k}": v for k, v in features.state_dict().items()} | {"classifier.0.bias": torch.ones(3)},
        tmp_path / "vgg.safetensors",
    )
    loss = perceptual_loss(Vae(perceptual="file", perceptual_file=str(tmp_path / "vgg.safetensors")), 1)
    x, y = (((image - 0.449) / 0.226).repeat(1, 3, 1, 1) for image in pair)
    expected = (
        25 / 12 * (features[:4](x) - features[:4](y)).square().mean()
        + 1 / 3 * (features(x) - features(y)).square().mean()
    )
    torch.testing.assert_close(loss(*pair), expected, rtol=1e-4, atol=1e-5)
    assert loss(pair[0], pair[0]) == 0
    assert sum(p.numel() for p in loss.parameters()) == 1_735_488
    assert not any(p.requires_grad for p in loss.parameters())


def test_colours_have_their_own_mean_and_other_channels_are_grey_images(pair):
    loss = PerceptualLoss(1.0, 1.0)
    x, y = (torch.cat([image, image.square(), image.sqrt()], dim=1) for image in pair)
    mean, sd = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    a, b = (loss.features((image - mean) / sd) for image in (x, y))
    first = (loss.features[:4]((image - mean) / sd) for image in (x, y))
    expected = nn.functional.mse_loss(a, b) + nn.functional.mse_loss(*first)
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-4, atol=1e-5)
    two = [image[:, :2] for image in (x, y)]
    alone = [loss(two[0][:, i : i + 1], two[1][:, i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(*two), sum(alone) / 2, rtol=1e-4, atol=1e-5)


def test_pytorch_files_of_features_alone_are_read_too(tmp_path, pair):
    features = vgg_features()
    torch.save(features.state_dict(), tmp_path / "vgg.pth")
    loss = perceptual_loss(Vae(perceptual="file", perceptual_file=str(tmp_path / "vgg.pth")), 1)
    assert all(torch.equal(a, b) for a, b in zip(loss.parameters(), features.parameters(), strict=True))


def test_random_weights_are_the_seeds_and_said_loudly(caplog):
    a, b, c = (perceptual_loss(Vae(perceptual="random"), seed).features[0].weight for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert "RANDOM weights" in caplog.text
    assert perceptual_loss(Vae(), 1) is None


def test_a_missing_or_wrong_file_is_one_line_with_path_and_key(tmp_path):
    def fault(path):
        with pytest.raises(ValueError, match=r"^vae\.perceptual_file: ") as caught:
            perceptual_loss(Vae(perceptual="file", perceptual_file=str(path)), 1)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert f"{tmp_path}/none.pth: no such file" in fault(tmp_path / "none.pth")
    save_file({"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "grey.safetensors")
    assert "features.0.weight should be [64, 3, 3, 3], got [64, 1, 3, 3]" in fault(
        tmp_path / "grey.safetensors"
    )
    for name in ("text.safetensors", "text.pth"):
        (tmp_path / name).write_text("no weights")
        assert "not a file of weights" in fault(tmp_path / name)
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"features.0.weight": print}, file)
    assert "not a file of weights" in fault(tmp_path / "evil.pth")


def test_the_gradient_in_the_image_is_the_slope_of_the_loss():
    torch.manual_seed(0)
    x, y = torch.rand(2, 1, 1, 16, 16, dtype=torch.float64)
    loss = PerceptualLoss(1.0, 1.0).double()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x, y), x)
    step = 1e-3 * gradient / gradient.norm()
    slope = (loss(x + step, y) - loss(x - step, y)).item() / 2e-3
    assert slope == pytest.approx(gradient.norm().item(), rel=0.01)
