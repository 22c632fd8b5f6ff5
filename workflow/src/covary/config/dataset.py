"""Settings of the dataset: its subjects, its layout and its association."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from covary.config.base import Positive, Section


class Subjects(Section):
    """How many synthetic subjects, by split."""

    train: Positive = Field(2400, description="Subjects to train predictors on")
    validation: Positive = Field(400, description="Subjects to stop training by")
    test: Positive = Field(2000, description="Subjects every reported number is computed on")

    @property
    def total(self) -> int:
        """Subjects over all splits."""
        return self.train + self.validation + self.test


class Store(Section):
    """Layout of the dataset on disk; changes no number in it."""

    shard_subjects: Positive = Field(2432, description="Images per shard, written by one job")
    chunk_subjects: Positive = Field(64, description="Images per chunk, the unit of reading")
    compression: Literal["zstd"] | None = Field(
        None,
        description="Of images: null maps them into memory undecoded, zstd saves a fifth of the disk",
    )

    @model_validator(mode="after")
    def _chunks_fill_shards(self):
        if self.shard_subjects % self.chunk_subjects:
            raise ValueError(f"shard_subjects must be a multiple of chunk_subjects ({self.chunk_subjects}), "
                             f"got {self.shard_subjects}")  # fmt: skip
        return self


class Association(Section):
    """How strongly image and record are tied."""

    noise_variances: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0, 1.0, 9.0, 18.0, 49.0],
        min_length=1,
        description="σ² of the noise on eta; an image can explain 1/(1+σ²) of eta_hat",
    )
    other_latents: Literal["images", "prior"] | None = Field(
        None,
        description="How latents that are not random effects are drawn: given the random effects, as all go "
        "together in the encodings of the images (`images`), or independently from the prior (`prior`, as "
        "in paper 000); null is `images`, and `prior` for a VAE with gates",
    )

    @model_validator(mode="after")
    def _levels_differ(self):
        if len({f"{v:g}" for v in self.noise_variances}) < len(self.noise_variances):
            raise ValueError(f"noise_variances must differ from each other, got {self.noise_variances}")
        return self
