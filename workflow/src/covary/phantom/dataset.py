"""Write a folder of phantoms in the layout of the OCT2017 images."""

import shutil
from functools import partial
from pathlib import Path

import pandas as pd
from PIL import Image

from covary.config.images import Phantom
from covary.files import whole
from covary.jobs.parallel import ordered_map
from covary.phantom.factors import draw_factors
from covary.phantom.render import render

TEST_START = 1_000_000  # number of the first test image; a multiple of ten, so patients are not shared
_JPEG_QUALITY = 90


def write_dataset(folder: Path, config: Phantom, seed: int, workers: int) -> None:
    """Write `{train,test}/CLASS/CLASS-<patient>-<scan>.jpeg`, and `factors.parquet` last.

    The table has the columns `file` and `split`, then those of `draw_factors`. No patient is in both splits.
    The images do not depend on `workers`, and test images do not depend on the number of training images.
    Files of an earlier call in the folder are replaced.
    """
    listing = folder / "factors.parquet"
    listing.unlink(missing_ok=True)
    for split in ("train", "test"):
        shutil.rmtree(folder / split, ignore_errors=True)
    factors = pd.concat(
        {
            "train": draw_factors(seed, 0, config.train, config),
            "test": draw_factors(seed, TEST_START, TEST_START + config.test, config),
        },
        names=["split"],
    )
    factors = factors.reset_index("split").reset_index(drop=True)
    names = factors["class"] + "-" + factors["patient"].astype(str) + "-" + factors["scan"].astype(str)
    factors.insert(0, "file", factors["split"] + "/" + factors["class"] + "/" + names + ".jpeg")
    for parent in {(folder / file).parent for file in factors["file"]}:
        parent.mkdir(parents=True, exist_ok=True)
    rows = [row for _, row in factors.iterrows()]
    for _ in ordered_map(partial(_write_scan, folder, config, seed), rows, workers, "phantoms"):
        pass
    with whole(listing) as unfinished:
        factors.to_parquet(unfinished, index=False)


def _write_scan(folder: Path, config: Phantom, seed: int, row: pd.Series) -> None:
    image = render(row, config, seed).image
    Image.fromarray(image).save(folder / row["file"], quality=_JPEG_QUALITY)
