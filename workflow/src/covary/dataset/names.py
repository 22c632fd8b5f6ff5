"""The names of groups, markers and files: the only place that spells them.

A function takes texts, so a wildcard such as "{scenario}" passes through it unchanged.
"""

DATASET = "dataset.zarr"  # beside it, in the folder of an experiment:
MANIFEST = "manifest.json"
SPECIFICATION = "dataset.spec.json"

SUBJECTS = "subjects"
DESIGN = "design"
IMAGES = "images"
PARENTS = ("longitudinal", "estimates", "predictions")  # groups that hold no arrays of their own
NOISE_FREE = "noise_free"


def noise_scenario(noise_variance: float) -> str:
    """The name of the scenario with this σ²: `noise_9`, `noise_0.3333333333333333`.

    Different numbers have different names.
    """
    short = f"{noise_variance:g}"
    return f"noise_{short if float(short) == noise_variance else repr(float(noise_variance))}"


def records(scenario: str) -> str:
    """The group of the records of a scenario."""
    return f"longitudinal/{scenario}"


def estimates(scenario: str) -> str:
    """The group of the empirical Bayes estimates of a scenario."""
    return f"estimates/{scenario}"


def predictions(scenario: str, predictor: str) -> str:
    """The group of what a predictor predicts in a scenario."""
    return f"predictions/{scenario}/{predictor}"


def oracle(objective: str) -> str:
    """The name of the predictor that sees eta itself and is trained for this objective."""
    return f"oracle_{objective}"


def readings(network: str) -> str:
    """The group of the random effects that a network, trained on eta without noise, reads from images."""
    return predictions(NOISE_FREE, network)


def pred_read(network: str) -> str:
    """The variable of an oracle's predictions from what this network reads."""
    return f"eta_pred_read_{network}"


def marker(group: str) -> str:
    """The file, in the folder of an experiment, that says that a group is written."""
    return f"markers/{group}.json"


def shard_marker(shard: str) -> str:
    """The file that says that a shard of images is written."""
    return marker(f"{IMAGES}/{shard}")
