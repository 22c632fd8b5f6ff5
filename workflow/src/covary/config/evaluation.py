"""Settings of the evaluation and of the measures of image quality."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from covary.config.base import Positive, Section


class Quality(Section):
    """How the generated images are measured."""

    images: Positive = Field(2000, description="At most so many test subjects and test images")
    training_images: Positive = Field(
        10_000, description="At most so many training images, among which the nearest are sought"
    )
    reconstructions: Positive = Field(200, description="At most so many test images are reconstructed")
    counterfactuals: Positive = Field(
        48, description="Subjects of which images are drawn anew with one random effect moved"
    )
    inception_file: str | None = Field(
        None,
        description="Weights of torchvision's Inception v3 for a second feature space beside the VAE's "
        "encoder; null leaves it out",
    )


class VisitsWorth(Section):
    """Forecasts given the first visits, with and without the image."""

    subjects: Positive = Field(250, description="Test subjects used (all, if there are fewer)")
    first_visits: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2)] | None = Field(
        None,
        description="Numbers of first visits, from 0; the visits after the most of them are forecast; null: "
        "0, 1, 2, 3, 5, 8, … up to half of the schedule",
    )

    @model_validator(mode="after")
    def _numbers_increase_from_0(self):
        numbers = self.first_visits
        if numbers and (numbers[0] != 0 or any(b <= a for a, b in pairwise(numbers))):
            raise ValueError(f"first_visits must start with 0 and increase, got {numbers}")
        return self


class Evaluation(Section):
    """How results are summarised."""

    bootstrap_resamples: int = Field(
        1000, ge=100, description="Resamples of subjects behind each 95 % interval"
    )
    predictive_draws: Annotated[int, Field(ge=2)] = Field(
        39,
        description="Outcomes drawn for each test subject from what a predictor says; 95 % intervals are "
        "exact at 39 and other numbers that are 1 below a multiple of 40",
    )
    privacy_images: Positive = Field(
        2000, description="Generated images (the last; all, if there are fewer) checked for copies"
    )
    visits_worth: VisitsWorth = Field(
        default_factory=VisitsWorth, description="What an image is worth in visits"
    )
