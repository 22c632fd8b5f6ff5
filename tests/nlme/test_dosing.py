"""Lag times, bioavailability, modelled rates and durations, steady states, and occasions."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from covary import nlme
from covary.nlme import Dose

TIMES_H = [0.5, 1.0, 2.5, 3.0, 3.2, 4.0, 5.0, 6.0, 8.0, 9.0, 12.0]
ETA = np.array([[0.0, 0.0, 0.0], [0.2, 0.3, -0.1], [-0.5, 0.1, 0.4]])


class Formula(nlme.OneCompartmentOral):
    """One compartment whose doses are late, lost in part, and of modelled rate or duration.

    All four follow a fixed effect, too, by a factor that is 1 where tka is 0.
    """

    def individual(self, theta, eta, covariates):
        share = jnp.exp(0.3 * theta["tka"])
        return super().individual(theta, eta, covariates) | {
            "lag": share * 0.7 * jnp.exp(eta[0]),
            "F": share * (0.6 + 0.1 * eta[1]),
            "D": share * 2.2 * jnp.exp(0.2 * eta[2]),
            "R": share * 3.0 * jnp.exp(eta[2]),
        }

    def dosing(self, p):
        return {
            1: nlme.Dosing(lag_h=p["lag"], bioavailability=p["F"]),
            2: nlme.Dosing(lag_h=0.3, rate=p["R"], duration_h=p["D"]),
        }


class Equations(nlme.OdeModel):
    """The same as differential equations."""

    fixed_effects: ClassVar = Formula.fixed_effects
    random_effects = Formula.random_effects

    def individual(self, theta, eta, covariates):
        return Formula().individual(theta, eta, covariates)

    def dosing(self, p):
        return Formula().dosing(p)

    def initial_state(self, p):
        return 0.0, 0.0

    def vector_field(self, t, y, p):
        absorbed = p["ka"] * y[0]
        return -absorbed, absorbed - p["cl"] / p["v"] * y[1]

    def prediction(self, t, y, p):
        return y[1] / p["v"]


PARAMETERS = Formula().parameters([0.0, 0.0, 1.0], 0.1, nlme.Additive(0.1))


def analytic(eta, doses):
    """Predictions after boluses and infusions that enter at given times: (time, amount, duration, cmt)."""
    ka, k, v = np.exp(eta[0]), np.exp(eta[1]) / np.exp(1.0 + eta[2]), np.exp(1.0 + eta[2])

    def bolus(t, compartment):
        t = np.maximum(t, 0.0)
        oral = ka / (ka - k) * (np.exp(-k * t) - np.exp(-ka * t))
        return oral if compartment == 1 else np.exp(-k * t)

    def infusion(t, duration, compartment):  # the integral of `bolus`, by Gauss-Legendre
        node, weight = np.polynomial.legendre.leggauss(40)
        t = np.asarray(t)[:, None]
        upper = np.clip(t, 0.0, duration)  # what has entered by then
        entry = upper * (node + 1) / 2
        return np.sum(weight * bolus(t - entry, compartment), axis=1) * upper[:, 0] / 2 / duration

    total = np.zeros(len(TIMES_H))
    for time, amount, duration, compartment in doses:
        since = np.array(TIMES_H) - time
        after = since >= 0
        unit = infusion(since, duration, compartment) if duration else bolus(since, compartment)
        total += np.where(after, amount * unit, 0.0) / v
    return total


def entering(eta, name):
    """The doses of each case as they enter."""
    lag, f, d, r = 0.7 * np.exp(eta[0]), 0.6 + 0.1 * eta[1], 2.2 * np.exp(0.2 * eta[2]), 3 * np.exp(eta[2])
    late = [(t + lag, f * a, 0.0, 1) for t, a in ((0.0, 10.0), (4.0, 5.0), (7.0, 5.0))]
    every = [(3.0 - 4.0 * i + lag, 6.0 * f, 0.0, 1) for i in range(-1, 60)]
    return {
        "lag and bioavailability": late,
        # A given duration stays; a given rate lasts for what enters.
        "infusions": [(lag, 10.0 * f, 2.0, 1), (3.0 + lag, 6.0 * f, 6.0 * f / 4.0, 1)],
        "modelled": [(0.3, 10.0, d, 2), (3.3, 6.0, 6.0 / r, 2)],
        "steady state": every,
    }[name]


DOSES = {
    "lag and bioavailability": [Dose(0.0, 10.0), Dose(4.0, 5.0, additional=1, interval_h=3.0)],
    "infusions": [Dose(0.0, 10.0, duration_h=2.0), Dose(3.0, 6.0, rate=4.0)],
    "modelled": [Dose(0.0, 10.0, compartment=2, rate=-2), Dose(3.0, 6.0, compartment=2, rate=-1)],
    "steady state": [Dose(0.0, 99.0), Dose(3.0, 6.0, steady_state=1, additional=1, interval_h=4.0)],
}


@pytest.mark.parametrize("name", DOSES)
def test_formula_and_equations_equal_the_superposition_of_what_enters(name):
    design = nlme.Design.regular(TIMES_H, n_subjects=3, doses=DOSES[name])
    by_formula = nlme.predictions(Formula(), PARAMETERS, ETA, design)
    by_equations = nlme.predictions(Equations(), PARAMETERS, ETA, design)
    np.testing.assert_allclose(by_equations, by_formula, atol=1e-8)
    expected = np.stack([analytic(eta, entering(eta, name)) for eta in ETA])
    if name == "steady state":  # what came before it is forgotten
        before = np.array(TIMES_H) < 3.0
        lag, f = 0.7 * np.exp(ETA[:, 0]), 0.6 + 0.1 * ETA[:, 1]
        first = [[(late, 99.0 * share, 0.0, 1)] for late, share in zip(lag, f, strict=True)]
        expected = np.where(before, [analytic(*case) for case in zip(ETA, first, strict=True)], expected)
    np.testing.assert_allclose(by_formula, expected, rtol=1e-6, atol=1e-9)


def test_a_steady_state_that_adds_to_what_is_there():
    """SS 2 on top of another regimen, with infusions longer than their interval."""
    steady = Dose(5.0, 6.0, duration_h=6.0, compartment=2, interval_h=4.0, steady_state=2)
    design = nlme.Design.regular(TIMES_H, n_subjects=3, doses=[Dose(0.0, 10.0), steady])
    by_formula = nlme.predictions(Formula(), PARAMETERS, ETA, design)
    by_equations = nlme.predictions(Equations(), PARAMETERS, ETA, design)
    np.testing.assert_allclose(by_equations, by_formula, rtol=1e-6)
    expected = []
    for eta in ETA:
        lag, f = 0.7 * np.exp(eta[0]), 0.6 + 0.1 * eta[1]
        own = analytic(eta, [(lag, 10.0 * f, 0.0, 1)])
        # The doses of the past act from 5 h on.
        past = analytic(eta, [(5.3 - 4.0 * i, 6.0, 6.0, 2) for i in range(80)])
        expected.append(np.where(np.array(TIMES_H) >= 5.0, own + past, own))
    np.testing.assert_allclose(by_formula, expected, rtol=1e-6)


# Method fo differentiates the same predictions as often, and needs no modes.
@pytest.mark.parametrize("method", ["fo", pytest.param("focei", marks=pytest.mark.slow)])
def test_derivatives_of_modelled_doses(method):
    modelled = [Dose(1.0, 10.0, compartment=2, rate=-2), Dose(3.0, 6.0, compartment=2, rate=-1)]
    doses = [Dose(0.0, 10.0), *modelled, Dose(5.0, 4.0, duration_h=1.5)]
    design = nlme.Design.regular(TIMES_H, n_subjects=3, doses=doses)
    f = nlme.predictions(Formula(), PARAMETERS, ETA, design)
    records = nlme.Records.of(design, 1.1 * f)

    def objective(model, parameters):
        return nlme.objective(model, parameters, records, method=method, gradient=True)

    by_formula, by_equations = (objective(model, PARAMETERS) for model in (Formula(), Equations()))
    np.testing.assert_allclose(by_equations.ofv, by_formula.ofv, atol=1e-6)
    np.testing.assert_allclose(by_equations.gradient, by_formula.gradient, atol=1e-5)
    vector, h = PARAMETERS.to_vector(), 1e-4

    def ofv(v):
        return objective(Formula(), PARAMETERS.from_vector(v).concrete()).ofv.sum()

    numeric = [(ofv(vector + h * d) - ofv(vector - h * d)) / (2 * h) for d in np.eye(vector.size)]
    np.testing.assert_allclose(by_formula.gradient.sum(axis=1), numeric, atol=1e-5)


def test_derivatives_of_a_steady_state():
    """Of the formula, which equals the equations (above), against differences."""
    design = nlme.Design.regular(TIMES_H, n_subjects=3, doses=DOSES["steady state"])
    records = nlme.Records.of(design, 1.1 * nlme.predictions(Formula(), PARAMETERS, ETA, design))
    vector, h = PARAMETERS.to_vector(), 1e-4

    def objective(v):
        at = PARAMETERS.from_vector(v).concrete()
        return nlme.objective(Formula(), at, records, method="fo", gradient=True)

    numeric = [
        (objective(vector + h * d).ofv.sum() - objective(vector - h * d).ofv.sum()) / (2 * h)
        for d in np.eye(vector.size)
    ]
    np.testing.assert_allclose(objective(vector).gradient.sum(axis=1), numeric, rtol=1e-6, atol=1e-5)


def test_a_steady_state_out_of_reach_is_refused():
    slow = Formula().parameters([0.0, -8.0, 1.0], 0.1, nlme.Additive(0.1))
    doses = [Dose(0.0, 6.0, steady_state=1, interval_h=4.0)]
    design = nlme.Design.regular([1.0, 2.0], n_subjects=1, doses=doses)
    with pytest.raises(ValueError, match=r"subject 0: 200 doses do not lead to the steady state \(SS\)"):
        nlme.predictions(Formula(), slow, np.zeros((1, 3)), design)


def test_a_steady_state_is_looked_for_at_the_random_effects_of_each_subject():
    """At η = 0 clearance is fast enough for 200 doses; at η = −9 it is not."""
    doses = [Dose(0.0, 6.0, steady_state=1, interval_h=4.0)]
    design = nlme.Design.regular([1.0, 2.0], n_subjects=2, doses=doses)
    eta, oral = np.zeros((2, 3)), nlme.OneCompartmentOral()
    nlme.predictions(oral, PARAMETERS, eta, design)
    eta[1, 1] = -9.0
    with pytest.raises(ValueError, match=r"subject 1: 200 doses do not lead to the steady state \(SS\)"):
        nlme.predictions(oral, PARAMETERS, eta, design)


def test_closed_forms_refuse_compartments_that_neither_they_nor_dosing_name():
    class One(nlme.OneCompartmentOral):
        compartments = None

        def dosing(self, p):
            return {1: nlme.Dosing(lag_h=0.5)}

    design = nlme.Design.regular([1.0], n_subjects=1, doses=[Dose(0.0, 5.0), Dose(0.1, 5.0, compartment=7)])

    class Sum(One):
        def closed_form(self, time_h, doses, p):
            return jnp.sum(jnp.where(doses.given, doses.amount, 0.0), axis=1) / p["v"]

    with pytest.raises(
        ValueError, match=r"doses go to compartments 1, 7, but Sum\.closed_form does not look at"
    ):
        nlme.predictions(Sum(), One().default_parameters(), np.zeros((1, 3)), design)


def test_modelled_doses_that_the_model_does_not_describe():
    plain = nlme.OneCompartmentOral()
    parameters = plain.default_parameters()
    design = nlme.Design.regular([1.0], n_subjects=1, doses=[Dose(0.0, 5.0, rate=-2)])
    with pytest.raises(
        ValueError, match=r"subject 0: RATE is -2 at 0 h, but OneCompartmentOral.dosing gives"
    ):
        nlme.predictions(plain, parameters, np.zeros((1, 3)), design)

    class Wrong(nlme.OneCompartmentOral):
        def dosing(self, p):
            return {0: nlme.Dosing(lag_h=1.0)}

    with pytest.raises(ValueError, match=r"Wrong.dosing: compartments are 1, 2, …, got 0"):
        nlme.predictions(Wrong(), parameters, np.zeros((1, 3)), design)


@pytest.mark.parametrize(
    ("dose", "message"),
    [
        (Dose(0.0, 1.0, rate=-3), "rate of a dose must be ≥ 0, −1 or −2, got -3"),
        (Dose(0.0, 1.0, duration_h=1.0, rate=2.0), "give duration_h or rate of a dose, not both"),
        (Dose(0.0, 1.0, steady_state=3), "steady_state of a dose must be 0, 1 or 2, got 3"),
        (Dose(0.0, 1.0, steady_state=1), "interval_h of a dose at steady state must be > 0, got 0"),
    ],
)
def test_doses_that_make_no_sense(dose, message):
    with pytest.raises(ValueError, match=message):
        nlme.Design.regular([1.0], n_subjects=1, doses=[dose])


class Levels(nlme.OdeModel):
    """y = a + η + κ of the occasion: records are jointly normal."""

    fixed_effects: ClassVar = {"a": "real"}
    random_effects = ("eta",)
    occasion_effects = ("kappa",)

    def individual(self, theta, eta, covariates):
        return {"a": theta["a"] + eta[0] + eta[1]}

    def initial_state(self, p):
        return (0.0,)

    def vector_field(self, t, y, p):
        return (0.0 * y[0],)

    def prediction(self, t, y, p):
        return p["a"] + y[0]


def test_occasions_share_one_variance(tmp_path):
    """The likelihood is that of the normal distribution with both variances; the fit maximises it."""
    rng = np.random.default_rng(3)
    occasion = np.repeat([1, 2, 3], 2)
    same = (occasion[:, None] == occasion).astype(float)

    def covariance(between, within, sd):
        return between + within * same + sd**2 * np.eye(6)

    y = rng.multivariate_normal(np.full(6, 5.0), covariance(0.5, 0.3, 0.2), size=12)
    rows = ["ID,TIME,DV,OCC"]
    for i, values in enumerate(y):
        rows += [
            f"{i},{t},{v!r},{o}" for t, (v, o) in enumerate(zip(map(float, values), occasion, strict=True))
        ]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    records = nlme.read_nonmem(tmp_path / "t.csv")
    model = nlme.with_occasions(Levels(), 3)
    parameters = model.parameters([5.0], 0.5, nlme.Additive(0.2), 0.3)
    assert list(parameters.natural()) == ["a", "omega(eta,eta)", "omega(kappa,kappa)", "residual sd"]
    again = nlme.parameters_from_json(nlme.parameters_to_json(parameters))
    back = again.from_vector(again.to_vector()).concrete()
    np.testing.assert_allclose(back.omega, parameters.omega, rtol=1e-12)
    exact = -2 * multivariate_normal(np.full(6, 5.0), covariance(0.5, 0.3, 0.2)).logpdf(y)
    ofv = nlme.objective(model, parameters, records).ofv
    np.testing.assert_allclose(ofv, exact - 6 * np.log(2 * np.pi), atol=1e-6)
    fit = nlme.fit_population(model, records, parameters, covariance=False)
    a, (between, within), sd = (
        float(fit.parameters.theta["a"]),
        np.diag(fit.parameters.omega)[:2],
        float(fit.parameters.residual.sd),
    )
    assert fit.converged and fit.n_parameters == 4
    cv = fit.table().set_index("parameter")["bsv_cv_percent"]
    assert cv["omega(kappa,kappa)"] == pytest.approx(100 * np.sqrt(within) / a, rel=1e-6)
    # The maximum likelihood estimates of a balanced nested layout, by sums of squares.
    cells = y.reshape(12, 3, 2).mean(axis=2)
    subjects = cells.mean(axis=1)
    within_cells = np.sum((y.reshape(12, 3, 2) - cells[..., None]) ** 2) / 36
    between_cells = 2 * np.sum((cells - subjects[:, None]) ** 2) / 24
    between_subjects = 6 * np.sum((subjects - subjects.mean()) ** 2) / 12
    np.testing.assert_allclose(a, y.mean(), rtol=1e-5)
    np.testing.assert_allclose(sd**2, within_cells, rtol=1e-3)
    np.testing.assert_allclose(within, (between_cells - within_cells) / 2, rtol=1e-3)
    np.testing.assert_allclose(between, (between_subjects - between_cells) / 6, rtol=2e-3)
    (tmp_path / "t.csv").write_text("\n".join(rows).replace(",3\n", ",4\n") + "\n")
    with pytest.raises(ValueError, match="OCC must be an occasion 1 … 3, got 4"):
        nlme.objective(model, parameters, nlme.read_nonmem(tmp_path / "t.csv"))


def test_a_random_effect_beyond_those_of_an_occasion_is_refused():
    class Slip(Levels):
        def individual(self, theta, eta, covariates):
            return {"a": theta["a"] + eta[0] + eta[2]}

    model = nlme.with_occasions(Slip(), 3)
    parameters = model.parameters([5.0], 0.5, nlme.Additive(0.2), 0.3)
    design = nlme.Design.regular([1.0], n_subjects=1, covariates={"OCC": 1})
    with pytest.raises(ValueError, match=r"there are 2 random effects, eta\[0\] … eta\[1\] \(eta, kappa\)"):
        nlme.predictions(model, parameters, np.zeros((1, 4)), design)
