"""Amortised posteriors in the workflow."""


def test_draws_of_a_posterior_network_replace_those_around_the_mode(project):
    config = project.edited("amortised.yaml", posterior={"source": "amortised"})
    planned = project.planned(config=config)
    assert planned["train_posterior_network"] == 1 and planned["draw_amortised"] == 2
    assert planned["train_blind_network"] == 1 and planned["check_posteriors"] == 2
    assert planned["plot_posterior_checks"] == 1
    assert not {"draw_posteriors", "measure_imputation"} & planned.keys()


def test_runs_with_missing_visits_measure_what_filling_them_in_would_do(project):
    missing = [{"mechanism": "completely_at_random", "fraction": 0.3}]
    planned = project.planned(config=project.edited("missing.yaml", longitudinal={"missing": missing}))
    assert planned["measure_imputation"] == 1 and "check_posteriors" not in planned


def test_a_posterior_network_can_fit_the_population(project):
    sections = {"posterior": {"source": "amortised"}, "longitudinal": {"fit": {"method": "amortised"}}}
    planned = project.planned(config=project.edited("fit.yaml", **sections))
    assert planned["train_population_network"] == 1 and planned["fit_amortised"] == 2
    assert "fit_population" not in planned
