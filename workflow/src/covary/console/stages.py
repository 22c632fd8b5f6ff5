"""The stages of the workflow and how long their jobs take.

A stage is a file of rules. Its name is what the first line of the file says before the colon.
"""

import re
from collections.abc import Iterable
from pathlib import Path

# CPU seconds of one job of the demo, or of the experiment that has it. They say how large a part of a run a
# job is, until the experiment has benchmarks of its own.
USUAL_S = {
    "draw_phantoms": 40, "prepare_images": 10, "train_image_vae": 150, "rank_latents": 17,
    "train_generator": 60, "check_generator": 6, "generate_images": 52, "measure_generator": 13,
    "check_privacy": 17, "fit_population": 27, "estimate_random_effects": 6, "draw_posteriors": 8,
    "train_predictor": 20, "train_reader": 18, "train_oracle": 10, "measure_learning_curve": 28,
    "measure_visits_worth": 23, "evaluate": 10, "plot_population": 16,
    # cells
    "draw_cells": 70, "train_family": 180, "profile_cells": 100, "plot_phenotypes": 12,
    # visits
    "train_posterior_network": 124, "draw_amortised": 32, "check_posteriors": 40, "measure_imputation": 91,
}  # fmt: skip
_OTHERS_S = 2.0


class Stages:
    """Which stage a rule belongs to, in the order in which the Snakefile includes them."""

    def __init__(self, snakefile: Path):
        included = re.findall(r'^include: "(.+)"', snakefile.read_text(encoding="utf-8"), re.MULTILINE)
        self._of: dict[str, str] = {}
        self.names: list[str] = []
        for path in (snakefile.parent / name for name in included):
            text = path.read_text(encoding="utf-8")
            name = text.lstrip('"\n').partition(":")[0]
            rules = re.findall(r"^ *(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE)
            if rules:
                self.names.append(name)
                self._of |= dict.fromkeys(rules, name)

    def of(self, rule: str) -> str | None:
        """The stage of a rule; None for the rules of the Snakefile itself, which do nothing."""
        return self._of.get(rule)


def expected_seconds(rules: Iterable[str], benchmarks: Path) -> dict[str, float]:
    """How long one job of each rule takes: as in an earlier run of the experiment, else as usual."""
    return {rule: _measured(rule, benchmarks) or float(USUAL_S.get(rule, _OTHERS_S)) for rule in rules}


def _measured(rule: str, benchmarks: Path) -> float | None:
    """Mean of the first column, seconds, over the benchmarks of a rule; None if there are none."""
    files = [benchmarks / f"{rule}.tsv", *(benchmarks / rule).glob("*.tsv")]
    seconds = [
        float(f.read_text(encoding="utf-8").splitlines()[1].split("\t")[0]) for f in files if f.is_file()
    ]
    return sum(seconds) / len(seconds) if seconds else None
