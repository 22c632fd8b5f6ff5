"""What is checked before the workflow is planned: that models and networks exist, are complete and fit.

The checks need JAX, and PyTorch where a network is not one of Covary's own. They run in a process of their
own. The answer is kept, so each setting is checked once.
"""

import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from covary import plugins
from covary.config.base import Section
from covary.config.experiment import Config
from covary.config.ladder import Ladder
from covary.config.records import Longitudinal
from covary.errors import UserError
from covary.files import whole
from covary.jobs.fingerprint import sources_digest
from covary.training import shipped

_WITHOUT_START = "set the key to null to start from random weights"
_SUBJECTS = 2  # a design of so many is enough to see whether a model fits it


# Networks that fit whatever their width is. PyTorch is imported to check any other.
_OF_OURS = {"resnet18", "linear_probe", "perceptron"}


class _Network(Section):
    """The network of a predictor, and the key that names it."""

    key: str
    network: str
    width: int


class _Asked(Section):
    """What the answer depends on, beside users' files. An edit of another setting asks nothing anew."""

    longitudinal: Longitudinal
    ladder: Ladder
    networks: list[_Network]
    size_px: int
    seed: int


def check(config: Config, cache: Path) -> dict[str, Any]:
    """Check the structural model, the networks and the tables of a configuration; return what the model says.

    The result has `random_effects`, their names. It is kept below `cache` under a digest of the settings, of
    the users' files and of the package. Raises UserError with the line that says what does not fit.
    """
    if config.images.table is not None and not Path(config.images.table).is_file():
        raise UserError(f"images.table: {config.images.table}: no such file")
    if config.vae.start is not None:
        expected = config.vae.shape(config.images.size_px)
        shipped.read_description(Path(config.vae.start), expected, "vae.start", _WITHOUT_START)
    if config.generator.start is not None:
        expected = config.generator.shape(config.images.drawn_size_px)
        shipped.read_description(Path(config.generator.start), expected, "generator.start", _WITHOUT_START)
    for i, predictor in enumerate(config.predictors):
        if predictor.start is not None:
            key, expected = f"predictors[{i}].start", predictor.shape(config.images.drawn_size_px)
            shipped.read_description(Path(predictor.start), expected, key, _WITHOUT_START)
    files = [plugins.file_of(config.longitudinal.model), config.longitudinal.design]
    files += [plugins.file_of(rung.model) for rung in config.ladder.models]
    networks = [
        _Network(key=f"predictors[{i}].network", network=p.network, width=p.width)
        for i, p in enumerate(config.predictors)
    ]
    if config.sites is not None:
        of_sites = config.sites.training
        networks.append(
            _Network(key="sites.training.network", network=of_sites.network, width=of_sites.width)
        )
    files += [plugins.file_of(each.network) for each in networks]
    asked = _Asked(
        longitudinal=config.longitudinal,
        ladder=config.ladder,
        networks=networks,
        size_px=config.images.drawn_size_px,
        seed=config.seed,
    ).model_dump_json()
    digest = hashlib.sha256(f"{sources_digest()} {asked}".encode())
    for name in filter(None, files):
        digest.update(Path(name).read_bytes() if Path(name).is_file() else b"")
    kept = cache / f"{digest.hexdigest()[:24]}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    run = subprocess.run(
        [sys.executable, "-m", "covary.preflight"],
        input=asked,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"the check of models and networks failed:\n{run.stderr}")
    answer = json.loads(run.stdout)
    if "fault" in answer:
        raise UserError(answer["fault"])
    with contextlib.suppress(OSError):  # where nothing can be written, nothing is kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        with whole(kept) as partial:
            partial.write_text(run.stdout, encoding="utf-8")
    return answer


def _check(asked: _Asked) -> dict[str, Any]:
    from covary.records.study import Study

    study = Study.planned(asked.longitudinal, _SUBJECTS, asked.seed)
    study.check(asked.longitudinal.fit)
    random_effects = list(study.model.random_effects)
    if asked.ladder.models:
        from covary.evaluate.ladder import check_ladder

        check_ladder(asked.ladder, study, asked.longitudinal.fit)
    others = [each for each in asked.networks if each.network not in _OF_OURS]
    if others:
        from covary.predict.network import check_network

        for each in others:
            try:
                check_network(each.network, len(random_effects), asked.size_px, each.width)
            except UserError as error:
                raise UserError(str(error).replace("predictors.network", each.key, 1)) from None
    return {"random_effects": random_effects}


if __name__ == "__main__":
    # What a user's file prints when it is imported must not mix with the answer.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = _check(_Asked.model_validate_json(sys.stdin.read()))
        except UserError as error:
            answer = {"fault": str(error)}
    print(json.dumps(answer))
