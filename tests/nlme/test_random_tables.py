"""Random tables with every feature that the reader supports, against an integration of their rows with SciPy.

Doses are late, lost in part, of given or modelled rate or duration, repeated, and at steady state, into three
compartments. Resets may turn time back. Three outputs are observed, some values are censored, weight and
occasion change, and cells are missing. The same table in another dress is the same table; a damaged one is
refused, or reads the same. `test_events` has saturable elimination.
"""

import dataclasses
import datetime
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from covary import nlme

KA, CL, V, Q, KIN, LAG, F, RATE, DURATION = 1.1, 0.9, 2.0, 0.4, 0.3, 0.4, 0.8, 3.0, 1.7
OUTPUTS = {2: "concentration", 1: "depot", 3: "tissue"}
OCCASIONS = 2


class Dosed(nlme.OdeModel):
    """A depot, blood that is fed at a constant rate, and tissue; lag and bioavailability follow the weight,
    absorption the occasion."""

    fixed_effects: ClassVar = {"ka": "positive"}
    random_effects = ("eta",)
    occasion_effects = ("kappa",)
    outputs: ClassVar = OUTPUTS

    def individual(self, theta, eta, covariates):
        size = covariates["WT"] / 70
        ka = theta["ka"] * jnp.exp(eta[0] + eta[1])
        return {"ka": ka, "cl": CL * size**0.75, "v": V * size, "size": size}

    def dosing(self, p):
        late = LAG * p["size"]
        return {
            1: nlme.Dosing(lag_h=late, bioavailability=F / p["size"], rate=RATE, duration_h=DURATION),
            2: nlme.Dosing(rate=RATE * p["size"], duration_h=DURATION),
            3: nlme.Dosing(lag_h=LAG, rate=RATE, duration_h=DURATION),
        }

    def initial_state(self, p):
        return 0.0, p["v"], 0.0

    def vector_field(self, t, y, p):
        depot, blood, tissue = y
        absorbed, exchanged = p["ka"] * depot, Q * (blood - 2 * tissue)
        return -absorbed, absorbed + KIN - p["cl"] / p["v"] * blood - exchanged, exchanged

    def prediction(self, t, y, p):
        return {"concentration": y[1] / p["v"], "depot": y[0], "tissue": y[2]}


NOTHING = dict.fromkeys(
    ["TIME", "AMT", "RATE", "DUR", "II", "ADDL", "SS", "EVID", "CMT", "DVID", "DV", "MDV", "CENS"], 0.0
)


def random_rows(rng, subject, *, starts=(-1.0, 0.0, 0.0, 2.0), evids=(0, 0, 0, 1, 1, 1, 2, 3, 4)):
    """The rows of one subject. At steady state covariates stay; where time goes back they stay, too."""
    time, weight, occasion, rows = float(rng.choice(starts)), float(rng.integers(50, 90)), 1.0, []
    steady, goes_back = subject % 3 == 0, subject % 3 == 1 and 3 in evids
    for _ in range(int(rng.integers(6, 12))):
        evid = int(rng.choice(evids))
        if evid in (3, 4) and goes_back and rng.random() < 0.5:
            time = 0.0
        row = NOTHING | {"ID": subject, "TIME": time, "EVID": evid, "MDV": 1, "WT": weight, "OCC": occasion}
        row["LIMIT"] = float(rng.choice([0.25, np.nan]))
        if evid == 0:
            row |= {"DV": float(rng.integers(1, 9)), "DVID": int(rng.integers(1, 4))}
            row |= {"MDV": int(rng.random() < 0.1), "CENS": int(rng.choice([0, 0, 1, -1]))}
        elif evid in (1, 4):
            row |= {"AMT": float(rng.integers(1, 9)), "CMT": int(rng.integers(1, 4))}
            lasts = float(rng.choice([0.0, 0.0, 1.5, -1.0, -2.0, 0.75]))
            row["DUR" if lasts == 0.75 else "RATE"] = lasts
            row |= {"ADDL": int(rng.integers(1, 4)), "II": 2.3} if rng.random() < 0.4 else {}
            row |= {"SS": int(rng.integers(1, 3)), "II": 2.3} if steady and rng.random() < 0.3 else {}
        rows.append(row)
        step = float(rng.choice([0.0, 0.25, 1.0, 2.5, 3.0]))
        time += step
        if step > 0 and not steady and not goes_back and rng.random() < 0.5:
            weight, occasion = float(rng.integers(50, 90)), float(rng.integers(1, OCCASIONS + 1))
    last = {"ID": subject, "TIME": time + 1, "DV": 1.0, "DVID": 2, "WT": weight, "OCC": occasion}
    return [*rows, NOTHING | last | {"LIMIT": np.nan}]


class Person(NamedTuple):
    """What the covariates and random effects of a row make of a subject."""

    size: float
    ka: float

    @classmethod
    def of(cls, row, eta):
        return cls(row["WT"] / 70, KA * np.exp(eta[0] + eta[int(row["OCC"])]))

    @property
    def start(self):
        return np.array([0.0, V * self.size, 0.0])


class Integration:
    """A subject's state, the doses that are still to come, and the infusions that run."""

    def __init__(self, now, person):
        self.now, self.pending, self.rates = now, [], [0.0, 0.0, 0.0]
        self.y = person.start

    def order(self, time, row):
        """Give a dose, and those that repeat it, at its time."""
        self.pending.append((time, "order", row))

    def enter(self, time, row, person):
        """What an order does: late, and with the share that enters."""
        number = row["CMT"]
        late = {1: LAG * person.size, 2: 0.0, 3: LAG}[number]
        amount, at, c = row["AMT"] * (F / person.size if number == 1 else 1.0), time + late, number - 1
        if row["RATE"] == 0 and row["DUR"] == 0:
            self.pending.append((at, "bolus", (c, amount)))
            return
        rate = row["RATE"] if row["RATE"] > 0 else RATE * (person.size if number == 2 else 1)
        duration = row["DUR"] or (DURATION if row["RATE"] == -2 else amount / rate)
        self.pending += [
            (at, "rate", (c, amount / duration)),
            (at + duration, "rate", (c, -amount / duration)),
        ]

    def advance(self, until, person):
        """Integrate to a time, and do what comes before it or then."""
        while True:
            due = sorted((p for p in self.pending if p[0] <= until), key=lambda p: p[0])
            end = due[0][0] if due else until
            if end > self.now:
                k, ka, rates = CL * person.size**0.75 / (V * person.size), person.ka, self.rates

                def field(t, y, k=k, ka=ka, rates=rates):
                    absorbed, exchanged = ka * y[0], Q * (y[1] - 2 * y[2])
                    own = (-absorbed, absorbed + KIN - k * y[1] - exchanged, exchanged)
                    return [rate + slope for rate, slope in zip(rates, own, strict=True)]

                solution = solve_ivp(field, (self.now, end), self.y, method="DOP853", rtol=1e-10, atol=1e-12)
                self.y, self.now = solution.y[:, -1], end
            if not due:
                return
            self.pending.remove(due[0])
            time, what, of = due[0]
            if what == "order":
                self.enter(time, of, person)
            elif what == "bolus":
                self.y[of[0]] += of[1]
            else:
                self.rates[of[0]] += of[1]

    def run_in(self, time, row, person):
        """The state that the dose, given for ever before a time, leads to."""
        steady = Integration(time - 60 * row["II"], person)
        for i in range(60, 0, -1):
            steady.order(time - i * row["II"], row)
        steady.advance(time, person)
        return steady


def integrate(rows, eta, backward):
    """The prediction at each observation."""
    before = Person.of(rows[0], eta)
    state, found = Integration(min(0.0, rows[0]["TIME"]), before), []
    for row in rows:
        time, person = row["TIME"], Person.of(row, eta)
        if row["EVID"] in (3, 4):
            state = Integration(time, person)
        state.advance(time, person if backward else before)
        if row["EVID"] in (1, 4):
            if row["SS"]:
                steady = state.run_in(time, row, person)
                if row["SS"] == 2 and row["EVID"] != 4:
                    steady.y += state.y - person.start
                    steady.pending += state.pending
                    steady.rates = [a + b for a, b in zip(steady.rates, state.rates, strict=True)]
                state = steady
            state.enter(time, row, person)
            for i in range(int(row["ADDL"])):
                state.order(time + (i + 1) * row["II"], row)
            state.advance(time, person)
        elif row["EVID"] == 0 and not row["MDV"]:
            v = V * person.size
            found.append({1: state.y[0], 2: state.y[1] / v, 3: state.y[2]}[row["DVID"]])
        before = person
    return found


class Dress(NamedTuple):
    """How a table is written."""

    columns: tuple[str, ...] = ("ID", *NOTHING, "LIMIT", "WT", "OCC")
    separator: str = ","
    mark: str = ""  # before the header
    title: str = ""
    remark: str = ""  # a line in between
    marker: bool = False  # a first column C, which marks remarks
    ending: str = "\n"
    notation: str = "{!r}"
    clock: bool = False  # times of the day, with dates
    missing: float = 0.3  # cells of a weight that did not change

    def cells(self, row, before, rng):
        """The cells of a row. A covariate that did not change may be missing."""
        values = {**row, "SEX": "män", "DURATION": row["DUR"]}
        if before and before["ID"] == row["ID"] and before["WT"] == row["WT"] and rng.random() < self.missing:
            values["WT"] = np.nan
        if row["EVID"] == 0 and "DVID" not in self.columns:
            values["CMT"] = row["DVID"]
        cells = {name: self.text(values[name]) for name in self.columns if name in values}
        if self.clock:
            noon = datetime.datetime(2024, 2, 27, 8, 30) + datetime.timedelta(hours=row["TIME"])
            cells |= {"TIME": f"{noon:%H:%M:%S}", "DAT1": f"{noon:%d/%m/%y}"}
        return [cells[name] for name in self.columns]

    def text(self, value):
        if isinstance(value, str | int):
            return str(value)
        text = "." if np.isnan(value) else self.notation.format(value)
        return text.replace(".", ",") if self.separator == ";" and text != "." else text

    def lines(self, subjects, rng):
        """The header, and a line per row."""
        names = ["TINF" if name == "DURATION" else name for name in self.columns]
        rows = [row for rows in subjects for row in rows]
        cells = [self.cells(row, before, rng) for row, before in zip(rows, [None, *rows], strict=False)]
        return [self.separator.join(line) for line in [names, *cells]]

    def write(self, path, subjects, rng, encoding="utf-8"):
        header, *rows = self.lines(subjects, rng)
        remark = self.remark
        if self.marker:
            header, *rows = [
                f"{first}{self.separator}{line}"
                for first, line in zip("C" + "." * len(rows), [header, *rows], strict=True)
            ]
            remark = self.separator.join(["C", *["9"] * len(self.columns)])
        rows.insert(len(rows) // 2, remark)
        text = self.ending.join([*([self.title] if self.title else []), self.mark + header, *rows, ""])
        path.write_bytes(text.encode(encoding))
        return path


def the_same(found, expected, **tolerance):
    """Assert that records are equal, whatever else the table held, and in which lines."""
    elsewhere = {"unusable": {}, "observation_line": None, "dose_line": None}
    trees = [
        jax.tree.flatten(dataclasses.replace(r, design=dataclasses.replace(r.design, **elsewhere)))
        for r in (found, expected)
    ]
    assert trees[0][1] == trees[1][1]
    for one, other in zip(*(leaves for leaves, _ in trees), strict=True):
        if isinstance(one, str):
            assert one == other
        else:
            np.testing.assert_allclose(one, other, **tolerance)


def bounds_of(rows, censoring):
    """Low, high and floor of each observation, as the definitions of M3 and M4 have them."""
    for row in rows:
        floor = np.nan_to_num(row["LIMIT"], nan=0.0) if censoring == "M4" else -np.inf
        between = {0: (np.nan, np.nan), 1: (floor, row["DV"]), -1: (row["DV"], np.inf)}
        yield (*between[row["CENS"]], floor)


@pytest.mark.parametrize(("between_rows", "censoring"), [("LOCF", "M4"), ("NOCB", "M3")])
def test_random_tables_equal_an_integration_of_their_rows(tmp_path, between_rows, censoring):
    rng = np.random.default_rng(23)
    subjects = [random_rows(rng, subject) for subject in range(1, 31)]
    nobody = [NOTHING | {"ID": 99, "EVID": 1, "MDV": 1, "AMT": 1.0, "LIMIT": np.nan, "WT": 70.0, "OCC": 1.0}]
    columns = Dress().columns
    if between_rows == "NOCB":  # CMT says what is observed
        columns = tuple(name for name in columns if name != "DVID")
    path = Dress(columns).write(tmp_path / "t.csv", [*subjects, nobody], rng)
    choice = {"between_rows": between_rows, "censoring": censoring}
    records = nlme.read_nonmem(path, **choice)
    model = nlme.with_occasions(Dosed(), OCCASIONS)
    residual = {name: nlme.Additive(1.0) for name in OUTPUTS.values()}
    parameters = model.parameters([KA], 0.1, residual, 0.1)
    eta = rng.normal(scale=0.3, size=(len(subjects), 1 + OCCASIONS))
    found = nlme.predictions(model, parameters, eta, records.design)
    assert records.design.n_subjects == len(subjects)
    for i, rows in enumerate(subjects):
        seen, own = records.present[i], [row for row in rows if row["EVID"] == 0 and not row["MDV"]]
        expected = integrate(rows, eta[i], between_rows == "NOCB")
        np.testing.assert_allclose(found[i][seen], expected, rtol=1e-6, atol=1e-7, err_msg=str(rows))
        np.testing.assert_array_equal(records.observation[i][seen], [row["DV"] for row in own])
        bounds = [v[i][seen] for v in (records.bounds.low, records.bounds.high, records.bounds.floor)]
        np.testing.assert_array_equal(np.transpose(bounds), list(bounds_of(own, censoring)))
    nlme.write_nonmem(tmp_path / "again.csv", records)
    again = nlme.read_nonmem(tmp_path / "again.csv", **choice)
    same = nlme.predictions(model, parameters, eta, again.design)
    np.testing.assert_allclose(same, found, rtol=1e-6, atol=1e-9)
    for name in ("low", "high", "floor"):
        np.testing.assert_array_equal(getattr(again.bounds, name), getattr(records.bounds, name))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    separator=st.sampled_from([",", ";", "\t", " "]),
    mark=st.sampled_from(["", "#", "@", "C"]),
    title=st.sampled_from(["", "TABLE NO.  1", "# by hand"]),
    remark=st.sampled_from(["", "# a remark, by hand", "@ another"]),
    ending=st.sampled_from(["\n", "\r\n"]),
    notation=st.sampled_from(["{!r}", "{:.4E}", "{:.8f}"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    clock=st.booleans(),
    marker=st.booleans(),
    duration=st.sampled_from(["DUR", "DURATION"]),
    shuffled=st.randoms(use_true_random=False),
)
def test_a_random_table_in_another_dress_is_the_same(
    tmp_path_factory, seed, encoding, clock, marker, duration, shuffled, **dress
):
    folder, rng = tmp_path_factory.mktemp("t"), np.random.default_rng(seed)
    subjects = [random_rows(rng, subject, starts=(0.0,)) for subject in range(1, 5)]
    plain = nlme.read_nonmem(Dress().write(folder / "plain.csv", subjects, rng), covariates=["WT", "OCC"])
    columns = [duration if name == "DUR" else name for name in Dress().columns] + ["SEX"]
    columns += ["DAT1"] if clock else []
    shuffled.shuffle(columns)
    if dress["mark"] == "C":  # CID
        columns.remove("ID")
        columns.insert(0, "ID")
    there = Dress(tuple(columns), clock=clock, marker=marker and not dress["mark"], **dress)
    found = nlme.read_nonmem(there.write(folder / "t.csv", subjects, rng, encoding), covariates=["WT", "OCC"])
    the_same(found, plain, rtol=0, atol=1e-7)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_rows_without_evid_and_rows_chosen_by_ignore(tmp_path_factory, seed):
    folder, rng = tmp_path_factory.mktemp("t"), np.random.default_rng(seed)
    subjects = [random_rows(rng, subject, evids=(0, 0, 1, 1, 2)) for subject in range(1, 5)]
    whole = Dress(missing=0.0).write(folder / "whole.csv", subjects, rng)
    fewer = [[row for row in rows if row["EVID"] != 2] for rows in subjects]
    columns = tuple(name for name in Dress().columns if name != "EVID")
    without = Dress(columns, missing=0.0).write(folder / "without.csv", fewer, rng)
    expected = nlme.read_nonmem(without)
    the_same(nlme.read_nonmem(whole, ignore="EVID.EQ.2"), expected, rtol=0)
    the_same(nlme.read_nonmem(whole, accept=["EVID.LE.1"]), expected, rtol=0)


DAMAGE = [
    "garbage",
    "missing cell",
    "extra cell",
    "blank line",
    "comment",
    "spaces",
    "repeat",
    "swap",
    "twice",
]


@settings(max_examples=120)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(DAMAGE),
    at=st.integers(0, 999),
    column=st.integers(0, 99),
)
def test_random_damage_is_refused_or_changes_nothing(tmp_path_factory, seed, kind, at, column):
    folder, rng = tmp_path_factory.mktemp("t"), np.random.default_rng(seed)
    subjects = [random_rows(rng, subject) for subject in range(1, 3)]
    header, *lines = Dress().lines(subjects, rng)
    (folder / "good.csv").write_text("\n".join([header, *lines, ""]))
    rows, names = [line.split(",") for line in lines], header.split(",")
    at, column = at % (len(rows) - 1), column % len(names)
    must_fail = kind in ("missing cell", "extra cell", "twice")
    if kind == "garbage":
        garbage = ["x", "1;2", "1 2", "--", "1e", "inf", "0x1", "1,5", '"', "\0", "1_0"]
        rows[at][column] = str(rng.choice(garbage)) if column else "."  # any text can be an ID
    elif kind == "missing cell":
        del rows[at][column]
    elif kind == "extra cell":
        rows[at].insert(column, str(rng.choice(["0", "x"])))
    elif kind == "blank line":
        rows.insert(at, [""] * int(rng.choice([1, len(names), len(names) + 2])))
    elif kind == "comment":
        rows.insert(at, ["# a remark", 'with a " quote'])
    elif kind == "spaces":
        rows[at] = [f"  {cell} " for cell in rows[at]]
    elif kind == "repeat":
        rows.insert(at, names)
    elif kind == "swap":
        first, second = ([row for of_subject in subjects for row in of_subject][i] for i in (at, at + 1))
        same = first["ID"] == second["ID"]
        if same and (first["TIME"] >= second["TIME"] or first["EVID"] in (3, 4)):
            return  # they may stand in this order, too
        must_fail = True
        rows[at], rows[at + 1] = rows[at + 1], rows[at]
    else:
        names[column] = names[column - 1]
    (folder / "bad.csv").write_text("\n".join(",".join(row) for row in [names, *rows, [""]]))
    choice = {"covariates": ["WT", "OCC"]}
    good = nlme.read_nonmem(folder / "good.csv", **choice)
    try:
        bad = nlme.read_nonmem(folder / "bad.csv", **choice)
    except ValueError as error:
        assert "bad.csv" in str(error) and len(str(error).splitlines()) <= 10
        return
    assert not must_fail
    the_same(bad, good, rtol=0)
