"""Covary: paired synthetic images and longitudinal records with a known amount of association."""
