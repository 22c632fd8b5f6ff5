import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.models import inception_v3

from covary import figures, quality, rng
from covary.training.device import place
from covary.vae import VAE, encode

SIZE_PX, LATENT_DIM = 32, 4


def images(n: int, name: str = "images") -> np.ndarray:
    return rng.generator(1, name).integers(0, 256, (n, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)


def test_frechet_distance_is_the_closed_form_for_axis_aligned_normals():
    mean, sd_a, sd_b = np.array([3.0, 0.0, -1.0]), np.array([1.0, 2.0, 0.5]), np.array([2.0, 2.0, 1.0])
    n = 200_000
    a = rng.normal(1, "a", 0, n, (3,)) * sd_a
    b = mean + rng.normal(1, "b", 0, n, (3,)) * sd_b
    expected = np.square(mean).sum() + np.square(sd_a - sd_b).sum()
    assert quality.frechet_distance(a, b) == pytest.approx(expected, rel=0.01)
    assert quality.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    rotation = np.linalg.qr(rng.normal(1, "q", 0, 3, (3,)))[0]
    assert quality.frechet_distance(a @ rotation, b @ rotation) == pytest.approx(
        quality.frechet_distance(a, b), rel=1e-9
    )


def test_kernel_distance_is_unbiased_and_grows_with_a_shift():
    same = [quality.kernel_distance(*rng.normal(i, "pair", 0, 2, (100, 5))) for i in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(200)
    a, b = rng.normal(1, "pair", 0, 2, (400, 5))
    shifted = [quality.kernel_distance(a, b + shift) for shift in (0.0, 0.5, 1.0)]
    assert shifted[0] < shifted[1] < shifted[2]
    # By its definition, on two vectors a set.
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    expected = (1 * 2 + 1) ** 3 + (0 * 1 + 1) ** 3 - 2 * (1 + 2**3 + 1 + 3**3) / 4
    assert quality.kernel_distance(x, y) == pytest.approx(expected)


def test_precision_and_recall_tell_missing_kinds_from_odd_ones():
    real = np.concatenate([rng.normal(1, "left", 0, 200, (2,)), 50 + rng.normal(1, "right", 0, 200, (2,))])
    one_kind = rng.normal(2, "left", 0, 400, (2,))
    precision, recall = quality.precision_and_recall(real, one_kind)
    assert precision > 0.9 and 0.4 < recall < 0.55
    precision, recall = quality.precision_and_recall(one_kind, real)
    assert 0.4 < precision < 0.55 and recall > 0.9
    assert quality.precision_and_recall(real, real) == (1.0, 1.0)
    assert quality.precision_and_recall(real, real - 1000) == (0.0, 0.0)


def test_nearest_finds_copies_and_its_error_is_that_of_the_pixels():
    among = images(30)
    copies = among[[7, 3]].copy()
    copies[1] = np.where(copies[1] < 255, copies[1] + 1, 254)
    number, mse = quality.nearest_by_pixels(copies, among)
    assert number.tolist() == [7, 3]
    np.testing.assert_allclose(mse, [0, 1 / 255**2], atol=2e-6)
    assert quality.nearest_by_pixels(images(1, "other"), among)[1] == pytest.approx(1 / 6, rel=0.1)


def test_similarity_of_known_images():
    black, white = np.zeros((2, 1, 16, 16), np.uint8), np.full((2, 1, 16, 16), 255, np.uint8)
    assert quality.mean_squared_error(black, white) == 1
    noise = images(2)
    assert quality.structural_similarity(noise, noise) == pytest.approx(1, abs=1e-5)
    assert quality.structural_similarity(black, white) == pytest.approx(0.01**2 / (1 + 0.01**2), rel=1e-3)


def test_read_back_is_the_encoder_at_any_size():
    torch.manual_seed(0)
    vae = place(VAE(SIZE_PX, LATENT_DIM, 4)).eval()
    small = images(5)
    np.testing.assert_allclose(quality.read_back(vae, small), encode(vae, small)[0], atol=1e-5)
    large = small.repeat(2, axis=2).repeat(2, axis=3)
    assert quality.read_back(vae, large).shape == (5, LATENT_DIM)
    space = quality.encoder_features(vae)
    assert (space.name, space.of(small).shape) == ("vae_encoder", (5, 32))


def test_inception_weights_are_named_by_their_digest_and_checked(tmp_path):
    with pytest.raises(ValueError, match=r"^quality\.inception_file: .*none\.pth: no such file"):
        quality.inception_features(tmp_path / "none.pth")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"^quality\.inception_file: .*other\.pth: not Inception v3[^\n]*$"):
        quality.inception_features(tmp_path / "other.pth")


@pytest.mark.slow
def test_inception_features_are_pooled(tmp_path):
    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), tmp_path / "inception.pth")
    space = quality.inception_features(tmp_path / "inception.pth")
    assert space.name.startswith("inception_v3 ") and len(space.name) == len("inception_v3 ") + 8
    assert space.of(images(2)).shape == (2, 2048)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    torch.manual_seed(0)
    vae = place(VAE(SIZE_PX, LATENT_DIM, 4)).eval()
    real, generated = images(40), images(30, "generated")
    sets = quality.ImageSets(real, images(24, "test"), generated, real[:6], real[:6], real[:6], real[6:12])
    z = rng.normal(1, "z", 0, 30, (LATENT_DIM,))
    z_read = z.copy()
    z_read[:, 2] = 0
    ranking = pd.DataFrame(
        {"latent": range(4), "active": [True, False, True, True], "readback_r2": [0.9, 0.0, 0.8, 0.7]}
    )
    return quality.generator_quality(sets, [quality.encoder_features(vae)], z, z_read, ranking, 1000)


def test_the_table_has_every_measure_with_its_floor(table):
    assert list(table) == ["measure", "of", "against", "feature_space", "latent", "n", "value"]
    read = table[table["measure"] == "readback_r2"].set_index(["of", "latent"])["value"]
    assert read["generated", 0] == 1 and read["generated", 2] == pytest.approx(0, abs=0.1)
    assert read["vae decodings", 3] == 0.7 and ("generated", 1) not in read.index
    for measure in ("frechet_distance", "kernel_distance", "precision", "recall"):
        rows = table[table["measure"] == measure]
        assert rows["of"].tolist() == ["generated", "training images"]
        assert set(rows["feature_space"]) == {"vae_encoder"} and set(rows["n"]) == {24}
    exact = table.query("measure == 'mse' and of == 'vae reconstructions'")["value"].item()
    assert exact == 0
    assert table.query("measure == 'nearest_mse'")["of"].tolist() == ["generated", "test images"]
    assert np.isfinite(table["value"]).all()
    assert not table.to_csv().lower().count("fid,")


def test_the_figures_show_the_table(table):
    figure = figures.generator_quality(table)
    left = figure.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["$z_{0}$", "$z_{2}$", "$z_{3}$"]
    assert [bar.get_width() for bar in left.containers[1]] == [0.9, 0.8, 0.7]
    assert "24 test images" in figure.get_suptitle()
    drawn = figures.nearest_images(images(3), images(3, "b"), np.array([0.1, 0.2, 0.3]))
    assert [axis.get_xlabel() for axis in drawn.axes[3:]] == ["MSE 0.1000", "MSE 0.2000", "MSE 0.3000"]
