"""What is published with a dataset: a card for readers and Croissant metadata for machines."""

from covary.publication.card import dataset_card
from covary.publication.croissant import croissant

__all__ = ["croissant", "dataset_card"]
