"""Procedural OCT B-scans of the macula with known factors."""

from covary.phantom.dataset import write_dataset
from covary.phantom.factors import CLASSES, draw_factors
from covary.phantom.render import Labels, Scan, render

__all__ = ["CLASSES", "Labels", "Scan", "draw_factors", "render", "write_dataset"]
