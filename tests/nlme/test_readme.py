import re
from pathlib import Path

import numpy as np
import pytest

from covary import nlme, rng

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_the_readme_s_own_model_runs_as_it_stands(tmp_path):
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "OdeModel" in c)
    name = re.search(r"`longitudinal.model: my_model.py:(\w+)`", README.read_text()).group(1)
    file = tmp_path / "my_model.py"
    file.write_text(code)
    model = nlme.load_model(f"{file}:{name}")
    parameters = model.default_parameters()
    eta = rng.normal(1, "eta", 0, 64, (2,))
    design = nlme.Design.regular(np.arange(0.0, 10.5, 0.5), n_subjects=64, dose=1.0)
    observation = nlme.simulate(model, parameters, eta, design, 1).observation
    modes = nlme.empirical_bayes(model, parameters, nlme.Records.of(design, observation))
    assert np.all(modes.status == nlme.Status.CONVERGED)
    assert np.corrcoef(eta[:, 0], modes.eta[:, 0])[0, 1] > 0.9


def test_the_readme_s_use_as_a_library_runs_as_it_stands(monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    (code,) = (block for block in blocks if "fit_population" in block)
    monkeypatch.chdir(ROOT)  # its table is named from the checkout
    names = {}
    exec(code, names)
    fit = names["fit"]
    assert fit.converged
    assert fit.objective == pytest.approx(116.803413, abs=1e-4)  # the optimum of test_golden.py
    assert capsys.readouterr().out == fit.summary() + "\n"
