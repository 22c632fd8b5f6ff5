import importlib.util
import sys

import numpy as np
import pytest

from covary.config.images import Images, Oct, Phantom
from covary.images.denoise import denoise
from covary.images.prepare import clean_image
from covary.phantom.factors import draw_factors
from covary.phantom.render import render

SD = 0.13
needs_bm3d = pytest.mark.skipif(importlib.util.find_spec("bm3d") is None, reason="bm3d is not installed")


@needs_bm3d
def test_denoising_recovers_edges_hidden_in_noise():
    clean = np.full((64, 64), 64.0)
    clean[20:44] = 192
    noisy = clean + np.random.default_rng(0).normal(0, SD * 255, clean.shape)
    noisy = noisy.clip(0, 255).round().astype(np.uint8)
    denoised = denoise(noisy, SD)
    assert (denoised.min(), denoised.max()) == (0, 255)
    # The stretch is affine, so correlation is the measure that it does not touch.
    before, after = (np.corrcoef(clean.ravel(), image.ravel())[0, 1] for image in (noisy, denoised))
    assert before < 0.92 and after > 0.995


@needs_bm3d
def test_denoising_brings_a_phantom_closer_to_its_noise_free_picture():
    config = Phantom(height_px=124, width_px=128, corner_fraction=0.0)
    phantom = render(draw_factors(1, 0, 1, config).iloc[0], config, 1)
    before, after = (
        np.corrcoef(phantom.clean.ravel(), image.ravel())[0, 1]
        for image in (phantom.image, denoise(phantom.image, SD))
    )
    assert after > before


@needs_bm3d
def test_a_plain_image_stays_as_it_is():
    plain = np.full((32, 32), 77, np.uint8)
    np.testing.assert_array_equal(denoise(plain, SD), plain)


def test_the_missing_package_is_named_with_the_config_key(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(ValueError, match=r"^images\.denoise_sd: needs the package bm3d[^\n]*$"):
        clean_image(np.zeros((1, 16, 16), np.uint8), Images(oct=Oct(denoise_sd=SD)))
