import hashlib
import json

import mlcroissant
import pytest
import yaml

from covary import publication, store
from covary.config.reading import check

SETTINGS = check({"experiment": "a-b", "license": "cc-by-4.0"})
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
    card = publication.dataset_card(SETTINGS, MANIFEST, dataset)
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert yaml.safe_load(front)["size_categories"] == ["1K<n<10K"]
    assert "an image of 32 × 32 pixels (2 channels: DNA, actin) generated" in body
    assert "| `subjects` | z, eta |" in body
    assert "| 9 | 10 % of `eta_hat` |" in body
    assert "`estimates/noise_9/eta_approx` 2 subjects" in body and MANIFEST["sha256"] in body
    assert max(map(len, body.splitlines())) < 250


def test_croissant_metadata_are_valid_and_have_the_hash_of_every_file(dataset):
    metadata = publication.croissant(SETTINGS, dataset.with_name("manifest.json"), dataset)
    parsed = mlcroissant.Dataset(jsonld=metadata).metadata
    assert parsed.name == "covary_a_b" and not parsed.ctx.issues.errors
    assert "a generated image of 32 × 32 pixels (2 channels: DNA, actin)" in parsed.description
    hashes = {file.id: file.sha256 for file in parsed.distribution}
    stored = {path.relative_to(dataset.parent).as_posix() for path in dataset.rglob("*") if path.is_file()}
    assert hashes.keys() == stored | {"manifest.json"}
    assert (
        hashes["dataset.zarr/zarr.json"] == hashlib.sha256((dataset / "zarr.json").read_bytes()).hexdigest()
    )
