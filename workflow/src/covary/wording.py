"""Words and numbers as figures, tables and reports write them."""

from collections.abc import Sequence

import pandas as pd

# What membership attacks compare images by, in `privacy.csv`.
ATTACK, ATTACK_BY_START = "denoising error", "denoising error against that of the start"
_TRAINED_ON = {"ebe_mse": "EBE", "marginal_likelihood": "likelihood"}
_FORECASTS = {"ideal": "knowing η", "no_image": "without the image"}
_SITE_METHODS = {
    "plain": "ignoring sites",
    "site_input": "site as input",
    "domain_adversarial": "adversary alone",
    "armed": "ARMED",
    "armed_without_adversary": "ARMED, no adversary",
    "lmmnn": "LMMNN",
    "monte_carlo_em": "Monte Carlo EM",
    "combat": "ComBat",
    "combat_target": "ComBat given outcomes",
    "combat_leak_free": "leak-free ComBat",
}
_MEASURES = {
    "record": "from the record",
    "carried": "images carry",
    "found": "found",
    "outcome": "outcomes",
}
_POSTERIORS = {
    "weighted": "weighted draws",
    "laplace": "Laplace",
    "network": "network alone",
    "blind": "blind network",
}
_POPULATIONS = {
    "true": "as observed",
    "predicted": "from the image",
    "approximate": "from the record (EBE)",
    "average": "average patient",
    "random": "random patient",
}


def joined(parts: list[str]) -> str:
    """The parts as an English list: "one, two and three"."""
    return (", ".join(parts[:-1]) + " and " if len(parts) > 1 else "") + parts[-1]


def levels(rows: pd.DataFrame) -> str:
    """The noise levels of a table's rows."""
    return "σ²\u00a0=\u00a0" + joined([f"{v:g}" for v in rows["noise_variance"]])


def noise_label(noise_variance: float) -> str:
    """The name of a noise level in figures."""
    return f"σ²\u00a0=\u00a0{noise_variance:g}"


def predictor_label(name: str) -> str:
    """The name of a predictor in figures: `resnet18_ebe_mse` is the network resnet18, trained on EBE.

    Forecasts that need no predictor have names of their own: `no_image` is "without the image".
    """
    if name in _FORECASTS:
        return _FORECASTS[name]
    for objective, target in _TRAINED_ON.items():
        if name.endswith(f"_{objective}"):
            return f"{name.removesuffix(f'_{objective}')} ({target})"
    return name


def site_method_label(name: str) -> str:
    """The name of a method for sites in figures: that of a shipped combination, and how it is trained."""
    for objective, target in _TRAINED_ON.items():
        if name.endswith(f"_{objective}"):
            return f"{site_method_label(name.removesuffix(f'_{objective}'))} ({target})"
    return _SITE_METHODS.get(name, name.replace("_", " "))


def model_label(name: str) -> str:
    """The name of a model of the ladder in figures: `right_structure` is "right structure"."""
    return name.replace("_", " ")


def measure_label(name: str) -> str:
    """What is explained, in figures and tables about models of the estimator."""
    return _MEASURES[name]


def population_label(name: str) -> str:
    """What the random effects of a population are, in a table of outcomes."""
    return _POPULATIONS[name]


def posterior_label(source: str) -> str:
    """What a posterior is called in figures."""
    return _POSTERIORS[source]


def image_in_words(size_px: int, channels: Sequence[str]) -> str:
    """Size and channels of square images: "64 × 64 pixels (grey)"."""
    match tuple(channels):
        case ("red", "green", "blue"):
            what = "colour"
        case ("grey",):
            what = "grey"
        case names:
            what = f"{len(names)} channel{'s' * (len(names) > 1)}: {', '.join(names)}"
    return f"{size_px} × {size_px} pixels ({what})"


def percent(fraction: float, decimals: int | None = None) -> str:
    """A share in percent. Without `decimals` it has one decimal where it needs one (100 %, 5.3 %, 2 %)."""
    value = f"{round(100 * fraction, 1):g}" if decimals is None else f"{100 * fraction:.{decimals}f}"
    value = value.replace("-", "−") if float(value) else value.removeprefix("-")
    return f"{value}\u00a0%"
