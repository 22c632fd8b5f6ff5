"""Quality of generated images: what can be read back from them, and how near they are to real images."""

from covary.quality.counterfactuals import counterfactuals
from covary.quality.distances import frechet_distance, kernel_distance, precision_and_recall
from covary.quality.factors import (
    factor_table,
    load_reader,
    reader_features,
    train_factor_reader,
    with_skill,
    write_reader,
)
from covary.quality.features import (
    FeatureSpace,
    encoder_features,
    feature_spaces,
    inception_features,
    read_back,
    readback_r2,
)
from covary.quality.sets import ImageSets, collect, spread
from covary.quality.similarity import mean_squared_error, nearest_by_pixels, pixels, structural_similarity
from covary.quality.table import generator_quality

__all__ = [
    "FeatureSpace",
    "ImageSets",
    "collect",
    "counterfactuals",
    "encoder_features",
    "factor_table",
    "feature_spaces",
    "frechet_distance",
    "generator_quality",
    "inception_features",
    "kernel_distance",
    "load_reader",
    "mean_squared_error",
    "nearest_by_pixels",
    "pixels",
    "precision_and_recall",
    "read_back",
    "readback_r2",
    "reader_features",
    "spread",
    "structural_similarity",
    "train_factor_reader",
    "with_skill",
    "write_reader",
]
