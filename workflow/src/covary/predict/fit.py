"""One noise level: the evidence in its records, and the training of a predictor on it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from covary import nlme, store
from covary.config.predictors import Predictor
from covary.nlme.likelihood import RecordLikelihood
from covary.predict.calibrate import calibrate
from covary.predict.evidence import Evidence, Posteriors, Targets
from covary.predict.examples import Examples, Inputs
from covary.predict.network import PredictorNetwork
from covary.predict.objectives.catalogue import make_objective
from covary.predict.train import train_predictor
from covary.records.study import Study


class Level:
    """The evidence of one noise level, for every objective; subjects are counted from the first training one.

    `population` is the file with the fitted parameters; `posteriors` has the file with the draws, or nothing
    if no objective wants them.
    """

    def __init__(self, dataset: Path, noise: str, study: Study, population: Path, posteriors: Sequence[str]):
        parameters = nlme.parameters_from_json(population.read_text(encoding="utf-8"))
        self.omega: Float64[np.ndarray, "k k"] = np.asarray(parameters.omega)
        records = store.read(dataset, f"longitudinal/noise_{noise}")
        self._eta_hat = records["eta_hat"].values
        estimates = Targets(store.read(dataset, f"estimates/noise_{noise}")["eta_approx"].values)
        self._evidence: dict[str, Evidence] = {"ebe_mse": estimates}
        for file in posteriors:
            with np.load(file) as arrays:
                draws, log_marginal = arrays["draws"], arrays["log_marginal"]
            observed = study.records(records["observation"][: len(draws)].values)
            likelihood = RecordLikelihood(study.model, parameters, observed)
            self._evidence["marginal_likelihood"] = Posteriors.of(draws, log_marginal, likelihood)

    def train(
        self,
        objective: str,
        inputs: Sequence[Inputs],
        parts: Sequence[slice],
        config: Predictor,
        **options,
    ) -> tuple[PredictorNetwork, pd.DataFrame]:
        """`train_predictor` on the training and the validation part, and `calibrate` on the latter.

        `options` are those of `train_predictor`: seed, checkpoint_dir, workers. Raises what it raises.
        """
        evidence = self._evidence[objective]
        train, validation = (
            Examples(*pair) for pair in zip(inputs, map(evidence.__getitem__, parts), strict=True)
        )
        network, history = train_predictor(
            train, validation, make_objective(objective, self.omega, config.covariance), config, **options
        )
        calibrate(
            network,
            validation.inputs,
            self._eta_hat[parts[1]],
            structure=config.covariance,
            centre=objective == "marginal_likelihood",
        )
        return network, history
