"""The influence of the latents on the image."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covary.figures.style import BLACK, FROM_IMAGE, LIGHT_GREY, WIDTH_IN, styled

_MOST = 30


@styled
def latent_ranking(ranking: pd.DataFrame, agreement: pd.DataFrame, random_effects: list[str]) -> Figure:
    """Active latents by both ranking methods; the random effects are marked.

    `ranking` has one row per latent with the columns latent, active, posterior_mean_variance, readback_mse,
    sensitivity, rank_readback and random_effect (-1 if the latent is none). Beyond 30 active latents, those
    that rank lowest are left out. `agreement` is one row: spearman, spearman_low, spearman_high, chosen,
    shared. `random_effects` are the names of the model's random effects.
    """
    active = ranking[ranking["active"]].sort_values("rank_readback").head(_MOST)
    panels = {
        "readback_mse": "read-back error (method 1)\nlower is more influential",
        "sensitivity": "decoder sensitivity (method 2)\nhigher is more influential",
        "posterior_mean_variance": "activity, Var of posterior mean\n1 is fully used",
    }
    chosen = active["random_effect"].to_numpy() >= 0
    colours = np.where(chosen, FROM_IMAGE, LIGHT_GREY)
    y = np.arange(len(active))

    figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.24 * len(active)), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        axis.barh(y, active[column], color=colours, edgecolor=np.where(chosen, BLACK, "#A6A6A6"), height=0.68,
                  linewidth=0.5)  # fmt: skip
        axis.grid(axis="y", visible=False)
        axis.set_xlabel(label)
        axis.set_xlim(0, 1.04 * max(active[column].max(), 1e-12))
        axis.locator_params(axis="x", nbins=4)  # small numbers have long labels
    names = [
        rf"$z_{{{latent}}}$" + (f" = {random_effects[effect]}" if effect >= 0 else "")
        for latent, effect in zip(active["latent"], active["random_effect"], strict=True)
    ]
    axes[0].set_yticks(y, names)
    axes[0].invert_yaxis()
    figure.get_layout_engine().set(wspace=0.05)  # the last tick of a panel and the first of the next are near
    methods = agreement.iloc[0]
    figure.suptitle(
        f"{ranking['active'].sum()} of {len(ranking)} latents are active.\nThe methods' ranks correlate by "
        f"{methods['spearman']:.2f} [{methods['spearman_low']:.2f}, {methods['spearman_high']:.2f}]; "
        f"{methods['shared']:.0f} of {methods['chosen']:.0f} random effects are chosen by both".replace(
            "-", "−"
        ),
        fontsize=9,
    )
    return figure
