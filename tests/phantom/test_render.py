import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import rng
from covary.config.images import Phantom
from covary.phantom import CLASSES, draw_factors, lesions, render
from covary.phantom.anatomy import DEPTH_UM, INDEX, LAYERS, WIDTH_MM
from covary.phantom.factors import IMAGE_FACTORS

FULL = Phantom(corner_fraction=0.0)
SMALL = Phantom(height_px=96, width_px=80)


def rows_of(kind: str, count: int, config: Phantom = FULL):
    table = draw_factors(20241, 0, 400, config)
    return [row for _, row in table[table["class"] == kind].head(count).iterrows()]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), image=st.integers(0, 10**6), kind=st.sampled_from(CLASSES))
def test_layers_are_never_inverted(seed, image, kind):
    row = draw_factors(seed, image, image + 1, SMALL).iloc[0]
    row["class"], row["severity"] = kind, 0.0 if kind == "NORMAL" else 1.0
    labels = render(row, SMALL, seed).labels
    assert (np.diff(labels.boundaries_um, axis=0) >= -1e-9).all()
    assert (np.diff(labels.layers.astype(int), axis=0) >= 0).all()
    assert labels.layers.max() <= len(LAYERS) + 1


def test_labels_follow_the_boundaries():
    labels = render(rows_of("CNV", 1)[0], FULL, 1).labels
    centre_um = (np.arange(FULL.height_px) + 0.5) * DEPTH_UM / FULL.height_px
    expected = (labels.boundaries_um[:, None, :] <= centre_um[:, None]).sum(axis=0)
    assert (labels.layers == expected).mean() > 0.9999  # a boundary on a pixel centre may round either way


@pytest.mark.parametrize("kind", CLASSES)
def test_bruchs_membrane_has_the_position_tilt_and_curvature_of_the_row(kind):
    frame_mm = (np.arange(FULL.width_px) + 0.5) / FULL.width_px * WIDTH_MM - WIDTH_MM / 2
    for row in rows_of(kind, 4):
        bruch_um = render(row, FULL, 2).labels.boundaries_um[INDEX["bruch"]]
        second, first, constant = np.polyfit(frame_mm, bruch_um, 2)
        assert abs(constant - row["position_um"]) < 8
        assert abs(np.rad2deg(np.arctan(first / 1000)) - row["tilt_deg"]) < 0.3
        assert abs(-second - row["curvature_um_per_mm2"]) < 2.5


def test_luminance_shifts_every_grey_level_alike():
    row = rows_of("NORMAL", 1)[0]
    row["luminance"], row["gain"] = 0.05, 1.0
    brighter = row.copy()
    brighter["luminance"] = 0.05 + 20 / 255
    before, after = (render(r, FULL, 3).clean.astype(int) for r in (row, brighter))
    inside = (before > 0) & (after < 255)
    assert inside.mean() > 0.9
    assert np.abs(after - before - 20)[inside].max() <= 1


def test_averaging_four_times_as_many_looks_halves_the_speckle():
    row = rows_of("NORMAL", 1)[0]
    row["luminance"] = 0.1
    spread = []
    for looks in (5.0, 20.0):
        row["looks"] = looks
        scan = render(row, FULL, 4)
        dark = scan.labels.layers == 0
        spread.append((scan.image.astype(float) - scan.clean)[dark].std())
    assert abs(spread[0] / spread[1] - 2) < 0.15


def test_layers_have_the_reflectivity_order_of_oct():
    row = rows_of("NORMAL", 1)[0]
    scan = render(row, FULL, 5)
    away = scan.labels.layers[:, 60:150]  # thick layers here, so the point spread matters little
    shown = scan.clean[:, 60:150]
    grey = {
        name: np.median(shown[away == 1 + index])
        for name, index in INDEX.items()
        if (away == 1 + index).any()
    }
    grey["vitreous"] = np.median(shown[away == 0])
    order = ["rpe", "ellipsoid", "ipl", "inl", "onl", "vitreous"]
    assert sorted(order, key=grey.get, reverse=True) == order
    assert grey["rnfl"] > grey["ipl"] > grey["gcl"] > grey["inl"] < grey["opl"]


def test_each_class_has_its_own_lesions():
    seen = {
        kind: set(np.unique([render(row, FULL, 6).labels.lesions for row in rows_of(kind, 6)]))
        - {lesions.NONE}
        for kind in CLASSES
    }
    assert seen["NORMAL"] == set()
    assert seen["DRUSEN"] == {lesions.SUB_RPE}
    assert seen["CNV"] >= {lesions.SUB_RPE, lesions.SUBRETINAL_MATERIAL, lesions.SUBRETINAL_FLUID}
    assert lesions.CYST in seen["DME"]
    assert lesions.SUB_RPE not in seen["DME"]


def test_swelling_thickens_the_retina_by_its_volume():
    x_mm = np.linspace(-3, 3, 512)
    drawn = lesions.draw_lesions("DME", 1.0, x_mm, rng.generator(1, "test"))
    assert 150 < drawn.thickening_um.max() < 400
    assert drawn.thickening_um.min() >= 0


def test_a_scan_depends_on_its_row_and_seed_alone():
    first, second = rows_of("DME", 2)
    alone = render(second, FULL, 7)
    render(first, FULL, 7)
    again = render(second, FULL, 7)
    np.testing.assert_array_equal(alone.image, again.image)
    assert (render(second, FULL, 8).image != alone.image).mean() > 0.5


def test_white_corners_touch_a_corner_and_leave_the_clean_image_alone():
    for row in rows_of("NORMAL", 8):
        plain = render(row, FULL, 9)
        row["corner"] = True
        marked = render(row, FULL, 9)
        changed = marked.image != plain.image
        assert (marked.image[changed] == 255).all()
        assert (marked.image[(0, 0, -1, -1), (0, -1, 0, -1)] == 255).any()
        np.testing.assert_array_equal(marked.clean, plain.clean)


def test_the_four_large_factors_can_be_read_back_linearly():
    """They dominate the pixels: a linear probe on 20 principal components finds them."""
    config = Phantom(height_px=64, width_px=64, corner_fraction=0.0)
    table = draw_factors(11, 0, 500, config)
    pixels = np.array([render(row, config, 11).image.ravel() for _, row in table.iterrows()], dtype=float)
    centred = pixels - pixels.mean(axis=0)
    scores = np.linalg.eigh(centred @ centred.T).eigenvectors[:, -20:]
    design = np.column_stack([np.ones(len(scores)), scores])
    for name, least in zip(list(IMAGE_FACTORS)[:4], (0.85, 0.85, 0.85, 0.55), strict=True):
        y = table[name].to_numpy()
        train, test = slice(0, 350), slice(350, 500)
        coefficients, *_ = np.linalg.lstsq(design[train], y[train], rcond=None)
        residual = y[test] - design[test] @ coefficients
        assert 1 - residual.var() / y[test].var() > least, name
