"""What is checked before the workflow is planned: that models and networks exist, are complete and fit.

The checks need JAX, and torch where a user's own network is named, so they run in a process of their own. The
answer is kept, so each setting is checked once.
"""

import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from covary import plugins
from covary.config.experiment import Config
from covary.errors import UserError
from covary.training import shipped

_WITHOUT_PRIOR = "set the key to null to start from random weights"
_SUBJECTS = 2  # a design of so many is enough to see whether a model fits it


def check(config: Config, cache: Path) -> dict[str, Any]:
    """Check the structural model, the networks and the tables of a configuration; return what the model says.

    The result has `random_effects`, their names. It is kept below `cache` under a digest of the settings and
    of the users' files. Raises UserError with the line that says what does not fit.
    """
    if config.images.table is not None and not Path(config.images.table).is_file():
        raise UserError(f"images.table: {config.images.table}: no such file")
    if config.generator.prior is not None:
        expected = config.generator.shape(config.images.drawn_size_px)
        shipped.read_description(Path(config.generator.prior), expected, "generator.prior", _WITHOUT_PRIOR)
    files = [plugins.file_of(config.longitudinal.model), config.longitudinal.design]
    files += [plugins.file_of(rung.model) for rung in config.ladder.models]
    files += [plugins.file_of(predictor.network) for predictor in config.predictors]
    digest = hashlib.sha256(config.model_dump_json().encode())
    for name in filter(None, files):
        digest.update(Path(name).read_bytes() if Path(name).is_file() else b"")
    kept = cache / f"{digest.hexdigest()[:24]}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    run = subprocess.run(
        [sys.executable, "-m", "covary.preflight"],
        input=config.model_dump_json(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"the check of models and networks failed:\n{run.stderr}")
    answer = json.loads(run.stdout)
    if "fault" in answer:
        raise UserError(answer["fault"])
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(run.stdout, encoding="utf-8")
    return answer


def _check(config: Config) -> dict[str, Any]:
    from covary.records.study import Study

    study = Study.planned(config.longitudinal, _SUBJECTS, config.seed)
    study.check(config.longitudinal.fit)
    random_effects = list(study.model.random_effects)
    if config.ladder.models:
        from covary.evaluate.ladder import check_ladder

        check_ladder(config.ladder, study, config.longitudinal.fit)
    if any(plugins.file_of(predictor.network) for predictor in config.predictors):
        from covary.predict.network import PredictorNetwork

        for predictor in config.predictors:
            if plugins.file_of(predictor.network):
                size_px = config.images.drawn_size_px
                PredictorNetwork(predictor.network, len(random_effects), size_px, predictor.width)
    return {"random_effects": random_effects}


if __name__ == "__main__":
    from covary.config.reading import check as checked

    # What a user's file prints when it is imported must not mix with the answer.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = _check(checked(json.load(sys.stdin)))
        except UserError as error:
            answer = {"fault": str(error)}
    print(json.dumps(answer))
