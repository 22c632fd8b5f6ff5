"""Covary: paired synthetic images and longitudinal records with a known amount of association."""

__version__ = "0.2.0"
