"""The typed configuration: the one place that knows keys, types, ranges, defaults, units and descriptions.

The defaults are the demo. `config/config.yaml` and the other shipped files hold only what differs.
"""

import hashlib
import json
import math
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from covary.config.base import Section
from covary.config.dataset import Association, Store, Subjects
from covary.config.evaluation import Evaluation, Quality
from covary.config.gates import Gates
from covary.config.generator import (
    OTHER_NETWORK,
    OTHER_SAMPLING,
    SHIPPED_SAMPLING,
    SHIPPED_START,
    Generator,
    Sampling,
)
from covary.config.images import Images
from covary.config.inference import Posterior
from covary.config.ladder import Ladder
from covary.config.phenotypes import Phenotypes
from covary.config.predictors import Predictor, default_predictors, with_shipped_start
from covary.config.records import Longitudinal
from covary.config.sites import Sites
from covary.config.vae import Family, Ranking, Vae, with_shipped_vae

# Scans as the shipped networks were trained on, by keys of the section `images`.
DRAWN_SCANS = {"source": "phantom", "size_px": 64, "generator_size_px": None}


class Config(Section):
    """One experiment. Holds science only: machines are described by profiles."""

    replaced: ClassVar = {
        "predictor": "predictors: [{network: …, objective: …, width: …}], a list with one item for each "
        "predictor, and posterior: {draws: …} in place of posterior_draws"
    }

    experiment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = Field(
        "demo", description="Name; everything is written to results/<experiment>"
    )
    seed: Annotated[int, Field(ge=0)] = Field(20241, description="Seed of every random stream")
    license: Annotated[str, Field(min_length=1)] = Field(
        "unknown", description="Licence that the card of the dataset states, for instance cc-by-4.0"
    )
    images: Images = Field(default_factory=Images)
    vae: Vae = Field(default_factory=Vae)
    ranking: Ranking = Field(default_factory=Ranking)
    phenotypes: Phenotypes = Field(default_factory=Phenotypes)
    generator: Generator = Field(default_factory=Generator)
    sampling: Sampling = Field(default_factory=Sampling)
    quality: Quality = Field(default_factory=Quality)
    gates: Gates = Field(default_factory=Gates)
    subjects: Subjects = Field(default_factory=Subjects)
    sites: Sites | None = Field(None, description="Sites that subjects come from; left out, there are none")
    store: Store = Field(default_factory=Store)
    association: Association = Field(default_factory=Association)
    longitudinal: Longitudinal = Field(default_factory=Longitudinal)
    ladder: Ladder = Field(default_factory=Ladder)
    posterior: Posterior = Field(default_factory=Posterior)
    predictors: list[Predictor] = Field(
        default_factory=default_predictors,
        min_length=1,
        description="Predictors to train; left out, resnet18 with each of the two objectives",
    )
    evaluation: Evaluation = Field(default_factory=Evaluation)

    @property
    def n_subjects(self) -> int:
        """Subjects over all splits, with those at unseen sites."""
        return self.subjects.total + (self.sites.unseen_subjects if self.sites else 0)

    @property
    def other_latents(self) -> str:
        """How the latents that are not random effects are drawn; a key of `association`, resolved."""
        return self.association.other_latents or ("prior" if self.vae.is_sparse else "images")

    @property
    def readers(self) -> dict[str, Predictor]:
        """The first predictor of each network, by label. A reader is trained with its settings.

        Where the network has a start, the reader has twice the epochs. A predictor has few, because it
        overfits weak associations; the reader learns a strong one.
        """
        first: dict[str, Predictor] = {}
        for predictor in self.predictors:
            epochs = predictor.epochs * (1 if predictor.start is None else 2)
            first.setdefault(predictor.label, predictor.model_copy(update={"epochs": epochs}))
        return first

    @property
    def oracles(self) -> dict[str, Predictor]:
        """The first predictor of each objective. An oracle has its structure of V."""
        first: dict[str, Predictor] = {}
        for predictor in self.predictors:
            first.setdefault(predictor.objective, predictor)
        return first

    @property
    def estimators_predictor(self) -> Predictor | None:
        """The first predictor that learns estimates: with its settings, images are read under each model."""
        return next((p for p in self.predictors if p.objective == "ebe_mse"), None)

    @property
    def other_families(self) -> list[Family]:
        """The families of VAEs that are trained for comparison only; none where images are not of cells."""
        compared = self.phenotypes.families if self.images.source == "cells" else []
        return [family for family in compared if family != self.vae.family]

    def vae_of_family(self, family: Family) -> Vae:
        """The settings of a family; those that are trained for comparison start from random weights."""
        if family == self.vae.family:
            return self.vae
        given = {"sparsity": self.phenotypes.sparsity, "adversary": self.phenotypes.adversary}
        own = {name: value for name, value in given.items() if value is not None}
        return self.vae.model_copy(update={"family": family, "start": None, **own})

    @property
    def visits_worth_levels(self) -> list[float]:
        """The noise levels at which an image is measured in visits: the three lowest."""
        return sorted(self.association.noise_variances)[:3]

    def without_effect(self) -> dict[str, str]:
        """Only marginal likelihood needs draws from posteriors; only cells have phenotypes."""
        idle = {} if self.sites else {"sites": "with null"}
        of_methods = {method.objective for method in self.sites.methods} if self.sites else set()
        amortised = self.longitudinal.fit.method == "amortised"
        if "marginal_likelihood" not in {*self.oracles, *of_methods} and not amortised:
            idle["posterior"] = "without a predictor by marginal_likelihood or a fit by `amortised`"
        if self.images.source != "cells":
            idle["phenotypes"] = f"with images.source {self.images.source}"
        return idle

    @model_validator(mode="before")
    @classmethod
    def _start_from_the_shipped_networks(cls, value: Any) -> Any:
        """Networks of scans that are drawn at the size of the shipped ones start from these, unless they are
        described otherwise.
        """
        given = value if isinstance(value, dict) else {}
        images = given.get("images", {})
        if not isinstance(images, dict):
            return value
        if {key: images.get(key, value) for key, value in DRAWN_SCANS.items()} != DRAWN_SCANS:
            return value
        predictors = given.get("predictors", [{"objective": p.objective} for p in default_predictors()])
        if isinstance(predictors, list):
            predictors = [with_shipped_start(p) if isinstance(p, dict) else p for p in predictors]
        vae, generator = given.get("vae", {}), given.get("generator", {})
        if not isinstance(vae, dict):
            return value
        given = {**given, "predictors": predictors, "vae": with_shipped_vae(vae)}
        if not isinstance(generator, dict) or generator.keys() & OTHER_NETWORK:
            return given
        if vae.get("family", "beta_vae") != "beta_vae":
            return given
        sampling = given.get("sampling", {})
        if isinstance(sampling, dict) and not sampling.keys() & OTHER_SAMPLING:
            sampling = {**SHIPPED_SAMPLING, **sampling}
        return {**given, "generator": {**SHIPPED_START, **generator}, "sampling": sampling}

    @model_validator(mode="after")
    def _parts_fit_together(self):
        if self.images.source == "folder" and self.images.folder is None:
            raise ValueError("images.folder must name a folder when images.source is `folder`, got null")
        multiple_px, border_px = self.vae.size_multiple_px, self.vae.size_border_px
        if (self.images.size_px - border_px) % multiple_px or self.images.size_px <= border_px:
            border = f"{border_px} and " if border_px else ""
            raise ValueError(f"images.size_px must be {border}a multiple of {multiple_px} (halvings by "
                             f"the VAE), got {self.images.size_px}")  # fmt: skip
        if self.vae.crop_rows >= self.images.size_px:
            raise ValueError(f"vae.crop_rows must be < images.size_px ({self.images.size_px}), "
                             f"got {self.vae.crop_rows}")  # fmt: skip
        if self.longitudinal.fit.method == "amortised" and self.posterior.source != "amortised":
            raise ValueError("posterior.source must be `amortised` when longitudinal.fit.method is, got "
                             f"{self.posterior.source!r}")  # fmt: skip
        if self.vae.is_sparse and self.association.other_latents == "images":
            raise ValueError("association.other_latents must be `prior` or null for a VAE with gates "
                             f"({self.vae.family}), got 'images'")  # fmt: skip
        self._generator_fits()
        self._predictors_differ()
        if self.sites:
            self._sites_fit(self.sites)
        self._estimators_have_a_predictor()
        return self

    def _sites_fit(self, sites: Sites) -> None:
        if sites.seen > self.subjects.train:
            raise ValueError(f"sites.seen must be at most subjects.train ({self.subjects.train}), so that "
                             f"every seen site has training subjects, got {sites.seen}")  # fmt: skip
        folds = sites.training.folds
        if folds > sites.seen:
            raise ValueError(f"sites.training.folds must be at most sites.seen ({sites.seen}), got {folds}")
        if (remaining := sites.seen - math.ceil(sites.seen / folds)) < 2:
            raise ValueError("sites.seen must leave 2 sites for training when a group of them is left out "
                             f"({folds} groups leave {remaining}), got {sites.seen}")  # fmt: skip

    def _generator_fits(self) -> None:
        generator, drawn_px = self.generator, self.images.drawn_size_px
        way = generator.conditioning
        if self.vae.is_sparse and (generator.conditioning_source == "reading" or generator.reading_weight):
            raise ValueError("generator.conditioning_source must not be `reading`, and "
                             "generator.reading_weight must be 0, with a sparse VAE, got "
                             f"{self.vae.family}")  # fmt: skip
        if way in ("residual", "decoding"):
            if generator.pretrained is not None:
                raise ValueError("generator.conditioning must be `token` or `paper` when "
                                 f"generator.pretrained is given, got {way!r}")  # fmt: skip
            if self.vae.crop_rows or drawn_px != self.images.size_px:
                raise ValueError("generator.conditioning must be `token` or `paper` when the VAE sees "
                                 "other images than the generator (vae.crop_rows, "
                                 f"images.generator_size_px), got {way!r}")  # fmt: skip
        if self.sampling.guidance_scale != 1 and generator.condition_dropout == 0:
            raise ValueError("sampling.guidance_scale must be 1 when generator.condition_dropout is 0, "
                             f"got {self.sampling.guidance_scale:g}")  # fmt: skip
        step = generator.patch_px * 2 ** (len(generator.block_channels) - 1)
        if generator.pretrained is None and drawn_px % step:
            key = "size_px" if self.images.generator_size_px is None else "generator_size_px"
            raise ValueError(f"images.{key} must be a multiple of {step} (generator.patch_px and its "
                             f"resolutions), got {drawn_px}")  # fmt: skip

    def _estimators_have_a_predictor(self) -> None:
        if self.ladder.estimators and self.estimators_predictor is None:
            raise ValueError("ladder.estimators: predictors must have one with objective `ebe_mse`, which "
                             "learns estimates under each model from images, got none")  # fmt: skip

    def _predictors_differ(self) -> None:
        names: set[str] = set()
        networks: dict[str, str] = {}
        for i, predictor in enumerate(self.predictors):
            name, network = predictor.name, predictor.network
            if name in names:
                raise ValueError(f"predictors[{i}].name must differ from those of other predictors; give "
                                 f"this one a `name`, got {name!r}")  # fmt: skip
            if name.startswith("oracle_"):
                raise ValueError(f"predictors[{i}].name must not start with `oracle_`, which names the "
                                 f"networks that see eta itself, got {name!r}")  # fmt: skip
            if networks.setdefault(predictor.label, network) != network:
                raise ValueError(f"predictors[{i}].network must not be called in paths like another network, "
                                 f"{networks[predictor.label]!r}, got {network!r}")  # fmt: skip
            names.add(name)


def digest(config: Config) -> str:
    """SHA-256 of all settings that decide a number in the dataset."""
    others = ("experiment", "license", "quality", "gates", "store", "evaluation", "phenotypes", "ladder")
    exclude = dict.fromkeys(others, True) | {"sites": {"methods": True, "training": True}}
    settings = json.dumps(config.model_dump(exclude=exclude), sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()
