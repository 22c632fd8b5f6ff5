"""Faults in the section `sites`: one clear line each."""

import pytest

from covary.config.base import ConfigError
from covary.config.experiment import digest
from covary.config.reading import check


@pytest.mark.parametrize(
    ("sites", "line"),
    [
        ({"seen": 1}, "sites.seen: must be ≥ 2, got 1"),
        ({"seen": 3000}, "sites.seen must be at most subjects.train (2400), so that every seen site has "
         "training subjects, got 3000"),
        ({"unseen_subjects": 2},
         "sites.unseen_subjects must be at least the number of unseen sites (4), got 2"),
        ({"unseen_subjects": 0}, "sites.unseen_subjects: must be ≥ 1, got 0"),
        ({"confounding": 1.5}, "sites.confounding: must be ≤ 1, got 1.5"),
        ({"confounding": -1.5}, "sites.confounding: must be ≥ -1, got -1.5"),
        ({"confounding": 0.5, "scanner": {"watermark": 0.0}},
         "sites.confounding: has no effect with scanner.watermark 0; remove it"),
        ({"methods": ["armd"]}, "sites.methods[0]: must be one of plain, site_input, domain_adversarial, "
         "armed, armed_without_adversary, lmmnn, monte_carlo_em, combat, combat_target, combat_leak_free, or "
         "{corrector, effects}, got 'armd'"),
        ({"methods": ["plain", "plain"]}, "sites.methods[1].name must differ from those of other methods; "
         "give this one a `name`, got 'plain'"),
        ({"methods": [{"effects": "lmmnn", "objective": "marginal_likelihood"}]},
         "sites.methods[0].objective must be ebe_mse with effects lmmnn, whose likelihood is that of normal "
         "errors, got 'marginal_likelihood'"),
        ({"methods": [{"effects": "monte_carlo_em", "objective": "marginal_likelihood"}]},
         "sites.methods[0].objective must be ebe_mse with effects monte_carlo_em, whose likelihood is that "
         "of normal errors, got 'marginal_likelihood'"),
        ({"methods": ["plain", "combat_leak_free"], "training": {"network": "resnet18"}},
         "sites.methods[1].corrector must be none or adversary with training.network resnet18, which sees "
         "images and no features, got 'combat_leak_free'"),
        ({"methods": [{"corrector": "combat", "adversary_widths": [8]}]},
         "sites.methods[0].adversary_widths: has no effect with corrector combat; remove it"),
        ({"methods": [{"corrector": "adversary", "adversary_weight": 2.0}]},
         "sites.methods[0].adversary_weight: has no effect in sites.methods; remove it"),
        ({"training": {"network": "linear_probe"}}, "sites.methods[2].corrector must be none with "
         "training.network linear_probe, which has no hidden layer, got 'adversary'"),
        ({"training": {"folds": 9}}, "sites.training.folds must be at most sites.seen (8), got 9"),
        ({"seen": 2, "training": {"folds": 2}}, "sites.seen must leave 2 sites for training when a group of "
         "them is left out (2 groups leave 1), got 2"),
    ],
)  # fmt: skip
def test_faults(sites, line):
    with pytest.raises(ConfigError) as error:
        check({"sites": sites})
    assert str(error.value) == line


def test_sites_come_back_from_plain_data_and_are_left_out_where_there_are_none():
    assert "sites" not in check({}).model_dump()
    config = check(
        {"sites": {"methods": ["armed", {"effects": "variational", "objective": "ebe_mse"}, "lmmnn"]}}
    )
    assert check(config.model_dump()) == config
    assert [method.name for method in config.sites.methods] == [
        "armed", "armed_without_adversary_ebe_mse", "lmmnn",
    ]  # fmt: skip
    assert config.n_subjects == config.subjects.total + 600


def test_methods_change_no_number_of_the_dataset_and_the_case_mix_does():
    base, more, other = (
        digest(check({"sites": sites}))
        for sites in ({}, {"methods": ["plain"], "training": {"epochs": 3}}, {"case_mix_sd": 0.6})
    )
    assert base == more != other
