"""The same subjects, records and estimates whatever the layout of the store, the cores and the batches."""

import numpy as np
import pytest

from covary import store
from covary.store import read_marker

GROUPS = (
    "subjects",
    "longitudinal/noise_0",
    "longitudinal/noise_9",
    "estimates/noise_0",
    "estimates/noise_9",
)
TARGETS = [
    f"results/tiny/markers/{name}.json" for name in ("images", "estimates/noise_0", "estimates/noise_9")
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cores", "layout", "batch_size"),
    [
        (1, {"shard_subjects": 128, "chunk_subjects": 32}, 32),
        (2, {"shard_subjects": 32, "chunk_subjects": 16, "compression": "zstd"}, 32),
        (2, {"shard_subjects": 64, "chunk_subjects": 32}, 20),
    ],
)
def test_numbers_do_not_depend_on_the_layout(finished, project, cores, layout, batch_size):
    project.take_over(finished)
    config = project.edited("other.yaml", store=layout, sampling={"batch_size": batch_size})
    for group in (*GROUPS, "images"):  # so that records and estimates are computed anew as well
        (project.results / f"markers/{group}.json").unlink()
    run = project.snakemake(*TARGETS, config=config, cores=cores)
    assert run.returncode == 0, run.stderr[-3000:]
    for group in GROUPS:
        found, expected = (read_marker(p.results / f"markers/{group}.json") for p in (project, finished))
        assert found["sha256"] == expected["sha256"], group
    found, expected = (
        store.read(p.results / "dataset.zarr", "images")["image"].values for p in (project, finished)
    )
    assert np.abs(found.astype(int) - expected).max() <= (0 if batch_size == 32 else 1)
