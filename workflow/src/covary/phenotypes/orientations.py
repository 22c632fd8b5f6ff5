"""Features of cells, averaged over turned and mirrored images: nothing in a cell tells up from down."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, UInt8

COUNT = 8  # of a square: four turns, each as it is and mirrored

Images = UInt8[np.ndarray, "n c h w"]
Split = dict[str, Float[np.ndarray, "n feature"]]  # features of the train and of the test images


def turned(images: Images, orientation: int) -> Images:
    """The images in one of the 8 orientations of a square; 0 leaves them as they are."""
    mirrored = images[..., ::-1] if orientation >= COUNT // 2 else images
    return np.ascontiguousarray(np.rot90(mirrored, orientation % (COUNT // 2), axes=(2, 3)))


def averaged(
    features: Callable[[Images], Float[np.ndarray, "n feature"]], images: Mapping[str, Images], count: int
) -> dict[int, Split]:
    """Features of the images as they are (key 1), and their mean over the first `count` orientations."""
    found: dict[int, Split] = {1: {}, count: {}}
    for split, of in images.items():
        total = first = features(of).astype(float)
        for orientation in range(1, count):
            total = total + features(turned(of, orientation))
        found[1][split], found[count][split] = first, total / count
    return found
