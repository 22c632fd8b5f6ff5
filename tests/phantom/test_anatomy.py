import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from covary.phantom.anatomy import INDEX, LAYERS, healthy_thickness_um


def test_thickness_at_the_nodes_is_the_table():
    thickness = healthy_thickness_um(np.array([-2.25, -1.0, 0.0, 1.0, 2.25]), pit_depth=1.0, pit_width=1.0)
    np.testing.assert_allclose(thickness, [layer.thickness_um[1:-1] for layer in LAYERS])


def test_total_thickness_is_that_of_healthy_eyes():
    """PMC6042244: 257 ± 19 µm within 0.5 mm of the fovea, 325–340 at 1 mm, 284–317 at 2.25 mm."""
    r = np.linspace(0, 0.5, 200)
    both_sides = healthy_thickness_um(np.concatenate([-r[::-1], r]), 1.0, 1.0).sum(axis=0)
    disc_mean = np.average(both_sides, weights=np.concatenate([r[::-1], r]))
    assert abs(disc_mean - 257) < 19
    outer = healthy_thickness_um(np.array([-2.25, -1.0, 1.0, 2.25]), 1.0, 1.0).sum(axis=0)
    np.testing.assert_allclose(outer, [284, 325, 340, 317], atol=12)


def test_without_a_pit_the_fovea_is_as_thick_as_its_surroundings():
    thickness = healthy_thickness_um(np.array([-1.0, 0.0, 1.0]), pit_depth=0.0, pit_width=1.0)
    np.testing.assert_allclose(thickness[:, 1], (thickness[:, 0] + thickness[:, 2]) / 2)


@given(depth=st.floats(0, 1.2), width=st.floats(0.5, 1.5))
def test_thickness_is_never_negative_and_the_pit_is_the_thinnest_place(depth, width):
    x_mm = np.linspace(-3.4, 3.4, 301)
    thickness = healthy_thickness_um(x_mm, depth, width)
    assert (thickness >= 0).all()
    inner = thickness[INDEX["rnfl"] : INDEX["onl"]].sum(axis=0)
    central = np.abs(x_mm) <= width
    if depth > 0.1:
        assert abs(x_mm[central][inner[central].argmin()]) < 0.05
