"""The dataset store: create, write, mark, validate, open. The only place that knows Zarr."""

from covary.store.dataset import (
    create,
    finalise,
    open_dataset,
    read,
    set_aside,
    validate_images,
    write_group,
    write_image_shard,
)
from covary.store.markers import read_marker
from covary.store.parts import write_parts

__all__ = [
    "create",
    "finalise",
    "open_dataset",
    "read",
    "read_marker",
    "set_aside",
    "validate_images",
    "write_group",
    "write_image_shard",
    "write_parts",
]
