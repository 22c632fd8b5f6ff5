"""The page: collect its content and fill the template."""

import base64
import datetime
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import yaml
from jinja2 import Template
from markupsafe import Markup, escape

from covary.config.experiment import Config
from covary.dataset.association import explainable_fraction
from covary.evaluate.ledger import measured_ceiling
from covary.publication.origin import predictors_started_in_words
from covary.report import answers, imputation, ladder, phenotypes, posteriors, scans, sites, summary
from covary.report.environment import environment
from covary.report.fits import fits_in_words
from covary.report.model import model_source
from covary.report.runtime import read_benchmarks
from covary.report.visits import visits_worth_in_words
from covary.wording import (
    image_in_words,
    measure_label,
    model_label,
    population_label,
    posterior_label,
    predictor_label,
    site_method_label,
)

FIGURES = (
    "headline",
    "examples",
    "reconstructions",
    "traversals",
    "generator_quality",
    "latent_ranking",
    "association",
    "goodness_of_fit",
    "predictive_checks",
    "trajectories",
    "visits_worth",
    "r2_against_explainable_fraction",
    "calibration",
    "association_ledger",
    "learning_curve",
    "nearest_images",
    "closest_pairs",
    "training_curves",
    "workflow_dag",
)
TABLES = (
    "random_effects",
    "comparison",
    "calibration",
    "longitudinal_nll",
    "outcomes",
    "visits_worth",
    "association_ledger",
    "learning_curve",
    "population_parameters",
    "population_fits",
    "power",
    "privacy",
    "generator_quality",
    "counterfactuals",
    "latent_ranking",
)
FITS = "population_fits"  # shown as sentences, hence without a caption
_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
_PACKAGES = ("covary", "torch", "torchvision", "diffusers", "jax", "equinox", "numpy", "pandas",
             "xarray", "zarr", "snakemake")  # fmt: skip


def render(
    *,
    config: Config,
    channels: Sequence[str],
    index: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Path],
    captions: Path,
    benchmarks: Path,
    date: datetime.date,
) -> str:
    """The report of one run as HTML that needs no other file and no network.

    `channels` are the names of the channels of the images, `index` the list of prepared images, with their
    `status` and `conversion`.
    `tables` has all of `TABLES`: those of `covary.evaluate` and the `latent_ranking` of `covary.vae`, as read
    from their files. `figures` has an SVG or PNG file for each of `FIGURES`. A run with cells also has those
    of `covary.report.phenotypes`, a run with sites those of `covary.report.sites`, one with posteriors of a
    network those of `covary.report.posteriors`, one with missing visits that of `covary.report.imputation`,
    and one with a ladder of models those of `covary.report.ladder`. `captions` is a folder with a caption
    `<name>.rst` for every figure and table; `benchmarks` is the folder of Snakemake's benchmarks.

    Raises ValueError if a table or figure is missing or of another kind, FileNotFoundError if a caption is.
    """
    parts, compared = _optional_parts(config), ladder.figures_of(config)
    all_figures = FIGURES + tuple(name for part in parts for name in part.FIGURES) + compared
    all_tables = TABLES + tuple(name for part in parts for name in part.TABLES) + ladder.tables_of(config)
    captioned = (*FIGURES, *TABLES, *(name for part in parts for name in part.CAPTIONED), *compared)
    for kind, names, given in (("figure", all_figures, figures), ("table", all_tables, tables)):
        if missing := [name for name in names if name not in given]:
            raise ValueError(f"report: expected a file for each {kind}, got none for {', '.join(missing)}")
    shown = {name: _named(table) for name, table in tables.items()}
    ceiling = measured_ceiling(shown["association_ledger"])
    return _template(set(tables["association_ledger"]["part"])).render(
        config=config,
        ceiling=ceiling,
        tables=shown,
        files=tables,
        figures={name: _data_uri(figures[name]) for name in all_figures},
        captions={name: _caption(captions / f"{name}.rst") for name in captioned if name != FITS},
        date=date,
        runtime=read_benchmarks(benchmarks),
        versions=_versions(),
        machine=f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores",
        **_settings_in_words(config, channels),
        **_results_in_words(config, channels, index, tables, shown, ceiling),
        **_optional_results_in_words(config, tables, ceiling),
    )


def _optional_parts(config: Config) -> list[ModuleType]:
    """Modules of the sections that only some experiments have."""
    optional = {
        phenotypes: phenotypes.has_phenotypes(config),
        sites: config.sites is not None,
        posteriors: posteriors.has_posterior_checks(config),
        imputation: imputation.has_imputation(config),
        scans: scans.has_factors(config),
    }
    return [part for part, is_there in optional.items() if is_there]


def _template(parts_of_ledger: set[str]) -> Template:
    """The template with its filters and with the functions that it calls."""
    templates = environment()
    templates.filters |= {
        "number": _number,
        "significant": _significant,
        "duration": _duration,
        "csv": _csv_uri,
    }
    templates.globals |= {
        "percent": summary.percent,
        "subjects": answers.subjects,
        "subjects_interval": answers.subjects_interval,
        "limit_in_words": answers.limit_in_words,
        "factor_label": scans.factor_label,
        "part_names": {part: name for part, name in answers.PART_NAMES.items() if part in parts_of_ledger},
        "population": population_label,
        "site_method": site_method_label,
        "model_label": model_label,
        "measure_label": measure_label,
        "posterior": posterior_label,
        "pooled": answers.pooled,
        "explainable_fraction": explainable_fraction,
    }
    return templates.get_template("report.html.j2")


def _settings_in_words(config: Config, channels: Sequence[str]) -> dict[str, Any]:
    """What was simulated, and from what the networks started."""
    return {
        "image": image_in_words(config.images.drawn_size_px, channels),
        "stains": summary.stains_in_words(channels),
        "visits": summary.visits_in_words(config),
        "levels": summary.levels_in_words(len(config.association.noise_variances)),
        "model_source": model_source(config.longitudinal.model),
        "config_yaml": yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True),
        "changes": _changes(Config().model_dump(), config.model_dump()),
        "predictors_started": predictors_started_in_words(config.predictors),
    }


def _results_in_words(
    config: Config,
    channels: Sequence[str],
    index: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    shown: Mapping[str, pd.DataFrame],
    ceiling: pd.DataFrame,
) -> dict[str, Any]:
    """What every experiment finds. `shown` are the tables with predictors called as in figures."""
    ledger, ranking = shown["association_ledger"], tables["latent_ranking"]
    smallest = tables["learning_curve"]["subjects"].min()
    of_posteriors = posteriors.concerns(tables) if posteriors.has_posterior_checks(config) else []
    return {
        "sentences": summary.sentences(config, channels, ledger, shown["longitudinal_nll"]),
        "verdicts": summary.verdicts(ledger),
        "concerns": summary.concerns(config, index, shown) + of_posteriors,
        "pictures": answers.pictures_verdict(
            tables["generator_quality"],
            ranking.loc[ranking["random_effect"] >= 0, "latent"].tolist(),
            phantoms=config.images.are_drawn,
        ),
        "minimality": answers.minimality(tables["counterfactuals"]),
        "ledger_in_words": answers.ledger_in_words(ledger),
        "negative_parts": answers.negative_parts_in_words(ledger),
        "comparison_in_words": answers.comparison_in_words(shown["comparison"], ledger),
        "fits_in_words": fits_in_words(tables["population_fits"]),
        "calibration_in_words": answers.calibration_in_words(shown["calibration"]),
        "visits_worth_in_words": visits_worth_in_words(tables["visits_worth"], ceiling),
        "power_in_words": answers.power_in_words(shown["power"], smallest, ceiling),
        "smallest": smallest,
        "privacy_verdict": answers.privacy_verdict(tables["privacy"]),
        "ladder": ladder.sentences(config, tables),
    }


def _optional_results_in_words(
    config: Config, tables: Mapping[str, pd.DataFrame], ceiling: pd.DataFrame
) -> dict[str, Any]:
    """What only some experiments find; nothing in the others."""
    found: dict[str, Any] = {
        "scans": None,
        "phenotypes": [],
        "sites": [],
        "site_rows": None,
        "posteriors": [],
        "imputation": "",
    }
    if scans.has_factors(config):
        found["scans"] = scans.scans_in_words(tables["generator_quality"], tables["factors"])
    if phenotypes.has_phenotypes(config):
        found["phenotypes"] = phenotypes.sentences(tables)
    if config.sites is not None:
        with_mark = config.sites.scanner.watermark > 0
        controls = [method.name for method in config.sites.methods if method.corrector == "combat_target"]
        found["sites"] = sites.sentences(tables, ceiling, with_mark=with_mark, controls=controls)
        found["site_rows"] = sites.rows(tables)
    if posteriors.has_posterior_checks(config):
        found["posteriors"] = posteriors.sentences(tables)
    if imputation.has_imputation(config):
        found["imputation"] = imputation.imputation_in_words(tables["imputation"])
    return found


def _caption(path: Path) -> tuple[str, Markup]:
    """Title and text of a caption: its first paragraph, and the others."""
    title, _, text = path.read_text(encoding="utf-8").strip().partition("\n\n")
    unbroken = re.sub(" (?=[=+~%])|(?<=[=+~]) ", "\u00a0", text)
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(unbroken)))
    return title, Markup(re.sub(r"η_(\w+)", r"η<sub>\1</sub>", coded))


def _data_uri(path: Path) -> str:
    if path.suffix not in _MEDIA_TYPES:
        raise ValueError(f"{path}: expected a figure as .svg or .png")
    return f"data:{_MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with predictors called as in figures."""
    columns = [c for c in ("predictor", "predictor_1", "predictor_2") if c in table]
    return table.assign(**{c: table[c].map(predictor_label, na_action="ignore") for c in columns})


def _csv_uri(table: pd.DataFrame) -> str:
    return f"data:text/csv;base64,{base64.b64encode(table.to_csv(index=False).encode()).decode()}"


def _number(value: float, digits: int) -> str:
    """Fixed digits with thousands separated, and a true minus sign."""
    return f"{value:,.{digits}f}".replace("-", "−")


def _significant(value: float) -> str:
    """Three significant digits, and all digits of whole thousands; a dash where there is no value."""
    if math.isnan(value):
        return "–"
    return (f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}").replace("-", "−")


def _duration(seconds: float) -> str:
    """Seconds as 8.3 s, 2 min 05 s or 3 h 07 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _changes(
    default: Mapping[str, Any], value: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, str, str]]:
    """Key, default and value of everything that differs; the default is empty where there is none."""
    changes = []
    for key, new in value.items():
        old = default.get(key)
        if isinstance(new, Mapping):
            changes += _changes(old or {}, new, f"{prefix}{key}.")
        elif isinstance(new, list) and any(isinstance(item, Mapping) for item in new):
            items = dict(enumerate(old or []))
            for i, item in enumerate(new):
                changes += _changes(items.get(i, {}), item, f"{prefix}{key}[{i}].")
        elif key not in default:
            changes.append((f"{prefix}{key}", "", _plain(new)))
        elif old != new:
            changes.append((f"{prefix}{key}", _plain(old), _plain(new)))
    return changes


def _plain(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix("...\n").strip()


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}
