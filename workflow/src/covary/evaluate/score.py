"""Every table of the evaluation, from one finished dataset and with the same resamples."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from covary.evaluate.effects import calibration_table, comparison_table, random_effects_table
from covary.evaluate.held_out import HeldOut
from covary.evaluate.ledger import association_ledger, measured_ceiling
from covary.evaluate.outcomes import longitudinal_nll_table, outcome_table
from covary.evaluate.power import learning_curves
from covary.evaluate.simulation import OutcomeSimulation
from covary.records.study import Study
from covary.resampling import Resamples


def score(
    held_out: HeldOut,
    study: Study,
    noise_variances: Sequence[float],
    curves: Sequence[Path],
    *,
    seed: int,
    resamples: int,
    predictive_draws: int,
) -> dict[str, pd.DataFrame]:
    """Tables by name. `curves` are files of predictors trained on fewer subjects, see `training_sizes`.

    Raises ValueError if predictions do not fit the subjects or are not finite.
    """
    some = Resamples(len(held_out.eta), seed=seed, resamples=resamples)
    simulation = OutcomeSimulation(study, seed, held_out.subjects.start)
    levels = [held_out.random_effects(noise) for noise in noise_variances]
    observed = [held_out.observation(noise) for noise in noise_variances]
    records = [simulation.records(*pair) for pair in zip(levels, observed, strict=True)]
    forecasts = [
        simulation.forecasts(level, held_out.eta, observation, predictive_draws)
        for level, observation in zip(levels, observed, strict=True)
    ]
    ledger = association_ledger([held_out.chain(noise) for noise in noise_variances], some)
    ceiling = measured_ceiling(ledger).set_index("noise_variance")["carried"].to_dict()
    learning_curve, power = learning_curves([held_out.training_sizes(file) for file in curves], some, ceiling)
    return {
        "random_effects": random_effects_table(levels, some),
        "comparison": comparison_table(levels, some),
        "calibration": calibration_table(
            [held_out.random_effects(noise, oracles=True) for noise in noise_variances], some
        ),
        "longitudinal_nll": longitudinal_nll_table(
            records,
            study.predictions(held_out.eta, held_out.subjects),
            some,
            residual=study.truth.residual,
        ),
        "outcomes": outcome_table(forecasts, some),
        "association_ledger": ledger,
        "learning_curve": learning_curve,
        "power": power,
    }
