import pandas as pd

from covary import nlme
from covary.evaluate import fit_table, parameter_table


def test_parameters_stand_beside_the_truth_and_say_whether_they_moved():
    truth = nlme.load_model("one_compartment_oral").default_parameters()
    names = list(truth.natural())
    values = [float(v) for v in truth.natural().values()]
    one = pd.DataFrame({"parameter": names, "estimate": values, "initial": [1.1 * v for v in values]})
    other = one.assign(initial=one["estimate"] * (1 + 1e-9))
    table = parameter_table({0.0: one, 9.0: other}, truth)
    assert table["noise_variance"].tolist() == [0.0] * len(names) + [9.0] * len(names)
    assert table["true"].tolist() == values * 2
    assert table["moved"].tolist() == [True] * len(names) + [False] * len(names)


def test_fits_have_a_row_for_each_noise_level():
    table = fit_table({0.0: {"converged": True, "verdict": "a"}, 9.0: {"converged": False, "verdict": "b"}})
    assert table.to_dict("list") == {
        "noise_variance": [0.0, 9.0],
        "converged": [True, False],
        "verdict": ["a", "b"],
    }
