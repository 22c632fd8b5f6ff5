"""One function per figure. Each returns a matplotlib Figure; `save` writes it to a file."""

from covary.figures.calibration import calibration
from covary.figures.effects import r2_against_explainable_fraction
from covary.figures.fits import goodness_of_fit, predictive_checks
from covary.figures.headline import headline
from covary.figures.images import examples, in_colours, reconstructions, traversals
from covary.figures.ladder import deep_association, deep_ladder
from covary.figures.latents import latent_ranking
from covary.figures.ledger import association_ledger
from covary.figures.phenotypes import (
    cells_by_mode,
    confusion_matrix,
    family_curves,
    family_reconstructions,
    interpolations,
    mode_correlations,
    open_gates,
    phenotype_accuracy,
)
from covary.figures.posteriors import posterior_coverage, posterior_ranks
from covary.figures.power import learning_curve
from covary.figures.privacy import ClosestPairs, closest_pairs, pairs_of
from covary.figures.quality import generator_quality, nearest_images
from covary.figures.records import association, spread_subjects, trajectories
from covary.figures.rulegraph import parse_rulegraph, workflow_dag
from covary.figures.sites import at_sites, sites
from covary.figures.style import save
from covary.figures.training import training_curves
from covary.figures.visits import visits_worth

__all__ = [
    "ClosestPairs",
    "association",
    "association_ledger",
    "at_sites",
    "calibration",
    "cells_by_mode",
    "closest_pairs",
    "confusion_matrix",
    "deep_association",
    "deep_ladder",
    "examples",
    "family_curves",
    "family_reconstructions",
    "generator_quality",
    "goodness_of_fit",
    "headline",
    "in_colours",
    "interpolations",
    "latent_ranking",
    "learning_curve",
    "mode_correlations",
    "nearest_images",
    "open_gates",
    "pairs_of",
    "parse_rulegraph",
    "phenotype_accuracy",
    "posterior_coverage",
    "posterior_ranks",
    "predictive_checks",
    "r2_against_explainable_fraction",
    "reconstructions",
    "save",
    "sites",
    "spread_subjects",
    "training_curves",
    "trajectories",
    "traversals",
    "visits_worth",
    "workflow_dag",
]
