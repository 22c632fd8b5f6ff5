"""Metadata of a dataset in the Croissant vocabulary, version 1.1, with its responsible-AI extension."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from covary import store
from covary.config.experiment import Config
from covary.dataset import names
from covary.publication.origin import (
    ceiling_in_words,
    learned_from_in_words,
    personal_data_in_words,
    started_from_in_words,
)
from covary.wording import image_in_words

_BLOCK_BYTES = 2**24

# The context of the specification, https://docs.mlcommons.org/croissant/docs/croissant-spec.html
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(config: Config, manifest: Path, dataset: Path, ceiling: pd.DataFrame) -> dict[str, Any]:
    """Metadata in the Croissant 1.1 vocabulary: the dataset, how it was made, each file with its SHA-256.

    `ceiling` is the table of `evaluate.measured_ceiling`. Record sets are left out, because Croissant cannot
    describe how to read records from Zarr.
    """
    files = [manifest, *sorted(path for path in dataset.rglob("*") if path.is_file())]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": f"covary_{config.experiment}".replace("-", "_"),
        "description": _description(config, dataset),
        "license": config.license,
        "version": "1.0.0",
        **_responsible_ai(config, ceiling),
        "distribution": [_file_object(path, manifest.parent) for path in files],
    }


def _description(config: Config, dataset: Path) -> str:
    levels = ", ".join(f"{v:g}" for v in config.association.noise_variances)
    images = store.read(dataset, names.IMAGES)["image"]
    image = image_in_words(images.sizes["x"], images["channel"].values.tolist())
    return (
        f"{config.n_subjects} synthetic subjects, each with a generated image of {image} "
        f"and longitudinal records at the noise variances {levels}, made by Covary. A Zarr v3 store; open it "
        "with xarray.open_datatree."
    )


def _responsible_ai(config: Config, ceiling: pd.DataFrame) -> dict[str, Any]:
    """Fields of the Croissant RAI vocabulary 1.0: how made, what for, limits, no personal data."""
    learned_from = learned_from_in_words(config.images)
    started = f"{started_from_in_words(config.generator, config.vae)} ".lstrip()
    return {
        "rai:dataCollectionType": ["Synthetic"],
        "rai:dataCollection": (
            f"Nothing was collected from people. Images were drawn by a diffusion model that learned from "
            f"{learned_from}. {started}Records were simulated from the structural model "
            f"{config.longitudinal.model} (seed {config.seed}); provenance.json names code, environment and "
            "machine, config.yaml all settings."
        ),
        "rai:dataPreprocessingProtocol": [
            f"Images were prepared as squares of {config.images.drawn_size_px} pixels, 8 bits per channel.",
            "Latents of an image autoencoder that change its image most are the random effects; with added "
            "noise they drive the records.",
        ],
        "rai:dataUseCases": [
            "Development and comparison of methods that predict longitudinal outcomes from images, where the "
            "truth is known.",
            "Not for conclusions about any disease, drug or patient.",
        ],
        "rai:dataLimitations": [
            "The association of image and record is constructed. " + ceiling_in_words(ceiling),
            f"Images are no better than the generator, and look like {learned_from}.",
            "All records share one structural model.",
        ],
        "rai:dataBiases": [
            f"Images have the biases of {learned_from}; random effects are standard normal"
            f"{' within each site' if config.sites else ''} and do not depend on covariates."
        ],
        "rai:personalSensitiveInformation": [
            personal_data_in_words(config.images, config.generator, config.vae)
        ],
    }


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
