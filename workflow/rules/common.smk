"""Helpers of the rules: the checked configuration, its slices, fingerprints of code, lists of files. No rules here."""

import sys
from os import path
from pathlib import Path

from snakemake.exceptions import WorkflowError

from covary import plugins, preflight
from covary.config import experiment, reading
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.shards import partition
from covary.errors import UserError
from covary.files import user_cache
from covary.jobs import fingerprint, job, layout, listing, lock
from covary.training import shipped

try:
    on_command_line = reading.typed(workflow.config_settings.config)
    settings = reading.with_command_line(config, on_command_line)
    job.set_environment(Path(workflow.basedir) / "workflow/src", Path(".snakemake/jax"))
    layout.check_layout(Path("results") / settings.experiment)
    RANDOM_EFFECTS = preflight.check(settings, user_cache() / "preflight")[
        "random_effects"
    ]
except UserError as error:
    sys.exit("\n".join(f"config: {line}" for line in str(error).splitlines()))

SCENARIOS = {
    scenario.name: scenario
    for scenario in map(Scenario, settings.association.noise_variances)
}
VARIANCES = [scenario.noise_variance for scenario in SCENARIOS.values()]
SHARDS = {
    f"{shard.index:05d}": shard
    for shard in partition(settings.n_subjects, settings.store.shard_subjects)
}
PREDICTORS = {predictor.name: predictor for predictor in settings.predictors}
READERS = settings.readers
ORACLES = settings.oracles
LEARNING_CURVE = {"learning_curve", "learning_curve_trainings"}
LEARNING_CURVES = [
    predictor.name for predictor in settings.predictors if predictor.learning_curve
]
PREDICTED_BY = [
    predictor.model_dump(include={"network", "objective", "name"})
    for predictor in settings.predictors
]
# What makes the data of sites; how methods are trained on them does not.
SITES_OF_DATA = settings.sites and settings.sites.model_dump(
    exclude={"methods", "training"}
)
METHODS = (
    {method.name: method for method in settings.sites.methods} if settings.sites else {}
)
# Known factors are read from scans of one channel by a network that was trained on phantoms.
FACTOR_READER = "workflow/pretrained/oct_64px_reader.safetensors"
ARE_SCANS = settings.images.source == "phantom"
FINGERPRINTS = fingerprint.fingerprints(Path(workflow.basedir) / "workflow/scripts")
RUNGS = {rung.name: rung for rung in settings.ladder.models}
ESTIMATORS = settings.ladder.estimators
MOST_SUBJECTS = settings.ladder.training_subjects[-1]
FIRST_SCENARIO = next(iter(SCENARIOS))
RESULTS = f"results/{settings.experiment}"
DATASET = f"{RESULTS}/{names.DATASET}"


def section(name):
    """One slice of the configuration as plain data, so that a rule runs again only when that slice changes."""
    value = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value.model_dump() if hasattr(value, "model_dump") else value


def marker(group):
    """The file that says that a group of the dataset is written."""
    return f"<results>/{names.marker(group)}"


RECORDS = marker(names.records("{scenario}"))
ESTIMATES = marker(names.estimates("{scenario}"))
PREDICTIONS = marker(names.predictions("{scenario}", "{predictor}"))


def planned_records():
    """How records are made and observed; the population fit is another matter."""
    return settings.longitudinal.model_dump(exclude={"fit"})


def noise_variance(wildcards):
    """σ² of a job's scenario, as a number."""
    return SCENARIOS[wildcards.scenario].noise_variance


def training(wildcards):
    """What makes a single training of a predictor; how many other sizes it is trained on does not."""
    return PREDICTORS[wildcards.predictor].model_dump(exclude=LEARNING_CURVE)


def reader_training(wildcards):
    """What makes the training of a reader, which knows no objective and no errors."""
    not_used = {"name", "objective", "covariance", *LEARNING_CURVE}
    return READERS[wildcards.network].model_dump(exclude=not_used)


def model_file():
    """The file of a user's own structural model, so that an edit reruns what uses it; none for a shipped model."""
    file = plugins.file_of(settings.longitudinal.model)
    return [file] if file else []


def draws_for(objectives, scenario="{scenario}"):
    """The draws from posteriors, where one of the objectives needs them."""
    file = f"<results>/posteriors/{scenario}.npz"
    return [file] if "marginal_likelihood" in objectives else []


def draws_for_predictor(wildcards):
    """The draws from posteriors, where this predictor's objective needs them."""
    return draws_for([PREDICTORS[wildcards.predictor].objective], wildcards.scenario)


def network_files(predictor):
    """What a predictor's network needs beside images: the image VAE, or the user's own file."""
    file = plugins.file_of(predictor.network)
    encoder = ["<results>/vae/weights.safetensors"]
    return (
        [file]
        if file
        else encoder * (predictor.network in ("linear_probe", "perceptron"))
    )


def files_of_predictor(wildcards):
    """What the network of this predictor needs beside images."""
    return network_files(PREDICTORS[wildcards.predictor])


def files_of_site_network(wildcards):
    """What the network of the methods for sites needs beside images."""
    return network_files(settings.sites.training)


def files_of_reader(wildcards):
    """What the network of this reader needs beside images."""
    return network_files(READERS[wildcards.network])


def code(rule_name):
    """Content hash of a rule's script and of every definition of the package that it uses."""
    return FINGERPRINTS[rule_name]


def shard_subjects(wildcards):
    """The first subject of a shard and the one after its last."""
    shard = SHARDS[wildcards.shard]
    return [shard.start, shard.stop]


def growing(amount):
    """A resource of which each new attempt at a job gets more, where a profile allows retries."""
    return lambda wildcards, attempt: amount * attempt


def training_mb(base, predictor_of):
    """Memory of a training: `base` and the images that it shuffles. Each new attempt gets more."""
    return lambda wildcards, attempt: (
        (base + 2 * predictor_of(wildcards).buffer_mb) * attempt
    )


def hold_folder():
    """Keep out a second run of this experiment, also where Snakemake's own lock has not noticed it; stamp the results."""
    try:
        lock.hold_run(Path.cwd(), settings.experiment)
        layout.stamp_layout(Path(RESULTS))
    except UserError as error:
        raise WorkflowError(error)


def source_images(wildcards):
    """The file that says the images to prepare are all there, and the table that describes them."""
    table = [settings.images.table] if settings.images.table else []
    if settings.images.source == "phantom":
        return ["<phantom>/factors.parquet"]
    if settings.images.source == "cells":
        return [path.join(source_folder(), "metadata.csv")]
    if has_shipped_images():
        return ["resources/digits/labels.csv", *table]
    return table


def has_shipped_images():
    """Whether a rule of this workflow writes the folder of images."""
    return Path(settings.images.folder) == Path("resources/digits")


def files_of_folder(wildcards):
    """Digest of names, sizes and times of the files in a user's own folder, so that a change prepares them again."""
    if settings.images.source == "folder" and not has_shipped_images():
        return listing.digest_of_files(Path(settings.images.folder))
    return None


def source_folder():
    """The folder that `prepare_images` reads."""
    if settings.images.are_drawn:
        return f"resources/phantom/{settings.experiment}"
    return settings.images.folder


def gate_of_generator():
    """The gate before images are drawn; patterns that stand in for images have none."""
    return [] if settings.sampling.mock_images else ["<results>/gates/generator.csv"]


def generator_folder(wildcards, input):
    """The folder of the generator whose UNet is an input."""
    return path.dirname(path.dirname(input.unet))


def relative(*patterns):
    """Files of the workflow that match, as paths from here, so that a moved checkout reruns nothing."""
    base = Path(workflow.basedir)
    return sorted(
        path.relpath(file) for pattern in patterns for file in base.glob(pattern)
    )


def ladder_model_file(wildcards):
    """The files of a user's own models: that of the study, and that of this rung."""
    file = plugins.file_of(RUNGS[wildcards.rung].model)
    return [*model_file(), *([file] if file else [])]


def fitted_by(wildcards):
    """What makes one fit and its scores; which other models there are does not."""
    others = {"models", "reference", "estimators", "training_subjects"}
    rung = RUNGS[wildcards.rung].model_dump()
    return settings.ladder.model_dump(exclude=others) | {"models": [rung]}


def of_each_rung(pattern):
    """A file per model and number of training subjects, in this order."""
    return expand(
        pattern, rung=RUNGS, subjects=section("ladder").get("training_subjects", [])
    )
