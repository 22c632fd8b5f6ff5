"""Phenotype profiles of treatments, and how well they tell a compound's mode of action."""
