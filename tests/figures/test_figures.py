from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from covary import figures, rng
from covary.dataset.association import blur
from covary.evaluate import (
    Chain,
    RandomEffects,
    TrainingSizes,
    association_ledger,
    calibration_table,
    learning_curves,
    random_effects_table,
)
from covary.figures.images import aspect, show
from covary.resampling import Resamples
from covary.wording import predictor_label

NOISES = [0.0, 1.0, 49.0]
EFFECTS = ("eta_cl", "eta_v")
TIMES_H = np.arange(5) * 0.5
SAMPLES = Resamples(300, seed=1, resamples=100)


def lines(axis):
    return {line.get_label(): line for line in axis.lines}


def images(*shape):
    return rng.generator(1, "images").integers(0, 256, (*shape, 1, 8, 6), dtype=np.uint8)


def shown(axis):
    return axis.images[0].get_array()[None]


def test_examples_keep_sides_and_order():
    real, generated = images(6), 255 - images(6)
    figure = figures.examples(real, generated, columns=3)
    assert figure.subfigs[0].get_suptitle() == "Test images"
    for block, expected in zip(figure.subfigs, (real, generated), strict=True):
        np.testing.assert_array_equal([shown(axis) for axis in block.axes], expected)


def test_reconstructions_have_a_row_for_each_source():
    rows = images(3, 4)
    figure = figures.reconstructions(*rows)
    np.testing.assert_array_equal([shown(axis) for axis in figure.axes], rows.reshape(12, 1, 8, 6))
    assert [figure.axes[i].get_ylabel() for i in (0, 4, 8)] == ["Test image", "VAE", "Generator"]


def test_three_channels_are_colours_and_other_numbers_stand_side_by_side():
    axes = [Figure().subplots() for _ in range(3)]
    pixels = rng.generator(1, "channels").integers(0, 256, (5, 8, 6), dtype=np.uint8)
    for axis, channels in zip(axes, (1, 3, 5), strict=True):
        show(axis, pixels[:channels])
    np.testing.assert_array_equal(axes[0].images[0].get_array(), pixels[0])
    np.testing.assert_array_equal(axes[1].images[0].get_array(), pixels[:3].transpose(1, 2, 0))
    np.testing.assert_array_equal(axes[2].images[0].get_array()[:, 24:], pixels[4])
    assert [aspect(pixels[:channels]) for channels in (1, 3, 5)] == [8 / 6, 8 / 6, 8 / 30]


def test_three_stains_are_blue_magenta_and_green_and_other_images_stay_as_they_are():
    stains = 200 * np.eye(3, dtype=np.uint8)[:, :, None, None]  # each image shows one stain alone
    dna, actin, tubulin = figures.in_colours(stains, ("DNA", "actin", "tubulin"))[..., 0, 0]
    assert dna[2] == dna.max() == 200
    assert actin[0] == actin.max() > actin[2] > actin[1]
    assert tubulin[1] == tubulin.max()
    together = figures.in_colours(stains.max(axis=0), ("DNA", "actin", "tubulin"))
    np.testing.assert_allclose(together[:, 0, 0], np.minimum(dna.astype(int) + actin + tubulin, 255), atol=2)
    for channels in (("red", "green", "blue"), ("grey",), ("a", "b", "c", "d")):
        image = np.arange(4 * len(channels), dtype=np.uint8).reshape(len(channels), 2, 2)
        assert figures.in_colours(image, channels) is image


def test_grey_values_are_not_stretched():
    dark = np.full((1, 1, 8, 6), 40, np.uint8)
    axis = figures.reconstructions(dark, dark, dark).axes[0]
    assert axis.images[0].get_clim() == (0, 255)


def test_traversals_frame_the_reference_column():
    figure = figures.traversals(images(2, 3), [5, 11], np.array([-2.0, 0.0, 2.0]))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["−2", "0", "+2"]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["$z_{5}$", "$z_{11}$"]
    framed = [axis.spines["left"].get_visible() for axis in figure.axes]
    assert framed == [False, True, False] * 2


def test_association_shows_each_record_beside_what_the_image_encodes():
    observation = rng.normal(1, "y", 0, 3, (2, 5))
    encoded = rng.normal(2, "f", 0, 2, (5,))
    figure = figures.association(images(2), TIMES_H, NOISES, observation, encoded, ("d", "mm"))
    assert {a.get_xlabel() for a in figure.axes} == {"", "time (d)"}
    assert {a.get_ylabel() for a in figure.axes} == {"", "outcome\n(mm)"}
    grid = np.array(figure.axes).reshape(2, 4)
    for subject in range(2):
        for i in range(3):
            points, curve = grid[subject, 1 + i].lines
            np.testing.assert_array_equal(points.get_ydata(), observation[i, subject])
            np.testing.assert_array_equal(curve.get_ydata(), encoded[subject])
    assert [t.get_text() for t in grid[0, 2].texts] == ["by design ≤ 50\u00a0%"]


def test_trajectories_show_each_predictor():
    observation, a, b = rng.normal(1, "y", 0, 3, (3, 2, 5))
    figure = figures.trajectories(TIMES_H, NOISES, observation, {"a": a, "b": b}, np.zeros(5), ("h", "mg/l"))
    grid = np.array(figure.axes).reshape(2, 3)
    for subject in range(2):
        for i in range(3):
            drawn = [line.get_ydata() for line in grid[subject, i].lines]
            np.testing.assert_array_equal(
                drawn, [observation[i, subject], a[i, subject], b[i, subject], np.zeros(5)]
            )
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["observed", "predicted, a", "predicted, b", "average subject"]


def test_spread_subjects_cover_the_ranks_of_the_peak():
    peaks = rng.generator(1, "peaks").permutation(100).astype(float)
    prediction = np.stack([np.zeros(100), peaks, np.zeros(100)], axis=1)
    assert sorted(peaks[figures.spread_subjects(prediction, 4)]) == [12, 37, 62, 87]
    with pytest.raises(ValueError, match="5 subjects to show were asked for, there are 4"):
        figures.spread_subjects(prediction[:4], 5)


def levels(predictors, n=300):
    eta = rng.normal(1, "eta", 0, n, (2,))
    made = []
    for v in NOISES:
        eta_hat = blur(eta, v, rng.normal(1, f"r/{v}", 0, n, (2,)))
        eta_pred = {p: eta / (1 + v) ** 0.5 for p in predictors}
        covariance = dict.fromkeys(predictors, (v / (1 + v) + 0.01) * np.eye(2))
        made.append(RandomEffects(v, EFFECTS, eta_hat, 0.7 * eta_hat, eta_pred, covariance))
    return made


@pytest.mark.parametrize("predictors", [("network",), ("a", "b")])
def test_r2_is_drawn_at_its_explainable_fraction(predictors):
    table = random_effects_table(levels(predictors), SAMPLES)
    absolute, relative = figures.r2_against_explainable_fraction(table).axes
    of_image = table[table["theoretical_max"].notna() & (table["random_effect"] == "all")]
    for i, name in enumerate(predictors):
        rows = of_image[of_image["predictor"] == name]
        points, _, (bars,) = absolute.containers[1 + i].lines
        np.testing.assert_allclose(points.get_xdata().astype(float), [1.0, 0.5, 0.02])
        np.testing.assert_allclose(points.get_ydata().astype(float), rows["r2"])
        ends = [segment[:, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(ends, rows[["r2_low", "r2_high"]])
        np.testing.assert_allclose(
            relative.containers[i].lines[0].get_ydata().astype(float), rows["fraction_of_max"]
        )


def test_latent_ranking_shows_active_latents_and_marks_the_chosen():
    ranking = pd.DataFrame(
        {
            "latent": [0, 1, 2, 3],
            "active": [True, False, True, True],
            "posterior_mean_variance": [0.5, 0.001, 0.9, 0.7],
            "readback_mse": [0.5, 1.0, 0.1, 0.3],
            "sensitivity": [0.01, 0.0, 0.04, 0.02],
            "rank_readback": [3, -1, 1, 2],
            "random_effect": [-1, -1, 0, 1],
        }
    )
    agreement = pd.DataFrame(
        [{"spearman": 0.5, "spearman_low": -0.25, "spearman_high": 1.0, "chosen": 2, "shared": 1}]
    )
    figure = figures.latent_ranking(ranking, agreement, ["eta_Ka", "eta_Imax"])
    readback, sensitivity, _ = figure.axes
    names = [label.get_text() for label in readback.get_yticklabels()]
    assert names == ["$z_{2}$ = eta_Ka", "$z_{3}$ = eta_Imax", "$z_{0}$"]
    assert [bar.get_width() for bar in readback.patches] == [0.1, 0.3, 0.5]
    assert [bar.get_width() for bar in sensitivity.patches] == [0.04, 0.02, 0.01]
    colours = [bar.get_facecolor() for bar in readback.patches]
    assert colours[0] == colours[1] != colours[2]
    assert figure.get_suptitle() == (
        "3 of 4 latents are active.\nThe methods' ranks correlate by 0.50 [−0.25, 1.00]; "
        "1 of 2 random effects are chosen by both"
    )


def test_training_curves_mark_the_weights_that_were_kept():
    vae = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [9.0, 3.0, 2.0],
            "test_loss": [9.5, 3.5, 2.6],
            "active_units": [0, 4, 5],
        }
    )
    generator = pd.DataFrame({"step": [10, 20, 30], "loss": [0.9, 0.2, 0.1]})
    history = pd.DataFrame({"epoch": [1, 2, 3], "validation_loss": [0.9, 0.6, 0.7]})
    figure = figures.training_curves(
        vae,
        generator,
        {
            (0.0, "net_ebe_mse", "ebe_mse"): history,
            (9.0, "net_ebe_mse", "ebe_mse"): history + 0.1,
            (0.0, "net_marginal_likelihood", "marginal_likelihood"): history - 5,
        },
    )
    left, activity, _, right, likelihood = figure.axes
    np.testing.assert_array_equal(activity.lines[0].get_ydata(), [0, 4, 5])
    np.testing.assert_array_equal(lines(left)["test images"].get_ydata(), vae["test_loss"])
    marks = [line for line in right.lines if line.get_marker() == "o"]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [(2, 0.6), (2.1, 0.7)]
    assert (right.get_title(), likelihood.get_title()) == ("net (EBE)", "net (likelihood)")
    assert [line.get_ydata().min() for line in likelihood.lines] == [0.6 - 5] * 2
    (legend,) = figure.subfigs[1].legends
    assert [text.get_text() for text in legend.get_texts()] == ["σ²\u00a0=\u00a00", "σ²\u00a0=\u00a09"]


def test_the_ledger_bars_end_where_the_explainable_fraction_does():
    eta = rng.normal(1, "eta", 0, 300, (2,))
    read = 0.9 * eta + 0.2 * rng.normal(1, "read", 0, 300, (2,))
    chains = [
        Chain(
            v,
            EFFECTS,
            eta,
            dict.fromkeys("ab", read),
            dict.fromkeys("ab", 0.8 * read * scale),
            {"a": 0.7 * read * scale, "b": 0 * eta},
        )
        for v, scale in ((v, (1 + v) ** -0.5) for v in NOISES)
    ]
    ledger = association_ledger(chains, SAMPLES)
    panels = figures.association_ledger(ledger).axes
    assert [axis.get_title() for axis in panels] == ["a", "b"]
    share = ledger.set_index(["predictor", "noise_variance", "random_effect", "part"])["share"]
    parts = ("reached", "lost_in_predictor", "lost_in_estimator", "lost_in_image")
    for axis, name in zip(panels, "ab", strict=True):
        bars = np.array(axis.patches).reshape(len(NOISES), 3, 4)  # all random effects, then each
        for i, v in enumerate(NOISES):
            for k, effect in enumerate(("all", *EFFECTS)):
                widths = [bar.get_width() for bar in bars[i, k]]
                np.testing.assert_allclose(widths, [share[name, v, effect, part] for part in parts])
                # Negative parts lie left of 0, the others end where they begin: the whole is 1.
                right = max(bar.get_x() + bar.get_width() for bar in bars[i, k])
                left = min(0.0, *(bar.get_x() + bar.get_width() for bar in bars[i, k]))
                assert right + left == pytest.approx(1.0)
        assert axis.get_xlim()[0] <= min(0.0, share[name].min())


def test_ticks_of_the_ledger_leave_room_for_their_labels():
    """Where a single random effect is far off, the panel is wide, and the whole takes a small part of it."""
    parts = {"reached": -1.0, "lost_in_predictor": 1.5, "lost_in_estimator": 0.3, "lost_in_image": 0.2}
    rows = [
        (v, name, "all", part, value * scale, value * scale, value * scale, 1.0)
        for v in NOISES
        for name, scale in (("a", 1.0), ("b", 0.1))
        for part, value in {**parts, "lost_in_image": parts["lost_in_image"] + 9 * (name == "b")}.items()
    ]
    columns = ["noise_variance", "predictor", "random_effect", "part", "value", "low", "high", "share"]
    figure = figures.association_ledger(pd.DataFrame(rows, columns=columns))
    figure.canvas.draw()
    for axis, count in zip(figure.axes, (3, 5), strict=True):
        boxes = [label.get_window_extent() for label in axis.get_xticklabels()]
        assert len(boxes) == count and all(one.x1 < two.x0 for one, two in pairwise(boxes))


def test_the_headline_shows_design_ceiling_and_found_as_shares():
    eta = rng.normal(1, "eta", 0, 300, (2,))
    read = 0.9 * eta + 0.2 * rng.normal(1, "read", 0, 300, (2,))
    chains = [
        Chain(v, EFFECTS, eta, {"a": read}, {"a": read * scale}, {"a": 0.7 * read * scale})
        for v, scale in ((v, (1 + v) ** -0.5) for v in NOISES)
    ]
    ledger = association_ledger(chains, SAMPLES)
    (axis,) = figures.headline(ledger).axes
    design, carried = axis.patches[: len(NOISES)], axis.patches[len(NOISES) :]
    assert [bar.get_width() for bar in design] == [1.0] * len(NOISES)
    pooled = ledger[ledger["random_effect"] == "all"].set_index("part")["share"]
    np.testing.assert_allclose([bar.get_width() for bar in carried], 1 - pooled["lost_in_image"])
    points, _, _ = axis.containers[-1].lines
    np.testing.assert_allclose(points.get_xdata().astype(float), pooled["reached"])


def test_calibration_shows_coverage_beside_its_levels():
    table = calibration_table(levels(("a", "b")), SAMPLES)
    (axis,) = figures.calibration(table).axes
    pooled = table[table["random_effect"] == "all"]
    for i, name in enumerate("ab"):
        rows = pooled[pooled["predictor"] == name]
        points, _, _ = axis.containers[i].lines
        np.testing.assert_allclose(points.get_ydata().astype(float), rows["coverage"])
    flat = [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"]
    assert flat == [0.5, 0.8, 0.95]


def trainings(skill):
    made = []
    for level in levels(("net",)):
        size = np.arange(4.0)[:, None, None]
        noise = rng.normal(1, "p", 0, 4, (300, 2)) * (0.5 - 0.1 * size)
        prediction = skill * level.eta_pred["net"] + noise * (1 + level.noise_variance) ** -0.5
        sizes = np.array([200, 400, 800, 1600])
        made.append(
            TrainingSizes(level.noise_variance, "net", level.eta_hat, level.eta_approx, sizes, prediction)
        )
    return learning_curves(made, SAMPLES, {v: 0.9 / (1 + v) for v in NOISES})


@pytest.mark.parametrize("skill", [0.9, 0.0])
def test_learning_curves_stand_below_their_maximum_with_the_subjects_needed(skill):
    curve, power = trainings(skill)
    *panels, below = figures.learning_curve(curve, power).axes
    for axis, v in zip(panels, NOISES, strict=True):
        rows = curve[curve["noise_variance"] == v]
        measured = rows[rows["kind"] == "measured"]
        points, _, _ = axis.containers[0].lines
        np.testing.assert_allclose(points.get_ydata().astype(float), measured["r2"])
        assert axis.get_ylim()[1] >= rows["theoretical_max"].iloc[0]
    shown = [text.get_text() for text in below.texts]
    assert f"{power['ideal'][1]:,.0f}" in shown
    assert ("cannot be said, at least 1,600" in shown) == (skill == 0)
    assert "< 200" in shown or skill == 0


def test_without_a_learning_curve_the_figure_says_so():
    (text,) = figures.learning_curve(*learning_curves([], SAMPLES, {})).texts
    assert text.get_text() == "no learning curve was measured"


def test_closest_pairs_show_both_images_and_the_distance():
    def pairs(title, at):
        two = images(4)[at : at + 2]
        return figures.ClosestPairs("pixels", title, two, 255 - two, np.array([1.25, 2.0]))

    left, right = pairs("Generated", 0), pairs("Held out", 2)
    figure = figures.closest_pairs([left], [right])
    for block, expected in zip(figure.subfigs, (left, right), strict=True):
        assert block.get_suptitle() == f"{expected.title}, by pixels"
        np.testing.assert_array_equal(
            [shown(axis) for axis in block.axes], [*expected.images, *expected.nearest]
        )
        assert [axis.get_title() for axis in block.axes[:2]] == ["1.25", "2"]


def test_predictors_are_called_by_network_and_target():
    assert predictor_label("resnet18_marginal_likelihood") == "resnet18 (likelihood)"
    assert predictor_label("my_net_ebe_mse") == "my_net (EBE)"
    assert predictor_label("network") == "network"
