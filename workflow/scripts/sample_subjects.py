"""Draw z for every subject and read the random effects off it."""

from pathlib import Path

import pandas as pd

from covary import store
from covary.config.dataset import Subjects
from covary.dataset import subjects
from covary.jobs.job import job

with job(snakemake.log[0]):
    sampled = subjects.sample(
        pd.read_csv(snakemake.input.ranking),
        Subjects(**snakemake.params.subjects),
        seed=snakemake.params.seed,
    )
    store.write_group(
        Path(snakemake.input.specification).with_name("dataset.zarr"),
        "subjects",
        sampled,
        Path(snakemake.output.marker),
        {"seed": snakemake.params.seed, "code": snakemake.params.code},
    )
