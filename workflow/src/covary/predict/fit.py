"""One scenario: what its records say of training and validation subjects, and training on that."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from covary import nlme, store
from covary.config.predictors import Predictor
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.subjects import members
from covary.nlme.likelihood import RecordLikelihood
from covary.predict.calibrate import calibrate
from covary.predict.evidence import Evidence, Posteriors, Targets
from covary.predict.examples import Examples, Inputs
from covary.predict.network import PredictorNetwork
from covary.predict.objectives.catalogue import OBJECTIVES
from covary.predict.train import train_predictor
from covary.records.study import Study
from covary.records.visits import check_observed


class Level:
    """The evidence of one scenario, for every objective; subjects are counted from the first training one.

    `population` is the file with the fitted parameters; `posteriors` has the file with the draws, or nothing
    if no objective needs them.
    """

    def __init__(
        self,
        dataset: Path,
        scenario: Scenario,
        study: Study,
        population: Path,
        posteriors: Sequence[Path],
    ):
        parameters = nlme.parameters_from_json(population.read_text(encoding="utf-8"))
        self.omega: Float64[np.ndarray, "k k"] = np.asarray(parameters.omega)
        records = store.read(dataset, names.records(scenario.name))
        for split in ("train", "validation"):
            part = members(store.read(dataset, names.SUBJECTS), split)
            check_observed(records["observation"][part].values, split, scenario.name)
        self._eta_hat = records["eta_hat"].values
        estimates = store.read(dataset, names.estimates(scenario.name))["eta_approx"].values
        self._evidence: dict[str, Evidence] = {"estimates": Targets(estimates)}
        for file in posteriors:
            with np.load(file) as arrays:
                draws, log_marginal = arrays["draws"], arrays["log_marginal"]
            some = slice(len(draws))
            observed = study.records(records["observation"][some].values, some)
            likelihood = RecordLikelihood(study.model, parameters, observed)
            self._evidence["posteriors"] = Posteriors.of(draws, log_marginal, likelihood)

    def evidence(self, objective: str) -> Evidence:
        """What the records say of the subjects, in the form that the objective needs."""
        return self._evidence[OBJECTIVES[objective].evidence]

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
        row, evidence = OBJECTIVES[objective], self.evidence(objective)
        train, validation = (
            Examples(*pair) for pair in zip(inputs, map(evidence.__getitem__, parts), strict=True)
        )
        network, history = train_predictor(
            train, validation, row.loss(self.omega, config.covariance), config, **options
        )
        calibrate(
            network,
            validation.inputs,
            self._eta_hat[parts[1]],
            structure=config.covariance,
            centre=row.centred,
        )
        return network, history


def covariance_of(network: PredictorNetwork) -> Float64[np.ndarray, "k k"]:
    """V of a calibrated network, the covariance of eta_hat around its prediction."""
    return network.covariance.cpu().numpy()
