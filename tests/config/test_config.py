from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from covary.config.base import ConfigError
from covary.config.experiment import Config
from covary.config.reading import check, load, overlay, typed, with_command_line
from covary.config.records import Longitudinal
from covary.config.reference import generated_files

ROOT = Path(__file__).parents[2]


def fault(raw) -> str:
    with pytest.raises(ConfigError) as caught:
        check(raw)
    return str(caught.value)


def test_shipped_demo_is_the_defaults():
    assert load(ROOT / "config" / "config.yaml") == Config()


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_file_is_valid(path):
    assert load(ROOT / "config" / "config.yaml", path).experiment


def test_committed_schema_and_key_table_match_the_model():
    for path, text in generated_files(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale: run `make generated`"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"association": {"noise_variances": [0, 1, -9]}},
            "association.noise_variances[2]: must be ≥ 0, got -9",
        ),
        ({"vea": {}}, "vea: unknown key; did you mean `vae`?"),
        ({"vae": {"epoch": 3}}, "vae.epoch: unknown key; did you mean `epochs`?"),
        ({"vae": {"zzz": 3}}, "vae.zzz: unknown key; known keys here: family, architecture, latent_dim"),
        ({"vae": 3}, "vae: must be a mapping of keys to values, got 3"),
        ({"vae": {"latent_dim": 1.5}}, "vae.latent_dim: must be a whole number, got 1.5"),
        ({"vae": {"epochs": True}}, "vae.epochs: must be a whole number, got True"),
        (
            {"images": {"source": "dicom"}},
            "images.source: must be one of 'phantom', 'folder' or 'cells', got 'dicom'",
        ),
        (
            {"images": {"source": "cells", "folder": "x", "drawn_cells": {}}},
            "images.drawn_cells: has no effect with a folder; remove it",
        ),
        (
            {"images": {"cells": {"side_px": 64}}},
            "images.cells: has no effect with source phantom",
        ),
        ({"images": {"source": "folder"}}, "images.folder must name a folder when images.source is `folder`"),
        (
            {"store": {"shard_subjects": 100}},
            "shard_subjects must be a multiple of chunk_subjects (64), got 100",
        ),
        ({"longitudinal": {"last_time_h": 0.0}}, "longitudinal.last_time_h: must be > 0, got 0"),
        ({"association": {"noise_variances": [1, 1]}}, "noise_variances must differ from each other"),
        ({"predictors": []}, "predictors: must have at least 1 item, got 0"),
        ({"predictors": [{"netwrk": "vgg11"}]}, "predictors[0].netwrk: unknown key; did you mean `network`?"),
        (
            {"predictors": [{"network": "vit_b_16", "width": 8}]},
            "predictors[0].width: has no effect with network vit_b_16; remove it",
        ),
        (
            {"predictors": [{}, {"objective": "marginal_likelihood", "width": 64}]},
            "predictors[1].name must differ from those of other predictors; give this one a `name`, got "
            "'resnet18_marginal_likelihood'",
        ),
        (
            {"predictors": [{"network": "a.py:Net"}, {"network": "b.py:Net", "name": "other"}]},
            "predictors[1].network must not be called in paths like another network, 'a.py:Net', got "
            "'b.py:Net'",
        ),
        ({"predictors": [{"name": "oracle_ebe_mse"}]}, "predictors[0].name must not start with `oracle_`"),
        ({"predictors": [{"name": "Mine"}]}, "predictors[0].name: must match ^[a-z0-9_]+$, got 'Mine'"),
        ({"predictors": [{"network": 18}]}, "predictors[0].network: must be a text, got 18"),
        ({"predictors": [{"objective": "mse"}]}, "predictors[0].objective: must be one of 'ebe_mse' or"),
        (
            {"predictors": [{"learning_curve": [0.2, 0.5]}]},
            "predictors[0].learning_curve must be at least 3 different shares, or none, got [0.2, 0.5]",
        ),
        (
            {"longitudinal": {"last_time_h": 0.25, "first_time_h": 1}},
            "last_time_h must be > first_time_h (1)",
        ),
        ({"longitudinal": {"times_h": [0, 2, 1]}}, "longitudinal.times_h must increase, got [0.0, 2.0, 1.0]"),
        ({"longitudinal": {"times_h": []}}, "longitudinal.times_h: must have at least 1 item, got 0"),
        (
            {"longitudinal": {"times_h": [0, 1], "interval_h": 1}},
            "longitudinal.interval_h: has no effect with times_h; remove it",
        ),
        (
            {"longitudinal": {"dose": 2.5}},
            "longitudinal.dose: was replaced; write `regimen: [{time_h: 0, amount: …}]`",
        ),
        (
            {"longitudinal": {"residual_sd": 0.1}},
            "longitudinal.residual_sd: was replaced; write `residual: {error: additive, sd: …}`",
        ),
        ({"longitudinal": {"regimen": [{"time_h": 0}]}}, "longitudinal.regimen[0].amount: must be given"),
        (
            {"longitudinal": {"regimen": [{"time_h": 0, "amount": 1, "additional": 2}]}},
            "longitudinal.regimen[0].interval_h must be given where `additional` is 2, got null",
        ),
        (
            {"longitudinal": {"regimen": [{"time_h": 0, "amount": 1, "interval_h": 12}]}},
            "longitudinal.regimen[0].interval_h: has no effect without `additional`; remove it",
        ),
        (
            {"longitudinal": {"residual": {"sd": 1}}},
            "residual.error: must be one of 'additive', 'proportional', 'combined', 'log_normal'",
        ),
        (
            {"longitudinal": {"residual": {"error": "poisson"}}},
            "'log_normal', got 'poisson'",
        ),
        (
            {"longitudinal": {"residual": {"error": "additive", "sd": 1, "proportional_sd": 1}}},
            "longitudinal.residual.proportional_sd: unknown key; known keys here: error, sd",
        ),
        (
            {"longitudinal": {"residual": {"error": "log_normal", "sd": -1}}},
            "longitudinal.residual.sd: must be > 0, got -1",
        ),
        ({"longitudinal": {"omega": [[1, 2], [2, 1]]}}, "longitudinal.omega: must be a variance > 0 for all"),
        ({"longitudinal": {"omega": [1, 0]}}, "positive definite matrix, got [1, 0]"),
        ({"longitudinal": {"omega": [[1], [0, 1]]}}, "positive definite matrix, got [[1], [0, 1]]"),
        ({"longitudinal": {"omega": "wide"}}, "positive definite matrix, got wide"),
        (
            {"longitudinal": {"covariates": {"WT": {"mean": 70, "minimum": 40}}}},
            "longitudinal.covariates.WT.minimum: has no effect with sd 0; remove it",
        ),
        (
            {"longitudinal": {"covariates": {"WT": {"mean": 0, "sd": 1, "distribution": "log_normal"}}}},
            "longitudinal.covariates.WT.mean must be > 0 where the distribution is log_normal, got 0",
        ),
        (
            {"longitudinal": {"covariates": {"WT": {"mean": 7, "sd": 1, "minimum": 9, "maximum": 8}}}},
            "longitudinal.covariates.WT.maximum must be > minimum (9), got 8",
        ),
        (
            {"longitudinal": {"covariates": {"WT": {"sdd": 1, "mean": 70}}}},
            "longitudinal.covariates.WT.sdd: unknown key; did you mean `sd`?",
        ),
        (
            {"longitudinal": {"covariates": {"WT": {"sd": 1}}}},
            "longitudinal.covariates.WT.mean: must be given",
        ),
        (
            {"longitudinal": {"covariates": {"WT": "heavy"}}},
            "longitudinal.covariates.WT: must be a mapping of keys to values, got 'heavy'",
        ),
        (
            {"predictor": {"width": 64, "posterior_draws": 32}},
            "predictor: was replaced; write `predictors: [{network: …, objective: …, width: …}], a list",
        ),
        (
            {"predictors": [{"objective": "ebe_mse"}], "posterior": {"draws": 8}},
            "posterior: has no effect without a predictor by marginal_likelihood or a fit by `amortised`; "
            "remove it",
        ),
        ({"images": {"folder": "scans"}}, "images.folder: has no effect with source phantom; remove it"),
        ({"images": {"test_fraction": 0.5}}, "images.test_fraction: has no effect with source phantom"),
        (
            {"images": {"source": "folder", "folder": "scans", "phantom": {"train": 9}}},
            "images.phantom: has no effect with source folder; remove it",
        ),
        (
            {"vae": {"perceptual_file": "vgg.pth"}},
            "vae.perceptual_file: has no effect with perceptual none; remove it",
        ),
        (
            {"vae": {"perceptual": "random", "perceptual_file": "vgg.pth"}},
            "vae.perceptual_file: has no effect with perceptual random; remove it",
        ),
        ({"vae": {"relu1_2_weight": 1}}, "vae.relu1_2_weight: has no effect with perceptual none; remove it"),
        ({"vae": {"relu3_3_weight": 1}}, "vae.relu3_3_weight: has no effect with perceptual none; remove it"),
        (
            {"vae": {"family": "gan"}},
            "vae.family: must be one of 'beta_vae', 'vae_gan', 'sparse_vae' or 'sparse_vae_gan', got 'gan'",
        ),
        *(
            (
                {"generator": {"pretrained": "sd", "conditioning": "token", key: value}},
                f"generator.{key}: has no effect with pretrained; remove it",
            )
            for key, value in (("patch_px", 4), ("block_channels", [16]), ("layers_per_block", 1))
        ),
        *(
            (
                {"sampling": {"mock_images": True, key: value}},
                f"sampling.{key}: has no effect with mock_images; remove it",
            )
            for key, value in (("solver", "ddim"), ("steps", 6), ("batch_size", 256), ("compile", False))
        ),
        ({"experiment": "../up"}, "experiment: must match"),
        ({"images": {"size_px": 40}}, "images.size_px must be a multiple of 16"),
        (
            {"vae": {"architecture": "resnet18"}, "images": {"size_px": 48}},
            "images.size_px must be a multiple of 32",
        ),
        ({"vae": {"crop_rows": 64}}, "vae.crop_rows must be < images.size_px (64), got 64"),
        (
            {"vae": {"crop_rows": 8}},
            "generator.conditioning must be `token` or `paper` when the VAE sees other",
        ),
        (
            {"images": {"generator_size_px": 72}, "generator": {"conditioning": "token"}},
            "images.generator_size_px must be a multiple of 16",
        ),
        (
            {"generator": {"pretrained": "resources/weights/sd"}},
            "generator.conditioning must be `token` or `paper` when generator.pretrained is given",
        ),
        (
            {"vae": {"family": "sparse_vae"}, "generator": {"conditioning_source": "reading"}},
            "generator.conditioning_source must not be `reading`, and generator.reading_weight must be 0",
        ),
        (
            {"sampling": {"guidance_scale": 2.0}},
            "sampling.guidance_scale must be 1 when generator.condition_dropout is 0, got 2",
        ),
    ],
)
def test_faults_name_the_key_and_what_was_expected(raw, message):
    assert message in fault(raw)
    assert "\n" not in fault(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"predictors": [{"network": "vgg11"}, {"network": "a.py:Net", "name": "mine"}]},
        {
            "longitudinal": {
                "times_h": [0, 0.5, 4],
                "regimen": [],
                "covariates": {"WT": 70},
                "omega": [0.1, 1],
            }
        },
        {"longitudinal": {"residual": {"error": "combined", "additive_sd": 0.1, "proportional_sd": 0.2}}},
        {"images": {"source": "folder", "folder": "scans"}, "sampling": {"mock_images": True}},
        {"generator": {"pretrained": "sd", "conditioning": "token"}, "vae": {"perceptual": "random"}},
        {"predictors": [{"objective": "ebe_mse"}]},
    ],
)
def test_a_configuration_written_as_plain_data_reads_back(raw):
    config = check(raw)
    again = check(config.model_dump())
    assert again == config and again.model_dump() == config.model_dump()


def test_a_predictor_is_named_and_measured_by_its_objective():
    one, two = check({"predictors": [{"network": "a.py:MyNet"}, {"objective": "ebe_mse"}]}).predictors
    assert (one.label, one.name, two.name) == ("mynet", "mynet_marginal_likelihood", "resnet18_ebe_mse")
    assert (one.learning_curve, two.learning_curve) == ([0.0625, 0.125, 0.25], [])


def test_readers_and_oracles_follow_the_first_predictor_of_their_network_and_objective():
    config = check(
        {
            "predictors": [
                {"objective": "marginal_likelihood", "width": 64, "covariance": "diagonal"},
                {"objective": "ebe_mse", "width": 8},
                {"network": "linear_probe", "objective": "ebe_mse"},
            ]
        }
    )
    assert {label: p.name for label, p in config.readers.items()} == {
        "resnet18": "resnet18_marginal_likelihood",
        "linear_probe": "linear_probe_ebe_mse",
    }
    assert {objective: p.width for objective, p in config.oracles.items()} == {
        "marginal_likelihood": 64,
        "ebe_mse": 8,
    }


def test_numbers_on_the_command_line_have_their_type_but_not_those_of_files():
    # As Snakemake reads: --config 'vae={epochs: 3, compile: true}' 'images={fit: null}' license=cc-by-4.0
    given = {"vae": {"epochs": "3", "compile": "true"}, "images": {"fit": "null"}, "license": "cc-by-4.0"}
    assert typed(given) == {
        "vae": {"epochs": 3, "compile": True},
        "images": {"fit": None},
        "license": "cc-by-4.0",
    }
    assert typed({"license": "a: b", "times": ["0", "0.5"]}) == {"license": "a: b", "times": [0, 0.5]}
    assert check(overlay({"vae": {"latent_dim": 8}}, typed(given))).vae.latent_dim == 8
    assert fault({"vae": {"epochs": "3"}}) == "vae.epochs: must be a whole number, got '3'"


def test_every_fault_gets_its_line():
    assert len(fault({"seed": -1, "vae": {"epochs": 0}, "typo": 1}).splitlines()) == 3


KEYS = ["images", "vae", "longitudinal", "predictors", "posterior", "residual", "regimen", "error",
        "covariates", "omega", "times_h", "objective", "network", "width", "fit", "sd"]  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.floats()
    | st.sampled_from(["additive", "combined", "vgg11"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_whatever_a_file_holds_is_a_configuration_or_a_fault_of_one_line_each(raw):
    try:
        config = check(raw)
    except ConfigError as error:
        assert all(": " in line or " must " in line for line in str(error).splitlines())
    else:
        assert check(config.model_dump()).model_dump() == config.model_dump()


def test_files_override_key_by_key(tmp_path):
    base, over = tmp_path / "base.yaml", tmp_path / "over.yaml"
    base.write_text(yaml.safe_dump({"vae": {"epochs": 3, "latent_dim": 8}}))
    over.write_text(yaml.safe_dump({"vae": {"epochs": 5}}))
    merged = load(base, over)
    assert (merged.vae.epochs, merged.vae.latent_dim) == (5, 8)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n"])
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nimages: [1\n", "line 3: not YAML: .* expected ',' or ']'"),
        ("seed: 1\nvae:\n\tepochs: 3\n", "line 3: not YAML: .* cannot start any token"),
    ],
)
def test_a_file_that_is_no_yaml_is_named_with_the_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^{path}, {message}[^\n]*$"):
        load(path)


@given(
    st.floats(0, 5, allow_nan=False),
    st.floats(0.01, 20, allow_nan=False),
    st.floats(0.01, 3, allow_nan=False),
)
def test_observation_times_stay_in_range_and_are_evenly_spaced(first, span, interval):
    longitudinal = Longitudinal(first_time_h=first, last_time_h=first + span, interval_h=interval)
    times = longitudinal.times_h
    assert times[0] == first
    assert first + span - interval < times[-1] + 1e-6 and times[-1] <= first + span + 1e-6
    assert all(abs((b - a) - interval) < 1e-9 for a, b in pairwise(times))


def test_the_paper_observes_21_times():
    assert Longitudinal().times_h == [0.5 * i for i in range(21)]


def test_a_seed_on_the_command_line_has_results_of_its_own():
    files = {"experiment": "mine", "seed": 3}
    assert with_command_line(files, {}).experiment == "mine"
    assert with_command_line(files, {"seed": 7}).experiment == "mine-seed7"
    named = with_command_line(files, {"seed": 7, "experiment": "other"})
    assert (named.experiment, named.seed) == ("other", 7)
    # A file that holds another seed replaces the results, as any other setting of a file does.
    assert with_command_line(files | {"seed": 7}, {}).experiment == "mine"


@pytest.mark.parametrize(
    ("raw", "starts"),
    [
        ({}, True),
        ({"generator": {"steps": 3000}}, True),
        ({"generator": {"start": None}}, False),
        ({"generator": {"block_channels": [32, 64]}}, False),
        ({"images": {"size_px": 128}}, False),
        ({"images": {"source": "folder", "folder": "scans"}}, False),
        ({"vae": {"family": "sparse_vae"}}, False),
    ],
)
def test_only_drawn_scans_of_its_size_start_from_the_shipped_network(raw, starts):
    generator = Config(**raw).generator
    assert (generator.start is not None) == starts
    assert generator.steps == raw.get("generator", {}).get("steps", 200 if starts else 750)
    sampling = Config(**raw).sampling
    assert (sampling.steps, sampling.spacing) == ((8, 0.55) if starts else (6, 1))


def test_the_steps_of_the_shipped_network_give_way_to_what_is_said():
    assert Config(sampling={"spacing": 1.0}).sampling.spacing == 1
    assert Config(sampling={"steps": 20}).sampling.spacing == 0.55
    assert Config(sampling={"solver": "ddim"}).sampling.steps == 6
    assert "spacing" not in Config(sampling={"solver": "ddim"}).model_dump()["sampling"]
    assert "spacing" not in Config(sampling={"mock_images": True}).model_dump()["sampling"]
