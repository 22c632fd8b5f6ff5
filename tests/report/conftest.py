import io
import shutil

import numpy as np
import pandas as pd
import pytest

from covary import evaluate, figures, nlme, rng
from covary.dataset.association import blur
from covary.evaluate.visits_worth import VisitForecasts, visits_worth_table
from covary.resampling import Resamples
from covary.wording import ATTACK, ATTACK_BY_START

NOISES = (0.0, 1.0, 9.0)
EFFECTS = ("eta_ka", "eta_cl", "eta_v")
N, SD = 800, 0.01
READING = 0.065  # of eta; beside an error of 0.3 it explains 1 % or nothing


def run(
    predictors=("network",), skill=0.8, error=0.4, reading=0.9, worth=2.0, spread=0.0, readback=0.8, own=1.9
):
    """Tables of a made-up run: predictors know `skill` of what can be known and are off by `error` of it.

    A network that is trained on eta itself reads `reading` of it from the images. `worth` and `spread` are
    those of `visits_worth`, `readback` and `own` what the encoder reads back from generated images.
    """
    eta = rng.normal(1, "eta", 0, N, (3,))
    read = reading * eta + 0.3 * rng.normal(1, "read", 0, N, (3,))
    effects, records, chains, forecasts, trainings = [], [], [], [], []
    for v in NOISES:

        def draw(name, columns, v=v):
            return rng.normal(1, f"{name}/{v}", 0, N, (columns,))

        eta_hat = blur(eta, v, draw("r", 3))
        eta_approx = 0.7 * eta_hat + 0.4 * draw("e", 3)
        scale = (1 + v) ** -0.5
        predicted = {
            name: scale * (skill * eta + (error + 0.1 * i) * draw(name, 3))
            for i, name in enumerate(predictors)
        }
        covariance = {name: np.diag((eta_hat - mean).var(axis=0)) for name, mean in predicted.items()}
        effects.append(evaluate.RandomEffects(v, EFFECTS, eta_hat, eta_approx, predicted, covariance))
        chains.append(
            evaluate.Chain(
                v,
                EFFECTS,
                eta,
                dict.fromkeys(predictors, read),
                dict.fromkeys(predictors, scale * read),
                predicted,
            )
        )

        def outcome(random_effects, name):
            return random_effects.sum(axis=1, keepdims=True) * np.linspace(0, 0.1, 21) + SD * draw(name, 21)

        records.append(
            evaluate.Records(
                v,
                true=outcome(eta_hat, "true"),
                predicted={name: outcome(predicted[name], f"y/{name}") for name in predictors},
                approximate=outcome(eta_approx, "approximate"),
                average=outcome(0 * eta, "average"),
                random=outcome(draw("random", 3), "random outcome"),
            )
        )  # fmt: skip
        scores = {name: np.abs(draw(f"score/{name}", 3)) for name in (*predictors, "ideal", "no_image")}
        forecasts.append(evaluate.Forecasts(v, records[-1].true, scores))
        curve = [predicted[predictors[0]] + scale * (0.3 - 0.1 * i) * draw(f"less/{i}", 3) for i in range(4)]
        sizes = np.array([400, 800, 1600, 3200])
        trainings.append(
            evaluate.TrainingSizes(v, predictors[0], eta_hat, eta_approx, sizes, np.stack(curve))
        )

    samples = Resamples(N, seed=1, resamples=100)
    prediction = eta.sum(axis=1, keepdims=True) * np.linspace(0, 0.1, 21)
    ledger = evaluate.association_ledger(chains, samples)
    ceiling = evaluate.measured_ceiling(ledger).set_index("noise_variance")["carried"].to_dict()
    learning_curve, power = evaluate.learning_curves(trainings, samples, ceiling)
    tables = {
        "random_effects": evaluate.random_effects_table(effects, samples),
        "comparison": evaluate.comparison_table(effects, samples),
        "calibration": evaluate.calibration_table(effects, samples),
        "longitudinal_nll": evaluate.longitudinal_nll_table(
            records, prediction, samples, residual=nlme.Additive(SD)
        ),
        "outcomes": evaluate.outcome_table(forecasts, samples),
        "visits_worth": visits_worth(predictors, worth, spread),
        "association_ledger": ledger,
        "learning_curve": learning_curve,
        "power": power,
        "population_parameters": population()[0],
        "population_fits": population()[1],
        "privacy": privacy(),
        "generator_quality": generator_quality(readback=readback),
        "counterfactuals": counterfactuals(own=own),
        "factors": factors(),
        "latent_ranking": latent_ranking(),
    }
    return {name: pd.read_csv(io.StringIO(table.to_csv(index=False))) for name, table in tables.items()}


def visits_worth(predictors, worth=2.0, spread=0.0):
    """The CRPS halves with each visit; images of the first level are worth so many visits, others less.

    The CRPS with an image varies between subjects by the share `spread`.
    """
    levels = []
    varied = rng.normal(1, "varied", 0, N, (1,))[:, 0]
    varied -= varied.mean()
    for v in NOISES:
        crps = {"no_image": 0.0} | dict.fromkeys(predictors, worth / (1 + v))
        scores = {
            m: {
                name: np.column_stack(
                    [
                        np.ones(N),
                        0.1 * 2.0 ** -(m + visits) * (1 + (name in predictors) * spread * varied),
                        np.ones(N),
                    ]
                )
                for name, visits in crps.items()
            }
            for m in (0, 1, 2, 3)
        }
        levels.append(VisitForecasts(v, rng.normal(1, "later", 0, N, (4,)), scores))
    return visits_worth_table(levels, seed=1, resamples=100)


def posterior_checks():
    """Weighted draws pass at every noise level; the blind network fails."""
    rows = []
    for v in NOISES:
        for source, p, excess in (
            ("weighted", 0.4, 0.0), ("laplace", 0.2, 0.05), ("network", 0.3, 0.02), ("blind", 1e-9, 2.0)
        ):  # fmt: skip
            for missing in ("all", "to 30 %"):
                cells = {"chi2": 20.0, "p": p, "coverage_50": 0.505, "coverage_80": 0.81, "coverage_90": 0.9}
                cells |= {"coverage_95": 0.952, "noise_variance": v, "source": source, "missing": missing}
                rows += [cells | {"parameter": e, "contraction": 0.7, "rmse": 0.3} for e in EFFECTS]
                joint = {"parameter": "joint", "negative_log_density": 0.4 + excess, "excess": excess}
                joint |= {"excess_low": 0.9 * excess, "excess_high": 1.1 * excess}
                if source == "weighted":
                    joint |= {"effective_sample_size": 0.8, "unfamiliar": 0.0, "status_network": 0.98}
                    joint |= {"status_engine": 0.02, "status_chain": 0.0, "status_none": 0.0}
                rows.append(cells | joint)
    return pd.DataFrame(rows).assign(subjects=2000)


def imputation():
    """A standard deviation that filling in doubles, and an R² that it lowers."""
    rows = []
    for records, sd, r2 in (("likelihood", 0.01, 0.8), ("last value", 0.02, 0.6), ("line", 0.015, 0.8)):
        fit = (records, "focei", 300, records != "line")
        rows.append((*fit, "parameter", "residual sd", 0.01, sd, 0.9 * sd, 1.1 * sd, None, None, None))
        less = 0.8 - r2
        rows.append((*fit, "r2", "all", None, r2, r2 - 0.05, r2 + 0.05, less, 0.8 * less, 1.2 * less))
    columns = [
        "records",
        "method",
        "subjects",
        "converged",
        "quantity",
        "name",
        "true",
        "value",
        "low",
        "high",
    ]
    return pd.DataFrame(rows, columns=[*columns, "less", "less_low", "less_high"])


def generator_quality(precision=0.8, recall=0.75, readback=0.8, continuity=0.7):
    """Generated images beside training images of precision and recall 0.9; three latents are read back."""
    rows = [("readback_r2", "generated", "", latent, readback) for latent in (0, 2, 3)]
    for of, shares, distance in (
        ("generated", (precision, recall), 2.0),
        ("training images", (0.9, 0.9), 1.0),
    ):
        measures = zip(("precision", "recall", "frechet_distance"), (*shares, distance), strict=True)
        rows += [(measure, of, "vae_encoder", None, value) for measure, value in measures]
        rows.append(("fine_detail", of, "", None, 0.95))
    for of, value in (("generated", continuity), ("training images", 0.72), ("test images", 0.72)):
        rows.append(("layer_continuity", of, "", None, value))
    return pd.DataFrame(rows, columns=["measure", "of", "feature_space", "latent", "value"])


def population():
    """Fits that converged, with two parameters each."""
    fits = pd.DataFrame(
        {"noise_variance": NOISES, "method": "focei", "converged": True, "verdict": "converged"}
    )
    fits = fits.assign(minus_two_log_likelihood=-100.5, subjects=1000, observations=21_000)
    both = pd.DataFrame(
        {"parameter": ["CL", "omega(eta_CL,eta_CL)"], "estimate": [0.31, 0.95], "true": [0.3, 1.0]}
    )
    both = both.assign(initial=[0.1, 0.5], se=0.01, rse_percent=3.2, ci_low=0.29, ci_high=0.99, moved=True)
    both = both.assign(bsv_cv_percent=np.nan, shrinkage_percent=[np.nan, 12.0], fixed=False)
    return pd.concat([both.assign(noise_variance=v) for v in NOISES], ignore_index=True), fits


def privacy(**values):
    """Nothing copied; `values` replace a measure in the features of the encoder, or the AUC of an attack:
    `attack_auc`, and `by_start_auc`, which is left out otherwise."""
    attacks = {ATTACK: values.get("attack_auc", 0.5)}
    if "by_start_auc" in values:
        attacks[ATTACK_BY_START] = values["by_start_auc"]
    attack = [
        row
        for name, auc in attacks.items()
        for row in (
            (name, "membership_auc", auc, 0.9 * auc, 1.1 * auc, 0.5),
            (name, "true_positives", 0.01, 0.002, 0.03, 0.01),
        )
    ]
    measures = {"closer_than_held_out": 0.5, "near_copies": 0.01, "membership_auc": 0.5}
    rows = [
        (space, name, value, 0.9 * value, 1.1 * value, expected)
        for space in ("encoder features", "pixels")
        for name, expected in measures.items()
        for value in [values.get(name, expected) if space != "pixels" else expected]
    ]
    return pd.DataFrame([*attack, *rows], columns=["space", "measure", "value", "low", "high", "expected"])


def counterfactuals(own=1.9, other=0.1):
    """Each of three random effects moves its own reading, and the others a little."""
    rows = [(a, 2.0, b, 48, own if a == b else other) for a in EFFECTS for b in EFFECTS]
    table = pd.DataFrame(rows, columns=["moved", "by", "read", "n", "shift"])
    return table.assign(low=table["shift"] - 0.05, high=table["shift"] + 0.05, largest=table["shift"])


def factors(distance=0.05, p=0.4):
    """Two factors and a class; the first is as far from test images as is said."""
    rows = [
        ("tilt_deg", "generated", distance, p, 0.97),
        ("thickness", "generated", 0.06, 0.3, 0.8),
        ("CNV", "generated", 0.01, 0.9, None),
    ]
    table = pd.DataFrame(rows, columns=["factor", "of", "distance", "p", "reader_r2"])
    return table.assign(n=240, mean=0.1, sd=1.0, test_mean=0.0, test_sd=1.0)


def latent_ranking():
    """Four latents, three of them active and chosen."""
    return pd.DataFrame(
        {
            "latent": [0, 1, 2, 3],
            "posterior_mean_variance": [0.5, 0.001, 0.9, 0.7],
            "active": [True, False, True, True],
            "readback_mse": [0.30, 1.0, 0.1, 0.2],
            "readback_r2": [0.70, 0.0, 0.9, 0.8],
            "sensitivity": [0.01, 0.0, 0.04, 0.02],
            "rank_readback": [3, -1, 1, 2],
            "rank_sensitivity": [3, -1, 1, 2],
            "random_effect": [2, -1, 0, 1],
        }
    )


@pytest.fixture(scope="session")
def privacy_of():
    return privacy


@pytest.fixture(scope="session")
def counterfactuals_of():
    return counterfactuals


@pytest.fixture(scope="session")
def factors_of():
    return factors


@pytest.fixture(scope="session")
def quality_of():
    return generator_quality


@pytest.fixture(scope="session")
def good():
    return run()


@pytest.fixture(scope="session")
def with_missing_visits(good):
    """The tables of a run with missing visits and posteriors of a network."""
    more = {"posterior_checks": posterior_checks(), "imputation": imputation()}
    return good | {name: pd.read_csv(io.StringIO(t.to_csv(index=False))) for name, t in more.items()}


@pytest.fixture(scope="session")
def blind():
    """The predictor knows nothing: its predictions are noise."""
    return run(skill=0.0, error=1.0)


@pytest.fixture(scope="session")
def empty():
    """The images carry nothing: neither the predictor, nor a network trained on eta, nor the encoder reads
    anything."""
    return run(skill=0.0, error=0.3, reading=0.0, worth=0.0, spread=0.3, readback=0.02, own=0.03)


@pytest.fixture(scope="session")
def chance():
    """The images carry nothing that can be told from chance, and chance is kind to two blind predictors.

    The ceiling is above 0 but its interval is not. By chance, what one of them found excludes 0, their R²
    differ, the images seem worth visits, predicted records fit better than the average patient's, and
    learning curves give numbers of subjects.
    """
    tables = run(("linear", "resnet18"), skill=0.0, error=0.3, reading=READING, readback=0.02, own=0.03)
    ledger, nll = tables["association_ledger"].copy(), tables["longitudinal_nll"].copy()
    found = (ledger["part"] == "reached") & (ledger["predictor"] == "linear")
    ledger.loc[found, ["value", "low", "high"]] = np.outer(ledger["explainable"][found], [0.03, 0.01, 0.05])
    ledger.loc[found, "share"] = 0.03
    nll.loc[nll["population"] == "predicted", ["gain", "gain_low", "gain_high"]] = 10.0, 5.0, 15.0
    power = tables["power"].assign(from_scratch=900.0, from_scratch_low=500.0, from_scratch_high=1500.0)
    power = power.assign(informative_sizes=4, decides=True)
    return tables | {"association_ledger": ledger, "longitudinal_nll": nll, "power": power}


@pytest.fixture(scope="session")
def two():
    return run(predictors=("linear", "resnet18"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A function that puts a picture for each of some names into a folder; all are the same."""
    image, one = np.zeros((1, 1, 8, 8), np.uint8), tmp_path_factory.mktemp("picture") / "picture.png"
    figures.save(figures.reconstructions(image, image, image), one)

    def put(folder, names):
        return {name: shutil.copy(one, folder / f"{name}.png") for name in names}

    return put
