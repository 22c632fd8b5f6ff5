"""Where the images of a dataset come from and what they carry, in the words of its metadata."""

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from covary.config.generator import SHIPPED_START, Generator
from covary.config.images import Images
from covary.config.predictors import Predictor
from covary.config.vae import SHIPPED_VAE, Vae
from covary.wording import joined, levels, percent, predictor_label


def learned_from_in_words(images: Images) -> str:
    """What the image generator learned from."""
    if images.source == "phantom":
        return "drawn phantoms of OCT scans of the retina"
    if images.are_drawn:
        return "drawn phantoms of cells under treatment"
    return "images in a folder of the user’s own"


def started_from_in_words(generator: Generator, vae: Vae) -> str:
    """What generator and image VAE were before they learned from these images; nothing if their weights were
    random.
    """
    starts = {"The image VAE": vae.start, "The generator": generator.pretrained or generator.start}
    return " ".join(
        f"{network} started from the network {start}, which had learned from other images."
        for network, start in starts.items()
        if start is not None
    )


def predictors_started_in_words(predictors: Sequence[Predictor]) -> str:
    """What predictors were before they learned from these subjects; nothing if all weights were random."""
    started = defaultdict(list)
    for predictor in predictors:
        if predictor.start is not None:
            started[predictor.start].append(predictor_label(predictor.name))
    return " ".join(
        f"{joined(who)} did not start from random weights, but from the network {start}, which had "
        "learned from other images."
        for start, who in started.items()
    )


def personal_data_in_words(images: Images, generator: Generator, vae: Vae) -> str:
    """Whether the data can hold anything of a person."""
    if images.are_drawn:
        elsewhere = []
        if generator.pretrained is not None or generator.start not in (None, SHIPPED_START["start"]):
            elsewhere.append("The generator started from a network from elsewhere.")
        if vae.start not in (None, SHIPPED_VAE["start"]):
            elsewhere.append("The image VAE started from a network from elsewhere.")
        if vae.perceptual in ("file", "torchvision"):
            elsewhere.append("The image VAE was trained with a VGG16 from elsewhere.")
        if elsewhere:
            return (
                f"No image or record is of a person. {' '.join(elsewhere)} What networks from elsewhere "
                "learned from is not known here."
            )
        return "None. No image or record is of a person, nor was any used to make them."
    return (
        "No image or record is of a person. The generator learned from images of the user’s own, and the "
        "table privacy.csv says whether it gives them away. If they were of patients, read it before you "
        "publish."
    )


def ceiling_in_words(ceiling: pd.DataFrame) -> str:
    """What images carry of the random effects, by design and as measured; `evaluate.measured_ceiling`."""
    nothing = ceiling[ceiling["low"] <= 0]
    parts = [
        f"at σ² = {row.noise_variance:g} {percent(row.explainable)} by design, of which the images were "
        f"measured to carry {percent(row.carried, 1)}"
        for row in ceiling.drop(nothing.index).itertuples()
    ]
    if len(nothing):
        parts.append(f"at {levels(nothing)} the images were measured to carry nothing")
    return f"Share of the random effects that an image can tell: {'; '.join(parts)}."
