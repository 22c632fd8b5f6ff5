"""Predict the random effects of every test subject from the image alone."""

from pathlib import Path

from covary import predict, store
from covary.job import job
from covary.subjects import members

with job(snakemake.log[0]):
    marker = Path(snakemake.input.images)
    dataset, digest = marker.parents[1] / "dataset.zarr", store.read_marker(marker)["sha256"]["image"]
    test = members(store.read(dataset, "subjects"), "test")
    network = predict.PredictorNetwork.load(Path(snakemake.input.weights).parent)
    inputs = predict.read_inputs(network.arguments["network"], dataset, test, digest)
    store.write_group(
        dataset,
        f"predictions/noise_{snakemake.wildcards.noise}/{snakemake.wildcards.predictor}",
        predict.label(test, {"eta_pred": predict.predict(network, inputs)}, network.covariance.cpu().numpy()),
        Path(snakemake.output.marker),
        {"code": snakemake.params.code},
    )
