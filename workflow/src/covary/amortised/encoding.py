"""Records with missing visits as inputs of a network (Wang et al. 2024).

- `augment`: a missing value is replaced by 0, and an indicator of 0 or 1 says that it is missing.
- `insert`: a missing value is replaced by a constant.
- `time_labels`: missing visits are dropped, and each of the others has its time.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32

Encoding = Literal["augment", "insert", "time_labels"]
ENCODINGS = get_args(Encoding)


class Encoded(NamedTuple):
    """One row of features per visit, and which rows count."""

    features: Float32[np.ndarray, "subject time feature"]
    rows: Bool[np.ndarray, "subject time"]


class Encoder(NamedTuple):
    """Encodes records; observations are standardised with one mean and one standard deviation."""

    encoding: Encoding
    times_h: tuple[float, ...]
    mean: float
    sd: float
    constant: float = -5.0  # that `insert` puts in place of a missing value, in standardised units

    @classmethod
    def fitted(
        cls,
        encoding: Encoding,
        times_h: Float[np.ndarray, " time"],
        y: Float[np.ndarray, "subject time"],
        constant: float = -5.0,
    ) -> "Encoder":
        """An encoder whose standardisation is that of some records."""
        sd = float(np.nanstd(y))
        return cls(
            encoding, tuple(map(float, times_h)), float(np.nanmean(y)), sd if sd > 0 else 1.0, constant
        )

    @property
    def n_features(self) -> int:
        """Features per visit."""
        return 1 if self.encoding == "insert" else 2

    def __call__(self, y: Float[np.ndarray, "subject time"]) -> Encoded:
        """Encode records; NaN is a missing visit."""
        present = np.isfinite(y)
        value = np.where(present, (y - self.mean) / self.sd, 0.0)
        if self.encoding == "augment":
            features, rows = (value, present.astype(float)), np.ones_like(present)
        elif self.encoding == "insert":
            features, rows = (np.where(present, value, self.constant),), np.ones_like(present)
        else:
            last = max(max(self.times_h), 1e-300)
            time = np.broadcast_to(np.array(self.times_h) / last, y.shape)
            features, rows = (value, np.where(present, time, 0.0)), present
        return Encoded(np.stack(features, axis=-1).astype(np.float32), rows)
