"""The card of a dataset: its content, its origin, and how to read and check it."""

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from covary import store
from covary.config.experiment import Config
from covary.dataset import names
from covary.publication.origin import (
    learned_from_in_words,
    personal_data_in_words,
    predictors_started_in_words,
    started_from_in_words,
)
from covary.wording import image_in_words, percent

# The classes of the Hugging Face hub.
_SIZE_CLASSES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def dataset_card(config: Config, manifest: dict[str, Any], dataset: Path, ceiling: pd.DataFrame) -> str:
    """A README with front matter for the finished dataset that `manifest` describes.

    `ceiling` is the table of `evaluate.measured_ceiling`.
    """
    environment = Environment(
        loader=PackageLoader("covary.publication", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    total, images = config.n_subjects, store.read(dataset, names.IMAGES)["image"]
    return environment.get_template("dataset_card.md.j2").render(
        config=config,
        image=image_in_words(images.sizes["x"], images["channel"].values.tolist()),
        manifest=manifest,
        size_class=next((name for limit, name in _SIZE_CLASSES if total < limit), "1M<n<10M"),
        size_mb=sum(file.stat().st_size for file in dataset.rglob("*") if file.is_file()) / 1e6,
        ceiling=ceiling,
        last_noise=f"{config.association.noise_variances[-1]:g}",
        learned_from=learned_from_in_words(config.images),
        personal_data=personal_data_in_words(config.images, config.generator, config.vae),
        started_from=started_from_in_words(config.generator, config.vae),
        predictors_started=predictors_started_in_words(config.predictors),
        percent=percent,
    )
