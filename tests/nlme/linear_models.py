"""Models whose evidence and posteriors have a closed form."""

from typing import ClassVar

from covary import nlme


class Line(nlme.ClosedFormModel):
    """y = a + u + (b + v) t: linear in its random effects, so that the best normal q is the posterior."""

    fixed_effects: ClassVar = {"a": "real", "b": "real"}
    random_effects = ("u", "v")

    def individual(self, theta, eta, covariates):
        return {"a": theta["a"] + eta[0], "b": theta["b"] + eta[1]}

    def closed_form(self, time_h, doses, p):
        return p["a"] + p["b"] * time_h
