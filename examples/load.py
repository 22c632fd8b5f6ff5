"""Load a Covary dataset with xarray alone and look at its numbers.

    python examples/load.py results/demo/dataset.zarr

Images and records come as arrays with named dimensions; every variable knows its meaning and unit.
"""

import sys

import numpy as np
import xarray as xr

data = xr.open_datatree(sys.argv[1], engine="zarr")
print(data)

images = data["images/image"]  # (subject, channel, y, x), values 0 to 255
split = data["subjects/split"]  # 0 train, 1 validation, 2 test
print(
    f"{images.sizes['subject']} images of {images.sizes['y']} x {images.sizes['x']} pixels, "
    f"channels {', '.join(images['channel'].values)}"
)
for number, name in enumerate(("train", "validation", "test")):
    print(f"{name}: {int((split == number).sum())} subjects")

# How much of what drives the record is in the image? By design 1/(1 + noise variance).
eta = data["subjects/eta"]
for name, level in data["longitudinal"].children.items():
    correlation = np.corrcoef(eta.values.ravel(), level["eta_hat"].values.ravel())[0, 1]
    print(f"{name}: {100 * correlation**2:.1f} % of eta_hat is in the image")
    outcome = level["observation"]
    print(f"    peak outcome {float(outcome.max('time').mean()):.3f} {outcome.attrs['units']} on average")
