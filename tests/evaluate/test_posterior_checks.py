"""Checks of posteriors: right ones pass, the control fails, and the report says both."""

import io

import pandas as pd
import pytest
from designs import ORAL_TIMES_H

from covary import figures, nlme
from covary.amortised.problem import EngineSimulator
from covary.amortised.train import Training, train
from covary.config.visits import CompletelyAtRandom
from covary.evaluate.coverage import ALL, BINS, BLIND, JOINT, SOURCES, WEIGHTED
from covary.evaluate.posterior_checks import check_posteriors
from covary.report.posteriors import concerns, rejected, sentences

N = 600
SMALL = Training(layers=2, width=16, batch=256, steps=40, rounds=8)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Both tables, of networks that were trained for seconds."""
    nlme.configure()
    model = nlme.OneCompartmentOral()
    truth = model.default_parameters()
    design = nlme.Design.regular(ORAL_TIMES_H, n_subjects=1, dose=300.0)
    missing = [CompletelyAtRandom(mechanism="completely_at_random", fraction=0.3)]
    simulator = EngineSimulator(model, truth, design, missing, 1.2)
    complete = EngineSimulator(model, truth, design, [], 1.2)
    unaware = Training(layers=2, width=16, batch=256, steps=40, rounds=6, encoding="insert", constant=0.0)
    network, _ = train(simulator, SMALL, seed=1, folder=tmp_path_factory.mktemp("network"))
    blind, _ = train(complete, unaware, seed=1, folder=tmp_path_factory.mktemp("blind"))
    target = EngineSimulator(model, truth, design, missing)
    return check_posteriors(
        network, blind, simulator.factor, target, N, seed=3, stream="checks", resamples=100
    )


def test_weighted_draws_pass_and_the_control_fails(checked):
    table, counts = checked
    assert tuple(table["source"].unique()) == SOURCES
    assert rejected(table, WEIGHTED).empty and not rejected(table, BLIND).empty
    for _, rows in counts.groupby(["source", "random_effect"]):
        assert len(rows) == BINS and rows["count"].sum() == N
    joint = table[(table["parameter"] == JOINT) & (table["missing"] == ALL)].set_index("source")
    statuses = joint.loc[WEIGHTED, [c for c in table if c.startswith("status_")]]
    assert statuses.sum() == pytest.approx(1.0) and joint.loc[WEIGHTED, "excess"] == 0
    # No posterior is sharper than the exact one, and the blind one is far from it.
    assert (joint["excess_high"] >= 0).all() and joint.loc[BLIND, "excess_low"] > 0.1
    by_share = table[(table["source"] == WEIGHTED) & (table["parameter"] == "eta_cl")].set_index("missing")
    assert by_share.loc["to 30 %", "contraction"] > by_share.loc["to 60 %", "contraction"]


def test_the_report_says_what_passed_and_what_did_not(checked):
    table = checked[0].assign(noise_variance=1.0)
    tables = {"posterior_checks": pd.read_csv(io.StringIO(table.to_csv(index=False)))}
    text = " ".join(answer.text for answer in sentences(tables))
    assert "None of 12 tests rejects" in text and "The control failed, as it must" in text
    assert concerns(tables) == [] or "points" in concerns(tables)[0]
    swapped = table.assign(source=table["source"].replace({WEIGHTED: BLIND, BLIND: WEIGHTED}))
    swapped[["excess", "excess_low", "excess_high"]] = table[["excess", "excess_low", "excess_high"]]
    poor = " ".join(concerns({"posterior_checks": swapped}))
    assert "are not uniform for" in poor and "The control did not fail" in poor


def test_the_figures_show_every_source_and_stratum(checked):
    table, counts = (part.assign(noise_variance=1.0) for part in checked)
    ranks = figures.posterior_ranks(counts)
    assert [axis.get_title() for axis in ranks.axes] == [
        "weighted draws",
        "Laplace",
        "network alone",
        "blind network",
    ]
    left, right = figures.posterior_coverage(table).axes
    assert [t.get_text() for t in right.get_xticklabels()] == list(table["missing"].unique())
    assert len(left.lines) == len(SOURCES)
