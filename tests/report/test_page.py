import base64
import datetime
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covary.config.reading import check
from covary.report import FIGURES, TABLES, render
from covary.report.page import _duration
from covary.wording import percent

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


CHANGED = {"experiment": "trial", "predictors": [{"epochs": 77}], "association": {"noise_variances": [0, 49]}}


class Page(HTMLParser):
    """Collects text, links, images, and checks that every element is closed."""

    VOID = frozenset({"meta", "img", "br", "wbr"})
    CODE = frozenset({"code", "pre"})  # settings, file names and programs: there names are as one types them

    def __init__(self, html):
        super().__init__()
        self.open, self.links, self.images, self.ids, self.words, self.prose = [], [], [], [], [], []
        self.feed(html)
        assert self.open == []
        self.text, self.prose = (re.sub(r"\s+", " ", " ".join(w)) for w in (self.words, self.prose))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(attributes)
        if tag == "img":
            self.images.append(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)
            if not self.CODE & set(self.open):
                self.prose.append(data)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp("run")
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "evaluate.tsv").write_text(
        HEADER + "83.4\t0:01:23\t2048\t1\t1\t1\t0\t0\t9\t80.0\n"
    )
    return {
        "figures": pictures(folder, FIGURES),
        "captions": CAPTIONS,
        "benchmarks": folder / "benchmarks",
        "date": datetime.date(2026, 2, 3),
    }


def page(inputs, tables, raw=None):
    config = check(raw if raw is not None else CHANGED)
    index = pd.DataFrame({"file": ["a.png"], "status": "ok", "conversion": "colours to grey"})
    html = render(config=config, channels=["grey"], index=index, tables=tables, **inputs)
    return html, Page(html)


def shown(value, digits):
    return f"{value:,.{digits}f}".replace("-", "−")


@pytest.mark.parametrize("tables", ["good", "blind", "two", "empty"])
def test_every_number_of_the_tables_is_shown_and_can_be_downloaded(inputs, tables, request):
    tables = request.getfixturevalue(tables)
    _, parsed = page(inputs, tables)
    intervals = {
        "random_effects": ({"mse": 4, "r2": 4}, "{}_low", "{}_high"),
        "longitudinal_nll": ({"nll": 1}, "{}_low", "{}_high"),
        "outcomes": ({"r2": 3, "crps": 4}, "{}_low", "{}_high"),
    }
    for name, (columns, low, high) in intervals.items():
        for row in tables[name].itertuples():
            for column, digits in columns.items():
                ends = (getattr(row, end.format(column)) for end in ("{}", low, high))
                value, *interval = (shown(end, digits) for end in ends)
                assert f"{value} [{', '.join(interval)}]" in parsed.text
    effects = tables["random_effects"]
    for value in effects[["theoretical_max", "fraction_of_max"]].dropna().to_numpy().ravel():
        assert f" {shown(value, 4)} " in parsed.text
    for row in tables["comparison"].query("random_effect == 'all'").itertuples():
        assert f"{shown(row.difference, 4)} [{shown(row.low, 4)}, {shown(row.high, 4)}]" in parsed.text
    for row in tables["association_ledger"].query("random_effect == 'all'").itertuples():
        ends = (percent(value / row.explainable, 1) for value in (row.value, row.low, row.high))
        value, low, high = (end.replace("\u00a0", " ") for end in ends)
        assert f"{value} [{low}, {high}]" in parsed.text
    files = {link["download"]: link["href"] for link in parsed.links if "download" in link}
    offered = {f"{name}.csv" for name in (*TABLES, "factors") if not tables[name].empty}
    assert set(files) == {*offered, "runtime.csv"}
    for name in offered:
        text = base64.b64decode(files[name].removeprefix("data:text/csv;base64,")).decode()
        pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), tables[name.removesuffix(".csv")])
    assert not {"nan", "inf"} & set(parsed.text.lower().split())


def test_parts_about_posteriors_and_imputation_appear_with_their_tables(inputs, good, with_missing_visits):
    missing = [{"mechanism": "dropout", "fraction": 0.2}]
    raw = CHANGED | {"longitudinal": {"missing": missing}, "posterior": {"source": "amortised"}}
    pictures = inputs["figures"]
    more = {name: pictures["calibration"] for name in ("posterior_ranks", "posterior_coverage")}
    _, parsed = page(inputs | {"figures": pictures | more}, with_missing_visits, raw)
    assert {"posteriors", "posterior_checks", "imputation"} <= set(parsed.ids)
    assert "The control failed, as it must" in parsed.text
    assert "miss the truth (residual sd)" in parsed.text and "falls by 0.200" in parsed.text
    assert "by FOCEI to the first 300 training patients" in parsed.text
    assert "Not converged: the fit with lines." in parsed.text
    assert {"posterior_checks.csv", "imputation.csv"} <= {link.get("download") for link in parsed.links}
    _, without = page(inputs, good)
    assert not {"posteriors", "imputation"} & set(without.ids)
    with pytest.raises(ValueError, match="figure, got none for posterior_ranks, posterior_coverage"):
        page(inputs, with_missing_visits, raw)


def test_the_longitudinal_model_is_shown_with_its_code_and_parameters(inputs, good):
    _, parsed = page(inputs, good)
    assert "class SaturableElimination" in parsed.text and "def vector_field" in parsed.text
    assert "Fitted by FOCEI to the records of 1,000 training patients (21,000 outcomes)" in parsed.text
    assert "CL 0.3 0.31 0.29 to 0.99 3.2 %" in parsed.text
    assert "Images were changed before use: colours to grey (1 of 1)." in parsed.text


def test_names_of_the_code_do_not_appear_outside_of_code(inputs, two):
    names = {"linear": "resnet18_ebe_mse", "resnet18": "resnet18_marginal_likelihood"}
    _, parsed = page(inputs, {name: table.replace(names) for name, table in two.items()})
    for name in ("no_image", "ebe_mse", "marginal_likelihood", "lost_in_", "from_scratch", "eta_hat"):
        assert name not in parsed.prose
    assert "resnet18 (EBE)" in parsed.prose and "resnet18 (likelihood)" in parsed.prose
    assert "without the image" in parsed.prose
    assert "marginal_likelihood" in parsed.text  # the setting


def test_sentences_have_the_time_unit_of_the_model(inputs, good, tmp_path):
    file = tmp_path / "days.py"
    file.write_text(
        "from covary.nlme.models import OneCompartmentOral\n\n\n"
        "class Days(OneCompartmentOral):\n    time_unit = 'd'\n"
    )
    raw = CHANGED | {"longitudinal": {"model": f"{file}:Days", "times_h": [0.5, 2.0, 10.5]}}
    _, parsed = page(inputs, good, raw)
    assert "3 outcomes over 10 days" in parsed.prose and not re.search(r"\bhours?\b", parsed.prose)
    _, parsed = page(inputs, good)
    assert " hours" in parsed.prose and " days" not in parsed.prose


def test_a_run_without_learning_curves_says_so(inputs, good):
    empty = {name: good[name].iloc[:0] for name in ("learning_curve", "power")}
    _, parsed = page(inputs, good | empty)
    assert "Not measured: no learning curve was asked for" in parsed.text


def test_the_page_stands_alone(inputs, good):
    html, parsed = page(inputs, good)
    assert "http" not in html.lower() and "<script" not in html and "url(" not in html
    assert len(parsed.images) == len(FIGURES)
    assert all(image["src"].startswith("data:image/png;base64,") for image in parsed.images)
    assert all(image["alt"] for image in parsed.images)
    anchors = [link["href"][1:] for link in parsed.links if link["href"].startswith("#")]
    assert anchors and set(anchors) <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_configuration_runtime_and_versions_are_shown(inputs, good):
    _, parsed = page(inputs, good)
    assert (
        f"predictors[0].epochs {check({}).predictors[0].epochs} 77" in parsed.text
        and "experiment demo trial" in parsed.text
    )
    assert "3 February 2026" in parsed.text and f"seed {check({}).seed}" in parsed.text
    assert "evaluate 1 1 min 23 s 1 min 23 s 1 min 20 s 2,048 MiB" in parsed.text
    assert f"numpy {np.__version__}" in parsed.text
    assert "results/trial/dataset.zarr" in parsed.text and 'data["longitudinal/noise_49"]' in parsed.text
    _, unchanged = page(inputs, good, raw={})
    assert "Every setting has its default value" in unchanged.text


def test_figures_and_tables_have_numbered_captions(inputs, good):
    _, parsed = page(inputs, good)
    for i in range(1, len(FIGURES) + 1):
        assert f"Figure {i}. " in parsed.text
    for name in (*FIGURES, "random_effects", "longitudinal_nll", "outcomes", "power", "privacy"):
        title = (CAPTIONS / f"{name}.rst").read_text(encoding="utf-8").split("\n\n")[0].strip()
        assert title in parsed.text


def test_a_value_from_the_configuration_cannot_break_the_page(inputs, good):
    raw = {"images": {"source": "folder", "folder": "<b>&\"scans'</b>"}}
    html, _ = page(inputs, good, raw)
    assert "<b>&" not in html and "&lt;b&gt;&amp;" in html


def test_missing_parts_are_named(inputs, good, tmp_path):
    without = {name: path for name, path in inputs["figures"].items() if name != "traversals"}
    with pytest.raises(ValueError, match="got none for traversals"):
        page(inputs | {"figures": without}, good)
    with pytest.raises(ValueError, match="file for each table, got none for power"):
        page(inputs, {name: table for name, table in good.items() if name != "power"})
    with pytest.raises(ValueError, match=r"x\.pdf: expected a figure as \.svg or \.png"):
        page(inputs | {"figures": inputs["figures"] | {"examples": tmp_path / "x.pdf"}}, good)
    with pytest.raises(FileNotFoundError, match=r"headline\.rst"):
        page(inputs | {"captions": tmp_path}, good)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (8.3, "8.3 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (125.0, "2 min 05 s"),
        (3600.0 * 3 + 7 * 60, "3 h 07 min"),
    ],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text
