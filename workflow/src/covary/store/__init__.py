"""The dataset store: create, write, mark, validate, open. The only place that knows Zarr."""

from covary.store.arrays import Images, create, open, read, set_aside, write_group, write_image_shard
from covary.store.markers import read_marker, write_marker
from covary.store.parts import write_parts
from covary.store.validation import finalise, validate_images, verify

__all__ = [
    "Images",
    "create",
    "finalise",
    "open",
    "read",
    "read_marker",
    "set_aside",
    "validate_images",
    "verify",
    "write_group",
    "write_image_shard",
    "write_marker",
    "write_parts",
]
