"""Amortised posteriors in the workflow."""


def test_draws_of_a_posterior_network_replace_those_around_the_mode(project):
    config = project.edited("amortised.yaml", posterior={"source": "amortised"})
    planned = project.planned(config=config)
    assert planned["train_posterior_network"] == 1 and planned["draw_amortised"] == 2
    assert "draw_posteriors" not in planned
