"""Known factors of phantoms, read from images: a feature space that is the same for every experiment.

The reader is a small ResNet-18, trained once on phantoms (`make pretrain`). It comes with the workflow.
Its features do not depend on an experiment's own VAE, so numbers compare between generators.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from scipy.stats import ks_2samp
from torch import Tensor, nn

from covary.images.pixels import to_unit_range
from covary.jobs.progress import progress
from covary.phantom.factors import CLASSES, IMAGE_FACTORS, PATIENT_FACTORS
from covary.quality.features import FeatureSpace, features_of
from covary.quality.sets import spread
from covary.training.device import device_of, fixed_threads, place
from covary.training.draws import seeded, shuffled_batches
from covary.training.resnet import ResNet18
from covary.training.weights import read_weights, write_weights

FACTORS = (*IMAGE_FACTORS, *PATIENT_FACTORS, "severity")
_WIDTH = 16
_EPOCHS, _BATCH, _LEARNING_RATE = 6, 64, 0.004
_CLASS_WEIGHT = 0.5


class FactorReader(nn.Module):
    """Reads the factors, in standard deviations of its training images, and the class of a scan."""

    def __init__(self, size_px: int, r2: dict[str, float] | None = None):
        super().__init__()
        self.size_px, self.r2 = size_px, r2 or {}
        self.body = ResNet18(_WIDTH, outputs=None)
        self.head = nn.Linear(8 * _WIDTH, len(FACTORS) + len(CLASSES))
        self.register_buffer("mean", torch.zeros(len(FACTORS)))
        self.register_buffer("sd", torch.ones(len(FACTORS)))

    def forward(self, x: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, "batch output"]:
        """Standardised factors, then logits of the classes."""
        return self.head(self.body(x))


@dataclass(frozen=True)
class Read:
    """What a reader sees in some images: factors in their own units, and the number of the class."""

    factors: Float32[np.ndarray, "n factor"]
    kind: Int64[np.ndarray, " n"]


@fixed_threads(1)  # the generator trains beside it
def train_factor_reader(
    images: UInt8[np.ndarray, "n 1 h w"], factors: pd.DataFrame, seed: int
) -> FactorReader:
    """Fit a reader to phantoms by AdamW; `factors` has one row per image (see `covary.phantom.factors`)."""
    values = torch.tensor(factors[list(FACTORS)].to_numpy(np.float32))
    kind = torch.tensor(factors["class"].map({name: i for i, name in enumerate(CLASSES)}).to_numpy())
    with seeded(seed, "factor_reader"):
        reader = place(FactorReader(images.shape[-1]))
    device = device_of(reader)
    reader.mean.copy_(values.mean(dim=0))
    reader.sd.copy_(values.std(dim=0))
    batches = -(-len(images) // _BATCH)
    optimiser = torch.optim.AdamW(reader.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=_EPOCHS * batches)
    reader.train()
    with progress(_EPOCHS, 0, "train factor reader (epochs)") as bar:
        for epoch in range(_EPOCHS):
            for batch in shuffled_batches(seed, "factor_reader", epoch, len(images), _BATCH):
                found = reader(to_unit_range(images[batch], device))
                wanted = (values[batch].to(device) - reader.mean) / reader.sd
                loss = (found[:, : len(FACTORS)] - wanted).square().mean()
                classes = nn.functional.cross_entropy(found[:, len(FACTORS) :], kind[batch].to(device))
                optimiser.zero_grad(set_to_none=True)
                (loss + _CLASS_WEIGHT * classes).backward()
                optimiser.step()
                rate.step()
            bar.update()
    return reader.eval()


def read_factors(reader: FactorReader, images: UInt8[np.ndarray, "n 1 h w"]) -> Read:
    """The factors and the class that the reader sees."""
    found = features_of(reader, images, nn.Identity(), reader, reader.size_px)
    factors = found[:, : len(FACTORS)] * reader.sd.cpu().numpy() + reader.mean.cpu().numpy()
    return Read(factors, found[:, len(FACTORS) :].argmax(axis=1))


def with_skill(
    reader: FactorReader, images: UInt8[np.ndarray, "n 1 h w"], factors: pd.DataFrame
) -> FactorReader:
    """The reader, with the R² of each factor on images that it has not seen."""
    truth = factors[list(FACTORS)].to_numpy(np.float64)
    wrong = np.square(read_factors(reader, images).factors - truth).mean(axis=0) / truth.var(axis=0)
    reader.r2 = {name: float(1 - one) for name, one in zip(FACTORS, wrong, strict=True)}
    return reader


def reader_features(reader: FactorReader, name: str) -> FeatureSpace:
    """The space of the last feature maps, averaged over the image."""
    return FeatureSpace(
        name, lambda images: features_of(reader, images, nn.Identity(), reader.body, reader.size_px)
    )


def factor_table(
    reader: FactorReader,
    generated: UInt8[np.ndarray, "n 1 h w"],
    training: UInt8[np.ndarray, "k 1 h w"],
    test: UInt8[np.ndarray, "m 1 h w"],
) -> pd.DataFrame:
    """The table `factors.csv`: how factors read from images differ from those of test images.

    Columns factor, of (generated or training images), n, mean, sd, test_mean, test_sd, distance, p,
    reader_r2. `distance` is the Kolmogorov-Smirnov distance to the distribution of test images, and `p` the
    probability of one as large by chance. For a class, mean is its share, and distance and p are those of the
    shares. `reader_r2` says how well the reader reads this factor from phantoms that it has not seen.
    """
    n = min(len(generated), len(training), len(test))
    reference = read_factors(reader, test[spread(len(test), n)])
    rows = []
    for of, images in (("generated", generated), ("training images", training)):
        found = read_factors(reader, images[spread(len(images), n)])
        columns = [(name, found.factors[:, i], reference.factors[:, i]) for i, name in enumerate(FACTORS)]
        columns += [(name, found.kind == i, reference.kind == i) for i, name in enumerate(CLASSES)]
        for name, a, b in columns:
            a, b = a.astype(float), b.astype(float)
            test_of = ks_2samp(a, b)
            rows.append(
                {"factor": name, "of": of, "n": n, "mean": a.mean(), "sd": a.std(), "test_mean": b.mean(),
                 "test_sd": b.std(), "distance": test_of.statistic, "p": test_of.pvalue,
                 "reader_r2": reader.r2.get(name)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def write_reader(reader: FactorReader, path: Path) -> None:
    """Write the weights in half precision, with the file's checksum beside it."""
    about = {"size_px": reader.size_px, "width": _WIDTH, "channels": 1}  # predictors start from such layers
    write_weights(reader.state_dict(), about | {"factors": list(FACTORS), "r2": reader.r2}, path)


def load_reader(path: Path) -> FactorReader:
    """Read what `write_reader` wrote. Raises UserError if the file is missing, damaged or another one."""
    expected = {"factors": list(FACTORS)}
    about, weights = read_weights(path, expected, "factor reader", "write it with `make pretrain`")
    reader = FactorReader(about["size_px"], about["r2"])
    reader.load_state_dict(weights)
    return place(reader.requires_grad_(False)).eval()
