import hashlib
import json

import mlcroissant
import pytest
import yaml

from covary import publication
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
    (folder / "images").mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    (folder / "images" / "0").write_bytes(b"images")
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def test_the_card_has_front_matter_and_says_what_is_there(dataset):
    card = publication.dataset_card(SETTINGS, MANIFEST, dataset)
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert yaml.safe_load(front)["size_categories"] == ["1K<n<10K"]
    assert "| `subjects` | z, eta |" in body
    assert "| 9 | 10 % of `eta_hat` |" in body
    assert "`estimates/noise_9/eta_approx` 2 subjects" in body and MANIFEST["sha256"] in body
    assert max(map(len, body.splitlines())) < 250


def test_croissant_metadata_are_valid_and_have_the_hash_of_every_file(dataset):
    metadata = publication.croissant(SETTINGS, dataset.with_name("manifest.json"), dataset)
    parsed = mlcroissant.Dataset(jsonld=metadata).metadata
    assert parsed.name == "covary_a_b" and not parsed.ctx.issues.errors
    hashes = {file.id: file.sha256 for file in parsed.distribution}
    assert hashes.keys() == {"manifest.json", "dataset.zarr/zarr.json", "dataset.zarr/images/0"}
    assert hashes["dataset.zarr/images/0"] == hashlib.sha256(b"images").hexdigest()
