"""Procedural single cells under treatment, with known factors, in the layout of BBBC021."""
