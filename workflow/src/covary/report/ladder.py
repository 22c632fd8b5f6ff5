"""The part of the report about models of different kind on the same records."""

from collections.abc import Mapping

import pandas as pd

from covary.config.experiment import Config
from covary.config.ladder import TRUTH
from covary.evaluate.ladder import ALL, NEW
from covary.report.comparisons import NOTHING, direction
from covary.wording import joined, model_label, percent


def figures_of(config: Config) -> tuple[str, ...]:
    """The figures of this part; none where a run compares no models of the records."""
    association = ("deep_association",) if config.ladder.estimators else ()
    return (("deep_ladder",) if config.ladder.models else ()) + association


def tables_of(config: Config) -> tuple[str, ...]:
    """Its tables."""
    return figures_of(config) + (("deep_predictions",) if config.ladder.models else ())


def sentences(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """The comparison in words: of `models` by evidence and predictions, of `estimators` by association.

    A list is empty where a run compares none.
    """
    said: dict[str, list[str]] = {"models": [], "estimators": []}
    if config.ladder.models:
        said["models"] = models_in_words(
            tables["deep_ladder"], tables["deep_predictions"], config.ladder.compared_to
        )
    if config.ladder.estimators:
        said["estimators"] = [association_in_words(tables["deep_association"])]
    return said


def models_in_words(table: pd.DataFrame, predictions: pd.DataFrame, reference: str) -> list[str]:
    """Evidence of new subjects, and errors of predictions."""
    fitted = table[table["model"] != TRUTH]
    others = fitted[fitted["model"] != reference]
    said = [_evidence(rows, reference, size) for size, rows in others.groupby("training_subjects")]
    if len(ended := fitted[~fitted["converged"]]):
        names = joined(
            [f"{model_label(r.model)} ({r.training_subjects} subjects)" for r in ended.itertuples()]
        )
        said.append(f"These fits did not converge, so the models may reach more evidence: {names}.")
    return [*said, _errors(predictions, int(fitted["training_subjects"].max()))]


def association_in_words(table: pd.DataFrame) -> str:
    """How much of eta_hat is found from images under each model of the estimator, and which differ."""
    found = table[table["measure"] == "found"]
    first, *others = found.itertuples()
    shares = joined(
        [
            f"{NOTHING if r.low <= 0 else percent(r.r2, 0)} under {model_label(r.model)}"
            for r in found.itertuples()
        ]
    )
    parts = []
    for row in others:
        if max(first.low, row.low) <= 0:  # neither finds anything
            continue
        sign = direction(row.gain_low, row.gain_high)
        name = model_label(row.model)
        parts.append(
            f"{name} cannot be told from it"
            if sign == 0
            else f"{name} {'finds more' if sign > 0 else 'costs'} (R² {'higher' if sign > 0 else 'lower'} by "
            f"{abs(row.gain):.3f})"
        )
    compared = f" Compared to {model_label(first.model)}, {joined(parts)}." if parts else ""
    return (
        f"Images can explain {percent(first.explainable, 0)} of the random effects behind the records. What "
        f"the network finds of it is {shares}.{compared}"
    )


def _evidence(rows: pd.DataFrame, reference: str, size: int) -> str:
    """Which models have more evidence than the reference, and which less."""
    which = direction(rows["low"], rows["high"])
    parts = []
    for sign, text in ((1, "above"), (-1, "below")):
        some = rows[which == sign]
        if len(some):
            names = joined(
                [f"{model_label(r.model)} (by {abs(r.difference):,.0f})" for r in some.itertuples()]
            )
            verb = "lie" if len(some) > 1 else "lies"
            parts.append(f"{names} {verb} {text} {model_label(reference)}")
    if (which == 0).any():
        names = joined([model_label(name) for name in rows["model"][which == 0]])
        parts.append(f"{names} cannot be told from it" if parts else f"{names} cannot be told from "
                     f"{model_label(reference)}")  # fmt: skip
    n = int(rows["subjects"].iloc[0])
    return f"After {size} training subjects, by the evidence of {n} new subjects, {'; '.join(parts)}."


def _errors(predictions: pd.DataFrame, most: int) -> str:
    own = predictions[predictions["training_subjects"] == most].set_index(["model", "given"])["ratio"]
    parts = [
        f"{own[name, ALL]:.1f} for {model_label(name)} ({own[name, NEW]:.1f} under new doses)"
        for name in own.index.unique("model")
    ]
    return (
        f"After {most} training subjects, the error of individual predictions from all visits, divided by "
        f"that of the true model under its true parameters, is {joined(parts)}."
    )
