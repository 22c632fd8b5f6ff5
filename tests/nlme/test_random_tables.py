"""Random tables with every feature of a dose against an integration of their rows one by one with SciPy.

`test_events` does the same for resets and covariates that change. Here doses are late, lost in part, of
modelled rate or duration, repeated, and at steady state, and two outputs are observed.
"""

import csv
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from covary import nlme

KA, CL, V, KIN, LAG, F, RATE, DURATION = 1.1, 0.9, 2.0, 0.3, 0.4, 0.8, 3.0, 1.7
HEADER = ["ID", "TIME", "AMT", "RATE", "II", "ADDL", "SS", "EVID", "CMT", "DV", "MDV", "WT"]


class Dosed(nlme.OdeModel):
    """A depot, and blood that is fed at a constant rate; lag and bioavailability follow the weight."""

    fixed_effects: ClassVar = {"ka": "positive"}
    random_effects = ("eta",)
    outputs: ClassVar = {2: "concentration", 1: "depot"}

    def individual(self, theta, eta, covariates):
        size = covariates["WT"] / 70
        return {"ka": theta["ka"] * jnp.exp(eta[0]), "cl": CL * size**0.75, "v": V * size, "size": size}

    def dosing(self, p):
        late = LAG * p["size"]
        return {
            1: nlme.Dosing(lag_h=late, bioavailability=F / p["size"], rate=RATE, duration_h=DURATION),
            2: nlme.Dosing(rate=RATE * p["size"], duration_h=DURATION),
        }

    def initial_state(self, p):
        return 0.0, p["v"]

    def vector_field(self, t, y, p):
        depot, blood = y
        return -p["ka"] * depot, p["ka"] * depot + KIN - p["cl"] / p["v"] * blood

    def prediction(self, t, y, p):
        return {"concentration": y[1] / p["v"], "depot": y[0]}


def random_rows(rng, subject):
    """The rows of one subject. Weights change only where no dose is at steady state."""
    time, weight, rows = float(rng.choice([0.0, 2.0])), float(rng.integers(50, 90)), []
    steady = subject % 2 == 0
    nothing = dict.fromkeys(HEADER, 0.0)
    for _ in range(int(rng.integers(6, 12))):
        evid = int(rng.choice([0, 1, 4], p=[0.5, 0.44, 0.06]))
        row = nothing | {"ID": subject, "TIME": time, "EVID": evid, "MDV": int(evid > 0), "WT": weight}
        if evid == 0:
            row |= {"DV": 1.0, "CMT": int(rng.integers(1, 3))}
        else:
            row |= {"AMT": float(rng.integers(1, 9)), "CMT": int(rng.integers(1, 3))}
            row["RATE"] = float(rng.choice([0.0, 0.0, 1.5, -1.0, -2.0]))
            row |= {"ADDL": int(rng.integers(1, 4)), "II": 2.3} if rng.random() < 0.4 else {}
            row |= {"SS": int(rng.integers(1, 3)), "II": 2.3} if steady and rng.random() < 0.3 else {}
        rows.append(row)
        step = float(rng.choice([0.0, 0.25, 1.0, 2.5, 3.0]))
        time += step
        if step > 0 and not steady and rng.random() < 0.5:
            weight = float(rng.integers(50, 90))
    last = {"ID": subject, "TIME": time + 1, "DV": 1.0, "CMT": 2, "WT": weight}
    return [*rows, nothing | last]


class Integration:
    """A subject's state, the doses that are still to come, and the infusions that run."""

    def __init__(self, now, weight):
        self.now, self.pending, self.rates = now, [], [0.0, 0.0]
        self.y = self.initial(weight)

    @staticmethod
    def initial(weight):
        return np.array([0.0, V * weight / 70])

    def order(self, time, row):
        """Give a dose, and those that repeat it, at its time."""
        self.pending.append((time, "order", row))

    def enter(self, time, row, weight):
        """What an order does: late, and with the share that enters."""
        size, first = weight / 70, row["CMT"] == 1
        late, share = (LAG * size, F / size) if first else (0.0, 1.0)
        amount, at, c = row["AMT"] * share, time + late, row["CMT"] - 1
        if row["RATE"] == 0:
            self.pending.append((at, "bolus", (c, amount)))
            return
        rate = row["RATE"] if row["RATE"] > 0 else RATE * (1 if first else size)
        duration = DURATION if row["RATE"] == -2 else amount / rate
        self.pending += [
            (at, "rate", (c, amount / duration)),
            (at + duration, "rate", (c, -amount / duration)),
        ]

    def advance(self, until, weight):
        """Integrate to a time, and do what comes before it or then."""
        while True:
            due = sorted((p for p in self.pending if p[0] <= until), key=lambda p: p[0])
            end = due[0][0] if due else until
            if end > self.now:
                cl, v = CL * (weight / 70) ** 0.75, V * weight / 70

                def field(t, y, cl=cl, v=v):
                    absorbed = KA * y[0]
                    return self.rates[0] - absorbed, self.rates[1] + absorbed + KIN - cl / v * y[1]

                solution = solve_ivp(field, (self.now, end), self.y, method="DOP853", rtol=1e-10, atol=1e-12)
                self.y, self.now = solution.y[:, -1], end
            if not due:
                return
            self.pending.remove(due[0])
            time, what, of = due[0]
            if what == "order":
                self.enter(time, of, weight)
            elif what == "bolus":
                self.y[of[0]] += of[1]
            else:
                self.rates[of[0]] += of[1]

    def run_in(self, time, row, weight):
        """The state that the dose, given for ever before a time, leads to."""
        steady = Integration(time - 40 * row["II"], weight)
        for i in range(40, 0, -1):
            steady.order(time - i * row["II"], row)
        steady.advance(time, weight)
        return steady


def integrate(rows, backward):
    """The prediction at each observation."""
    state = Integration(min(0.0, rows[0]["TIME"]), rows[0]["WT"])
    before, found = rows[0]["WT"], []
    for row in rows:
        time, weight = row["TIME"], row["WT"]
        if row["EVID"] == 4:
            state = Integration(time, weight)
        state.advance(time, weight if backward else before)
        if row["EVID"]:
            if row["SS"]:
                steady = state.run_in(time, row, weight)
                if row["SS"] == 2 and row["EVID"] != 4:
                    steady.y += state.y - state.initial(weight)
                    steady.pending += state.pending
                    steady.rates = [a + b for a, b in zip(steady.rates, state.rates, strict=True)]
                state = steady
            state.enter(time, row, weight)
            for i in range(int(row["ADDL"])):
                state.order(time + (i + 1) * row["II"], row)
            state.advance(time, weight)
        else:
            v = V * weight / 70
            found.append(state.y[1] / v if row["CMT"] == 2 else state.y[0])
        before = weight
    return found


@pytest.mark.parametrize("between_rows", ["LOCF", "NOCB"])
def test_random_tables_equal_an_integration_of_their_rows(tmp_path, between_rows):
    rng = np.random.default_rng(23)
    subjects = [random_rows(rng, subject) for subject in range(1, 49)]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        for rows in subjects:
            writer.writerows(rows)
    records = nlme.read_nonmem(tmp_path / "t.csv", between_rows=between_rows)
    model = Dosed()
    residual = {"concentration": nlme.Additive(1.0), "depot": nlme.Additive(1.0)}
    parameters = model.parameters([KA], 1.0, residual)
    eta = np.zeros((len(subjects), 1))
    found = nlme.predictions(model, parameters, eta, records.design)
    for i, rows in enumerate(subjects):
        expected = integrate(rows, between_rows == "NOCB")
        np.testing.assert_allclose(
            found[i][records.present[i]], expected, rtol=1e-6, atol=1e-7, err_msg=str(rows)
        )
    nlme.write_nonmem(tmp_path / "again.csv", records)
    again = nlme.read_nonmem(tmp_path / "again.csv", between_rows=between_rows)
    same = nlme.predictions(model, parameters, eta, again.design)
    np.testing.assert_allclose(same, found, rtol=1e-6, atol=1e-9)
