"""Drawn cells: the treatments are those of BBBC021, factors are what they say, files are read back."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from covary import images, rng
from covary.config.images import Cells, DrawnCells, Images
from covary.phantom.cells.dataset import write_cells
from covary.phantom.cells.factors import draw_factors, draw_wells
from covary.phantom.cells.modes import MODES, UNTREATED
from covary.phantom.cells.render import SIZE_PX, render
from covary.phantom.cells.treatments import treatments

FEW = DrawnCells(cells_per_well=1, plates_per_week=1, control_wells=1)


def untreated(**changed: float) -> dict[str, float]:
    """The factors of an average cell, some of them changed, under average optics without noise."""
    optics = {"blur_px": 0.9, "background": 0.02, "noise": 0.0}
    factors = {name: mean for name, (mean, _) in UNTREATED.items()} | optics | changed
    return {name: float(value) for name, value in factors.items()}


def drawn(stain: int, n: int = 24, **changed: float) -> np.ndarray:
    """One stain of cells with these factors, each scaled to its maximum."""
    cell = untreated(**changed)
    pixels = np.stack([render(cell, rng.generator(0, "test", i))[..., stain] for i in range(n)]).astype(float)
    return pixels / pixels.max(axis=(1, 2), keepdims=True)


def test_the_treatments_are_the_104_of_the_data_set():
    table = treatments()
    counts = table.groupby("moa").size()
    assert len(table) == 104 and table["compound"].nunique() == 39
    assert counts.sort_index().tolist() == [5, 12, 6, 1, 9, 8, 12, 8, 5, 14, 9, 7, 8]
    assert table["concentration"].nunique() == 19
    assert not table.duplicated(["compound", "concentration"]).any()
    assert set(table["moa"]) == set(MODES)


def test_two_modes_were_tested_in_one_week_and_the_others_in_more():
    weeks = treatments().query("moa != 'DMSO'").groupby("moa")["week"].nunique()
    assert set(weeks[weeks == 1].index) == {"Cholesterol-lowering", "Kinase inhibitors"}


def test_strength_grows_with_dose():
    table = treatments().sort_values(["compound", "concentration"])
    for _, rows in table.groupby("compound"):
        assert rows["strength"].is_monotonic_increasing
    assert table["strength"].between(0, 1).all()


def test_modes_change_known_factors():
    for mode, changes in MODES.items():
        assert changes.keys() <= UNTREATED.keys(), mode


def test_each_treatment_has_one_well_on_each_plate_of_its_week_and_dmso_is_on_all():
    wells = draw_wells(3, DrawnCells(plates_per_week=2, control_wells=3))
    assert not wells.duplicated(["plate", "well"]).any()
    treated = wells[wells["compound"] != "DMSO"].groupby(["compound", "concentration"])
    assert (treated["plate"].nunique() == 2).all() and (treated.size() == 2).all()
    assert (wells[wells["compound"] == "DMSO"].groupby("plate").size() == 3).all()
    with pytest.raises(ValueError, match="a plate has 60 wells"):
        draw_wells(3, DrawnCells(control_wells=50))


def test_factors_of_treated_cells_move_from_those_of_untreated_ones_to_those_of_the_mode():
    config = DrawnCells(cells_per_well=30, plates_per_week=2)
    cells = draw_factors(1, draw_wells(1, config), config)
    control = cells[cells["moa"] == "DMSO"]
    assert control["cell_px"].mean() == pytest.approx(UNTREATED["cell_px"][0], abs=0.8)
    assert (control["responds"] == 0).all()
    for mode, factor in (("Eg5 inhibitors", "rosette"), ("Microtubule stabilizers", "bundles"),
                         ("Cholesterol-lowering", "elongation"), ("DNA damage", "foci")):  # fmt: skip
        of_mode = cells[cells["moa"] == mode]
        low, high = of_mode["strength"] < 0.7, of_mode["strength"] > 0.9
        assert control[factor].mean() < of_mode[low][factor].mean() < of_mode[high][factor].mean()
        target = MODES[mode][factor]
        assert of_mode.query("responds > 0.9")[factor].mean() == pytest.approx(target, rel=0.35)


@pytest.mark.parametrize("size_px", [7.0, 10.0, 13.0])
def test_the_nucleus_has_the_area_it_says(size_px):
    nuclei = drawn(0, nucleus_px=size_px, nucleoli=0, chromatin=0, lobes=0, dent=0, foci=0, micronuclei=0)
    area = (nuclei > 0.5).sum(axis=(1, 2)).mean()
    assert area == pytest.approx(np.pi * size_px**2, rel=0.1)


def test_micronuclei_are_pieces_and_foci_are_points():
    def pieces(pixels):
        return np.mean([ndimage.label(one > 0.4)[1] for one in pixels])

    plain = dict(nucleoli=0, chromatin=0, foci=0, micronuclei=0)
    assert pieces(drawn(0, **plain)) == 1
    assert pieces(drawn(0, **plain | {"micronuclei": 4})) > 1.5

    def peaks(pixels):
        return np.mean([((one == ndimage.maximum_filter(one, 5)) & (one > 0.75)).sum() for one in pixels])

    assert peaks(drawn(0, **plain | {"foci": 10})) > 1.4 * peaks(drawn(0, **plain | {"foci": 2}))


def test_actin_without_cortex_and_fibres_lies_in_clumps():
    clumped = drawn(1, cortex=0.2, fibres=0, clumps=11)
    plain = drawn(1)
    assert (clumped > 0.5).mean() < 0.5 * (plain > 0.5).mean()


def test_without_filaments_tubulin_is_smooth():
    def roughness(pixels):
        return np.mean([(one - ndimage.gaussian_filter(one, 2)).std() / one.std() for one in pixels])

    assert roughness(drawn(2, filaments=2, haze=1.3)) < 0.7 * roughness(drawn(2))


def test_cells_depend_on_their_own_key_alone():
    cell = untreated(noise=0.02)
    one, again, other = (render(cell, rng.generator(0, "test", i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.shape == (SIZE_PX, SIZE_PX, 3) and one.dtype == np.uint16
    assert (one != other).mean() > 0.5


def test_a_written_folder_is_read_as_cells_with_their_treatments(tmp_path):
    write_cells(tmp_path / "cells", FEW, seed=1, workers=1)
    config = Images(source="cells", size_px=SIZE_PX, cells=Cells(split_by="treatment"))
    images.prepare(tmp_path / "cells", tmp_path / "out", config, 1, 1, tmp_path / "checkpoints")
    index = images.load(tmp_path / "out").index
    assert (index["status"] == "ok").all() and index["treatment"].nunique() == 104
    factors = pd.read_parquet(tmp_path / "cells/factors.parquet").set_index("file").loc[index["file"]]
    assert index["moa"].astype(str).tolist() == factors["moa"].astype(str).tolist()
    assert set(index["week"]) == {f"Week{week}" for week in range(1, 6)}
