"""Predict the random effects of every test subject from the image alone."""

from pathlib import Path

import numpy as np
import xarray as xr

from covary import predict, store
from covary.job import job
from covary.subjects import members

with job(snakemake.log[0]):
    marker = Path(snakemake.input.images)
    dataset, digest = marker.parents[1] / "dataset.zarr", store.read_marker(marker)["sha256"]["image"]
    test = members(store.read(dataset, "subjects"), "test")
    network = predict.ResNet18.load(Path(snakemake.input.weights).parent)
    eta_pred = predict.predict(network, store.Images(dataset, test, digest))
    attributes = {"long_name": "random effects predicted from the image", "units": "1"}
    store.write_group(
        dataset,
        f"predictions/noise_{snakemake.wildcards.noise}/{snakemake.wildcards.predictor}",
        xr.Dataset(
            {"eta_pred": (("subject", "random_effect"), eta_pred, attributes)},
            coords={"subject": ("subject", np.arange(test.start, test.stop), {"long_name": "subject"})},
        ),
        Path(snakemake.output.marker),
        {"code": snakemake.params.code},
    )
