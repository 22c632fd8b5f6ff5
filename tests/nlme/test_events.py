"""Random tables with every kind of event against an integration of their rows one by one with SciPy."""

import csv
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from covary import nlme

KA, CL, V, KIN = 1.1, 0.3, 2.0, 0.7


class Filling(nlme.OdeModel):
    """Depot and blood with saturable elimination and a clearance that follows the weight; starts at 1."""

    fixed_effects: ClassVar = {"ka": "positive"}
    random_effects = ("eta",)

    def individual(self, theta, eta, covariates):
        size = covariates["WT"] / 70
        return {"ka": theta["ka"] * jnp.exp(eta[0]), "cl": CL * size**0.75, "v": V * size}

    def initial_state(self, p):
        return 0.0, p["v"]

    def vector_field(self, t, y, p):
        depot, blood = y
        return -p["ka"] * depot, p["ka"] * depot + KIN - p["cl"] * blood / (1 + blood / p["v"])

    def prediction(self, t, y, p):
        return y[1] / p["v"]


HEADER = ["ID", "TIME", "AMT", "RATE", "II", "ADDL", "SS", "EVID", "CMT", "DV", "MDV", "WT"]


def random_rows(rng, subject):
    """The rows of one subject as dictionaries: doses, infusions, repeats, resets, changes of weight."""
    time, weight, rows = float(rng.choice([-1.0, 0.0, 0.0, 2.0])), float(rng.integers(40, 100)), []
    goes_back = subject % 5 == 0
    for _ in range(int(rng.integers(6, 12))):
        evid = int(rng.choice([0, 0, 0, 1, 1, 2, 3, 4], p=[0.15, 0.15, 0.2, 0.15, 0.15, 0.1, 0.04, 0.06]))
        row = dict.fromkeys(HEADER, 0.0) | {"ID": subject, "TIME": time, "EVID": evid, "MDV": 1, "WT": weight}
        if evid == 0:
            row |= {"DV": 1.0, "MDV": int(rng.random() < 0.1)}
        if evid in (1, 4):
            row |= {"AMT": float(rng.integers(1, 9)), "CMT": int(rng.integers(1, 3))}
            row["RATE"] = float(rng.choice([0.0, 0.0, 0.5, 4.0]))
            row |= {"ADDL": int(rng.integers(1, 4)), "II": 2.5} if rng.random() < 0.4 else {}
        if evid in (3, 4) and goes_back and rng.random() < 0.5:
            row["TIME"] = time = 0.0
        rows.append(row)
        step = float(rng.choice([0.0, 0.25, 1.0, 2.5, 3.0]))
        time += step
        if step > 0 and not goes_back and rng.random() < 0.5:
            weight = float(rng.integers(40, 100))
    return [*rows, dict.fromkeys(HEADER, 0.0) | {"ID": subject, "TIME": time + 1, "DV": 1.0, "WT": weight}]


def integrate(rows, backward):
    """The prediction at each observation, by integrating from event to event."""
    ka, now = KA, min(0.0, rows[0]["TIME"])

    def parameters(weight):
        return CL * (weight / 70) ** 0.75, V * weight / 70

    y, pending, rates = np.array([0.0, parameters(rows[0]["WT"])[1]]), [], []
    predictions, before = [], rows[0]["WT"]

    def advance(until, weight):
        nonlocal y, now, rates
        cl, v = parameters(weight)
        while now < until:
            rates = [r for r in rates if r[0] > now]
            end = min([until] + [r[0] for r in rates])
            into = [sum(r[2] for r in rates if r[1] == c) for c in (1, 2)]

            def field(t, y, into=into):
                blood = ka * y[0] + KIN - cl * y[1] / (1 + y[1] / v)
                return -ka * y[0] + into[0], blood + into[1]

            y = solve_ivp(field, (now, end), y, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
            now = end

    def give(time, row):
        if row["RATE"]:
            rates.append((time + row["AMT"] / row["RATE"], row["CMT"], row["RATE"]))
        else:
            y[row["CMT"] - 1] += row["AMT"]

    for row in rows:
        weight = row["WT"] if backward else before
        resets = row["EVID"] in (3, 4)
        while pending and not resets and pending[0][0] <= row["TIME"]:
            time, dose = pending.pop(0)
            advance(time, weight)
            give(time, dose)
        if resets:
            y, now, pending, rates = np.array([0.0, parameters(row["WT"])[1]]), row["TIME"], [], []
        advance(row["TIME"], weight)
        before = row["WT"]
        if row["EVID"] in (1, 4):
            give(now, row)
            pending += [(now + (i + 1) * row["II"], row) for i in range(int(row["ADDL"]))]
            pending.sort(key=lambda dose: dose[0])
        elif row["EVID"] == 0 and not row["MDV"]:
            predictions.append(y[1] / parameters(row["WT"])[1])
    return predictions


def write(path, subjects):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        for rows in subjects:
            writer.writerows(rows)


@pytest.mark.parametrize("between_rows", ["LOCF", "NOCB"])
def test_random_tables_equal_an_integration_of_their_rows(tmp_path, between_rows):
    rng = np.random.default_rng(19)
    subjects = [random_rows(rng, subject) for subject in range(1, 41)]
    write(tmp_path / "t.csv", subjects)
    records = nlme.read_nonmem(tmp_path / "t.csv", between_rows=between_rows)
    model = Filling()
    parameters = model.parameters([KA], 1.0, nlme.Additive(1.0))
    found = nlme.predictions(model, parameters, np.zeros((len(subjects), 1)), records.design)
    for i, rows in enumerate(subjects):
        expected = integrate(rows, between_rows == "NOCB")
        np.testing.assert_allclose(found[i][records.present[i]], expected, rtol=1e-6, err_msg=str(rows))
    nlme.write_nonmem(tmp_path / "again.csv", records)
    again = nlme.read_nonmem(tmp_path / "again.csv", between_rows=between_rows)
    same = nlme.predictions(model, parameters, np.zeros((len(subjects), 1)), again.design)
    np.testing.assert_allclose(same, found, rtol=1e-6)


TEXT = (
    "ID,TIME,AMT,RATE,II,ADDL,SS,EVID,CMT,DV,MDV,WT\n1,0,5,0,12,2,1,1,1,.,1,70\n1,1,0,0,0,0,0,0,0,2.5,0,70\n"
    "1,3,0,0,0,0,0,0,0,1.5,0,71\n2,0,5,-2,0,0,0,1,2,.,1,60\n2,2,0,0,0,0,0,0,0,3.5,0,60\n"
)


def test_closed_forms_restart_at_a_reset_and_take_no_changing_covariate(tmp_path):
    text = "ID,TIME,AMT,EVID,CMT,DV\n1,0,10,1,2,.\n1,1,0,0,.,1\n1,2,4,4,2,.\n1,3,0,0,.,1\n"
    text += "1,0,0,3,.,.\n1,2,0,0,.,1\n"
    (tmp_path / "t.csv").write_text(text)
    model = nlme.OneCompartmentOral()
    parameters = model.parameters([0.0, 0.0, 0.0], 1.0, nlme.Additive(1.0))
    f = nlme.predictions(model, parameters, np.zeros((1, 3)), nlme.read_nonmem(tmp_path / "t.csv").design)
    np.testing.assert_allclose(f[0], [10 / np.e, 4 / np.e, 0.0], rtol=1e-12)

    class Weighed(nlme.OneCompartmentOral):
        def individual(self, theta, eta, covariates):
            return super().individual(theta, eta, covariates) | {"v": covariates["WT"]}

    (tmp_path / "t.csv").write_text(TEXT.replace("-2", "0"))
    with pytest.raises(ValueError, match="Weighed is a closed form, which cannot take the covariate WT"):
        nlme.predictions(Weighed(), parameters, np.zeros((2, 3)), nlme.read_nonmem(tmp_path / "t.csv").design)
