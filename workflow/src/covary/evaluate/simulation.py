"""Outcomes simulated from predicted random effects, and their scores."""

from dataclasses import dataclass

import numpy as np

from covary.dataset.scenario import Scenario
from covary.evaluate.effects import RandomEffects
from covary.evaluate.outcomes import (
    IDEAL,
    NO_IMAGE,
    Forecasts,
    Records,
    draw_random_effects,
    ideal_forecast,
    random_population,
    score_forecast,
)
from covary.records.study import Study

_SUBJECTS_AT_ONCE = 4096


@dataclass(frozen=True)
class OutcomeSimulation:
    """Simulation of the subjects `start …`, whose random draws depend on the seed and the subject alone."""

    study: Study
    seed: int
    start: int

    def records(self, level: RandomEffects, observation: np.ndarray) -> Records:
        """Outcomes of every population of the paper's Table 2; those of `true` are the observed ones."""
        n, k = level.eta_hat.shape
        drawn = random_population(level.noise_variance, self.start, self.start + n, k, seed=self.seed)

        def outcome(population: str, random_effects: np.ndarray) -> np.ndarray:
            stream = f"evaluation/{population}/{Scenario(level.noise_variance).name}"
            some = slice(self.start, self.start + n)
            return self.study.simulate(random_effects, some, seed=self.seed, stream=stream, start=self.start)

        return Records(
            level.noise_variance,
            true=observation,
            predicted={name: outcome(name, eta_pred) for name, eta_pred in level.eta_pred.items()},
            approximate=outcome("approximate", level.eta_approx),
            average=outcome("average", np.zeros_like(level.eta_hat)),
            random=outcome("random", drawn),
        )

    def forecasts(
        self, level: RandomEffects, eta: np.ndarray, observation: np.ndarray, draws: int
    ) -> Forecasts:
        """Scores of ensembles of `draws` outcomes, for each predictor, for `ideal` and for `no_image`."""
        k = eta.shape[1]
        distributions = {name: (mean, level.covariance[name]) for name, mean in level.eta_pred.items()}
        distributions[IDEAL] = ideal_forecast(eta, level.noise_variance)
        distributions[NO_IMAGE] = np.zeros_like(eta), np.eye(k)
        scores = {}
        for name, (mean, covariance) in distributions.items():
            stream = f"evaluation/ensemble/{name}/{Scenario(level.noise_variance).name}"
            parts = []
            for first in range(0, len(eta), _SUBJECTS_AT_ONCE):
                rows = slice(first, first + _SUBJECTS_AT_ONCE)
                outcomes = self._ensemble(mean[rows], covariance, draws, stream, self.start + first)
                parts.append(score_forecast(observation[rows], outcomes))
            scores[name] = np.concatenate(parts)
        return Forecasts(level.noise_variance, observation, scores)

    def _ensemble(
        self, mean: np.ndarray, covariance: np.ndarray, draws: int, stream: str, start: int
    ) -> np.ndarray:
        """Outcomes with residual error, (subject, draw, time)."""
        random_effects = draw_random_effects(
            mean, covariance, draws, seed=self.seed, stream=f"{stream}/random_effects", start=start
        )
        flat = random_effects.reshape(-1, mean.shape[1])
        subjects = np.repeat(np.arange(start, start + len(mean)), draws)
        outcomes = self.study.simulate(flat, subjects, seed=self.seed, stream=stream, start=start * draws)
        return outcomes.reshape(len(mean), draws, -1)
