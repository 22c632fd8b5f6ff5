"""Metadata of a dataset in the Croissant vocabulary, version 1.0."""

import hashlib
from pathlib import Path
from typing import Any

from covary import store
from covary.config.experiment import Config
from covary.wording import image_in_words

_BLOCK_BYTES = 2**24

# The context of the specification, https://docs.mlcommons.org/croissant/docs/croissant-spec.html
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(config: Config, manifest: Path, dataset: Path) -> dict[str, Any]:
    """Metadata in the Croissant 1.0 vocabulary: the dataset and each of its files with size and SHA-256.

    Record sets are left out, because Croissant cannot describe how to read records from Zarr.
    """
    files = [manifest, *sorted(path for path in dataset.rglob("*") if path.is_file())]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"covary_{config.experiment}".replace("-", "_"),
        "description": _description(config, dataset),
        "license": config.license,
        "version": "1.0.0",
        "distribution": [_file_object(path, manifest.parent) for path in files],
    }


def _description(config: Config, dataset: Path) -> str:
    levels = ", ".join(f"{v:g}" for v in config.association.noise_variances)
    images = store.read(dataset, "images")["image"]
    image = image_in_words(images.sizes["x"], images["channel"].values.tolist())
    return (
        f"{config.subjects.total} synthetic subjects, each with a generated image of {image} "
        f"and longitudinal records at the noise variances {levels}, made by Covary. A Zarr v3 store; open it "
        "with xarray.open_datatree."
    )


def _file_object(path: Path, root: Path) -> dict[str, str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    name = path.relative_to(root).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/json" if path.suffix == ".json" else "application/octet-stream",
        "sha256": digest.hexdigest(),
    }
