"""The part of the report about models of the records, which is left out where there are none."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covary.config.ladder import TRUTH
from covary.config.reading import check
from covary.report import FIGURES, render
from covary.report.ladder import figures_of

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
LADDER = {
    "models": [
        {"name": "wrong_structure", "model": "one_compartment_oral"},
        {"name": "deep", "model": "neural_compartments"},
    ],
    "estimators": ["wrong_structure", "deep"],
    "training_subjects": [30],
}


def ladder_tables():
    evidence = [
        (TRUTH, 3, 0, True, 320.0, 0.5, 12, np.nan, np.nan, np.nan),
        ("wrong_structure", 3, 30, True, 200.0, 0.4, 12, 0.0, 0.0, 0.0),
        ("deep", 3, 30, True, 290.0, 0.6, 12, 90.0, 70.0, 110.0),
    ]
    columns = ["model", "random_effects", "training_subjects", "converged", "evidence", "error", "subjects"]
    predictions = [
        (name, 3, size, given, 0.1, 0.08, 0.12, ratio)
        for name, size, ratio in ((TRUTH, 0, 1.0), ("wrong_structure", 30, 4.0), ("deep", 30, 1.5))
        for given in ("0", "all", "new regimen")
    ]
    association = [
        (name, measure, value, value - 0.02, value + 0.02, gain, gain - 0.01, gain + 0.01, 0.5)
        for name, value, gain in (("wrong_structure", 0.3, 0.0), ("deep", 0.4, 0.1))
        for measure in ("record", "carried", "found", "outcome")
    ]
    return {
        "deep_ladder": pd.DataFrame(evidence, columns=[*columns, "difference", "low", "high"]),
        "deep_predictions": pd.DataFrame(
            predictions, columns=[*columns[:3], "given", "rmse", "low", "high", "ratio"]
        ),
        "deep_association": pd.DataFrame(
            association,
            columns=["model", "measure", "r2", "low", "high", "gain", "gain_low", "gain_high", "explainable"],
        ),
    }


@pytest.mark.parametrize("raw", [{"ladder": LADDER}, {}], ids=["with", "without"])
def test_the_part_stands_in_the_report_of_a_run_with_a_ladder_alone(raw, good, pictures, tmp_path):
    config = check(raw)
    (tmp_path / "evaluate.tsv").write_text(
        "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
        "83.4\t0:01:23\t2048\t1\t1\t1\t0\t0\t9\t80.0\n"
    )
    html = render(
        config=config,
        channels=["grey"],
        index=pd.DataFrame({"file": ["a.png"], "status": "ok", "conversion": ""}),
        tables=good | ladder_tables(),
        figures=pictures(tmp_path, (*FIGURES, *figures_of(config))),
        captions=CAPTIONS,
        benchmarks=tmp_path,
        date=datetime.date(2026, 2, 3),
    )
    said = (
        "by the evidence of 12 new subjects, deep (by 90) lies above wrong structure.",
        "is 4.0 for wrong structure (4.0 under new doses) and 1.5 for deep (1.5 under new doses).",
        "Compared to wrong structure, deep finds more (R² higher by 0.100).",
        'id="ladder"',
        'id="deep_association_table"',
        "90.0 <span",
    )
    assert [text in html for text in said] == [bool(raw)] * len(said)
