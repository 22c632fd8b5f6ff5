"""Methods for sites in a run: settings chosen on sites left out, and how far predictions follow the mark."""

import numpy as np
import pytest
import torch
from torch import nn

from covary import rng
from covary.config.site_methods import SiteTraining, TrainedMethod
from covary.predict.armed import SiteNetwork
from covary.predict.combat import Line
from covary.predict.reliance import mark_reliance
from covary.predict.sites import choose_settings, hidden_of

TRAINING = SiteTraining(
    width=8, epochs=20, batch_size=32, learning_rate=0.02, folds=2, weight_decays=[50.0, 0.0],
    adversary_weights=[1.0],
)  # fmt: skip


def examples(subjects=240, sites=4):
    x = rng.normal(1, "x", 0, subjects, (3,)).astype(np.float32)
    estimates = (2 * x[:, :2] + 0.1 * rng.normal(1, "e", 0, subjects, (2,))).astype(np.float32)
    return x, estimates, np.arange(subjects) % sites


def chosen(name, tmp_path):
    return choose_settings(
        *examples(), TrainedMethod.model_validate(name), TRAINING, seed=1, checkpoint_dir=tmp_path
    )


def test_a_weight_decay_that_leaves_nothing_is_not_chosen(tmp_path):
    found = chosen("plain", tmp_path)
    assert found.weight_decay == 0.0 and found.unseen == "fixed"
    assert np.isnan(found.adversary_weight)
    errors = found.errors.set_index("weight_decay")["fixed"]
    assert errors[50.0] > 3 and errors[0.0] < 1.5  # the variance of the estimates is 4
    np.testing.assert_array_equal(found.errors["fixed"], found.errors["mixed"])


def test_the_site_input_has_the_predicted_site_where_sites_are_new(tmp_path):
    assert chosen("site_input", tmp_path).unseen == "mixed"


def test_reliance_is_the_ratio_of_slopes():
    network = SiteNetwork("resnet18", 2, 16, 1, 1, sites=3, effects="none")
    slopes = torch.ones(2, 1, 16, 16)
    slopes[:, :, -2:, -2:] = 5.0
    slopes[1] *= -1
    network.network = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))
    network.network[1].weight.data = slopes.flatten(1)
    images = np.full((4, 1, 16, 16), 100, np.uint8)
    assert mark_reliance(network, "resnet18", None, images, 2) == pytest.approx(5.0)
    in_mark = np.where(slopes[:1] == 5, 3.0, 1.0)
    line = Line(in_mark, 0 * in_mark)
    assert mark_reliance(network, "resnet18", None, images, 2, line) == pytest.approx(15.0)
    assert hidden_of(network, images).shape == (4, 0)
