"""A folder that `datasets.load_dataset` reads: Parquet files with the images in them, and a dataset card."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from covary import nlme
from covary.dataset import names
from covary.dataset.association import explainable_fraction
from covary.export.source import Source, encoded
from covary.wording import image_in_words

_ROWS_A_FILE = 50_000
_ROWS_A_GROUP = 1_000  # a streaming reader reads one group at a time


def write_huggingface(source: Source, target: Path) -> None:
    """Write `data/<split>-<i>-of-<n>.parquet` and `README.md`.

    A row is a subject: subject, image, z, eta, and for each noise level eta_hat_<v>, eta_approx_<v> and
    observation_<v>. Times are in the card.
    """
    (target / "data").mkdir()
    for split, subjects in source.splits().items():
        starts = range(subjects.start, subjects.stop, _ROWS_A_FILE)
        for i, start in enumerate(starts):
            part = slice(start, min(start + _ROWS_A_FILE, subjects.stop))
            name = f"{split}-{i:05d}-of-{len(starts):05d}.parquet"
            pq.write_table(_rows(source, split, part), target / "data" / name, row_group_size=_ROWS_A_GROUP)
    (target / "README.md").write_text(_card(source), encoding="utf-8")


def _rows(source: Source, split: str, part: slice) -> pa.Table:
    images = [
        {"bytes": encoded(image), "path": Path(source.image_path(split, subject)).name}
        for subject, image in source.images(part)
    ]
    columns = {
        "subject": pa.array(np.arange(part.start, part.stop)),
        "image": pa.array(images, type=pa.struct({"bytes": pa.binary(), "path": pa.string()})),
    }
    features = {
        "subject": {"dtype": "int64", "_type": "Value"},
        "image": {"_type": "Image"},
    }
    vectors = {"z": "subjects/z", "eta": "subjects/eta"}
    for scenario in source.scenarios:
        records, estimates = names.records(scenario.name), names.estimates(scenario.name)
        noise = scenario.name.removeprefix("noise_")
        vectors |= {
            f"eta_hat_{noise}": f"{records}/eta_hat",
            f"eta_approx_{noise}": f"{estimates}/eta_approx",
            f"observation_{noise}": f"{records}/observation",
        }
    for name, variable in vectors.items():
        values = source.tree[variable][part].values.astype(np.float32)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        features[name] = {
            "feature": {"dtype": "float32", "_type": "Value"},
            "length": values.shape[1],
            "_type": "Sequence",
        }
    # The `datasets` library reads the types of columns from here. Without it, an image would be a struct.
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table(columns).replace_schema_metadata(metadata)


def _card(source: Source) -> str:
    settings = source.settings
    images = image_in_words(source.tree["images/image"].sizes["x"], source.channels)
    splits = "\n".join(
        f"      - split: {split}\n        path: data/{split}-*.parquet" for split in source.splits()
    )
    levels = "\n".join(
        f"| `{s.name.removeprefix('noise_')}` | {100 * explainable_fraction(s.noise_variance):.3g} % |"
        for s in source.scenarios
    )
    record = source.tree[names.records(source.scenarios[0].name)]
    times = ", ".join(f"{time:g}" for time in record["time"].values)
    unit = nlme.load_model(settings.longitudinal.model).time_unit
    return f"""---
pretty_name: Covary {settings.experiment}
license: {settings.license}
tags: [synthetic, longitudinal, medical-imaging]
configs:
  - config_name: default
    data_files:
{splits}
---

# Covary {settings.experiment}

Synthetic subjects, each with an image of {images} and longitudinal records of an
outcome, made by Covary with the seed {settings.seed}. No subject is a person.

Columns: `subject` its number; `image`; `z` the latent vector it was drawn from; `eta` its random effects in
`z`; and for each noise variance σ², `eta_hat_<σ²>` the random effects that drive the record,
`observation_<σ²>` the record, `eta_approx_<σ²>` their empirical Bayes estimates from it. Times of the
observations, in {unit}: {times}.

```python
from datasets import load_dataset

data = load_dataset("path/to/this/folder")
data["train"][0]["image"]
```

What the images really carry was measured; `tables/association_ledger.csv` beside the dataset has it.

| σ² | of eta_hat an image can explain, by design |
|---|---|
{levels}
"""
