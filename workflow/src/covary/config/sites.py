"""Settings of sites: how subjects, images and random effects differ between scanners or hospitals."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from covary.config.base import Positive, Section
from covary.config.site_methods import COMBAT, METHODS, SiteTraining, TrainedMethod, default_methods

Correlation = Annotated[float, Field(ge=-1, le=1)]
Deviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Scanner(Section):
    """What a site does to the images of its subjects."""

    gain_sd: Deviation = Field(0.1, description="SD over sites of the gain, whose mean is 1")
    offset_sd: Deviation = Field(0.05, description="SD over sites of the offset; white is 1")
    blur_px_sd: Deviation = Field(
        0.0, description="A site's blur is |N(0, this²)|, a Gaussian's SD in pixels"
    )
    noise_sd: Deviation = Field(0.0, description="SD of the noise in each pixel; white is 1")
    watermark: Deviation = Field(
        0.5,
        description="Largest brightness of the mark in a corner, whose strength tells the site; 0 is no mark",
    )


class Sites(Section):
    """Seen sites take part in training; unseen sites join later."""

    seen: Annotated[int, Field(ge=2)] = Field(
        8, description="Sites of training, validation and test subjects"
    )
    unseen: Positive = Field(4, description="Further sites, whose subjects are the split test_unseen")
    unseen_subjects: Positive = Field(600, description="Subjects at unseen sites")
    sizes: Literal["equal", "skewed"] = Field(
        "equal", description="Expected sizes of sites: equal, or the n-th in proportion to 1/n"
    )
    case_mix_sd: Deviation = Field(
        0.5, description="SD over sites of the shift of each random effect, in its standard deviations"
    )
    scanner: Scanner = Field(default_factory=Scanner, description="Effects on images")
    confounding: Correlation = Field(
        0.0, description="Correlation over seen sites of the watermark's strength and the mean case mix"
    )
    unseen_confounding: Correlation = Field(0.0, description="The same over unseen sites")

    methods: list[TrainedMethod] = Field(
        default_factory=default_methods,
        min_length=1,
        description=f"Methods to train and to compare: names out of {', '.join(METHODS)}, or "
        "{corrector, effects}",
    )
    training: SiteTraining = Field(default_factory=SiteTraining, description="How methods are trained")

    def without_effect(self) -> dict[str, str]:
        """Without a mark there is nothing to confound."""
        keys = ("confounding", "unseen_confounding")
        return {} if self.scanner.watermark else dict.fromkeys(keys, "with scanner.watermark 0")

    @property
    def total(self) -> int:
        """Seen and unseen sites."""
        return self.seen + self.unseen

    @model_validator(mode="after")
    def _sites_have_subjects(self):
        if self.unseen_subjects < self.unseen:
            raise ValueError(f"unseen_subjects must be at least the number of unseen sites ({self.unseen}), "
                             f"got {self.unseen_subjects}")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _methods_fit(self):
        names: set[str] = set()
        for i, method in enumerate(self.methods):
            if method.name in names:
                raise ValueError(f"methods[{i}].name must differ from those of other methods; give this one "
                                 f"a `name`, got {method.name!r}")  # fmt: skip
            names.add(method.name)
            if method.corrector == "adversary" and self.training.network == "linear_probe":
                raise ValueError(f"methods[{i}].corrector must be none with training.network linear_probe, "
                                 "which has no hidden layer, got 'adversary'")  # fmt: skip
            if method.corrector in COMBAT and self.training.network not in ("linear_probe", "perceptron"):
                raise ValueError(f"methods[{i}].corrector must be none or adversary with training.network "
                                 f"{self.training.network}, which sees images and no features, got "
                                 f"{method.corrector!r}")  # fmt: skip
        return self
