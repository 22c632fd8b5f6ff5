"""The handwritten digits that ship with scikit-learn, written out as an image folder."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from covary.files import whole

# The folder is a data set like any other that one downloads, so its split is fixed.
_TEST_IMAGES = 270
_SPLIT_SEED = 0


def write_digits(folder: Path) -> None:
    """Write 1,797 digits of 8×8 pixels as `{train,test}/<digit>/<digit>-<n>-1.png` and, last, `labels.csv`.

    Values 0 … 16 become 0 … 255. Each digit has the same share of the 1,527 training and the 270 test images.
    The table lists file, split, digit and n, the number of the image in scikit-learn's order. The folder is
    this function's own: what an earlier call left there is replaced.
    """
    digits = load_digits()
    table = pd.DataFrame({"n": np.arange(len(digits.target)), "digit": digits.target})
    _, test = train_test_split(
        table["n"], test_size=_TEST_IMAGES, stratify=table["digit"], random_state=_SPLIT_SEED
    )
    table["split"] = np.where(table["n"].isin(test), "test", "train")
    digit = table["digit"].astype(str)
    table["file"] = table["split"] + "/" + digit + "/" + digit + "-" + table["n"].astype(str) + "-1.png"

    listing = folder / "labels.csv"
    listing.unlink(missing_ok=True)
    for split in ("train", "test"):
        shutil.rmtree(folder / split, ignore_errors=True)
    for parent in {(folder / file).parent for file in table["file"]}:
        parent.mkdir(parents=True)
    for file, pixels in zip(table["file"], digits.images, strict=True):
        Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8)).save(folder / file)
    with whole(listing) as partial:
        table[["file", "split", "digit", "n"]].to_csv(partial, index=False)
