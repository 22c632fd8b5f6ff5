import hashlib
import json

import mlcroissant
import pandas as pd
import pytest
import yaml

from covary import publication, store
from covary.config.reading import check

SETTINGS = check({"experiment": "a-b", "license": "cc-by-4.0"})
CEILING = pd.DataFrame(
    {
        "noise_variance": [9.0, 49.0],
        "explainable": [0.1, 0.02],
        "carried": [0.08, 0.001],
        "low": [0.07, -0.01],
        "high": [0.09, 0.01],
    }
)
MANIFEST = {
    "groups": {"subjects": {"z": "1", "eta": "2"}, "images": {"image": "3"}},
    "missing": {"estimates/noise_9/eta_approx": 2},
    "sha256": "f" * 64,
}


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "dataset.zarr"
    layout = dict(size_px=32, channels=["DNA", "actin"], shard_subjects=8, chunk_subjects=8)
    store.create(folder, attributes={}, **layout)
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def test_the_card_has_front_matter_and_says_what_is_there(dataset):
    card = publication.dataset_card(SETTINGS, MANIFEST, dataset, CEILING)
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert yaml.safe_load(front)["size_categories"] == ["1K<n<10K"]
    assert "an image of 32 × 32 pixels (2 channels: DNA, actin) generated" in body
    assert "| `subjects` | z, eta |" in body
    assert "| 9 | 10 % | 8.0 % (7.0 % to 9.0 %) |" in body.replace("\u00a0", " ")
    assert "| 49 | 2 % | nothing |" in body.replace("\u00a0", " ")
    assert "drawn phantoms of OCT scans" in body and "No image or record is of a person" in body
    assert "`estimates/noise_9/eta_approx` 2 subjects" in body and MANIFEST["sha256"] in body
    assert max(map(len, body.splitlines())) < 250


def test_croissant_says_how_the_data_were_made_and_what_they_are_not(dataset):
    own = check({"images": {"source": "folder", "folder": "scans"}})
    for settings, source, person in (
        (SETTINGS, "drawn phantoms of OCT scans", "None. No image or record is of a person"),
        (own, "images in a folder of the user’s own", "read it before you publish"),
    ):
        metadata = publication.croissant(settings, dataset.with_name("manifest.json"), dataset, CEILING)
        parsed = mlcroissant.Dataset(jsonld=metadata).metadata
        assert not parsed.ctx.issues.errors
        assert metadata["rai:dataCollectionType"] == ["Synthetic"]
        assert source in metadata["rai:dataCollection"] and source in parsed.data_collection
        assert person in metadata["rai:personalSensitiveInformation"][0]
        limits = metadata["rai:dataLimitations"][0].replace("\u00a0", " ")
        assert "at σ² = 9 10 % by design, of which the images were measured to carry 8.0 %" in limits
        assert "at σ² = 49 the images were measured to carry nothing" in limits
        assert {"rai:dataUseCases", "rai:dataBiases", "rai:dataPreprocessingProtocol"} <= metadata.keys()


def test_croissant_metadata_are_valid_and_have_the_hash_of_every_file(dataset):
    metadata = publication.croissant(SETTINGS, dataset.with_name("manifest.json"), dataset, CEILING)
    parsed = mlcroissant.Dataset(jsonld=metadata).metadata
    assert parsed.name == "covary_a_b" and not parsed.ctx.issues.errors
    assert "a generated image of 32 × 32 pixels (2 channels: DNA, actin)" in parsed.description
    assert parsed.ctx.is_v1_1() and "http://mlcommons.org/croissant/RAI/1.0" in metadata["conformsTo"]
    hashes = {file.id: file.sha256 for file in parsed.distribution}
    stored = {path.relative_to(dataset.parent).as_posix() for path in dataset.rglob("*") if path.is_file()}
    assert hashes.keys() == stored | {"manifest.json"}
    assert (
        hashes["dataset.zarr/zarr.json"] == hashlib.sha256((dataset / "zarr.json").read_bytes()).hexdigest()
    )
