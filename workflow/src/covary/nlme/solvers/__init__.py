"""Solvers of the differential equations of structural models."""
