"""Train one method for sites in one scenario, and predict the test subjects at seen and at unseen sites."""

from pathlib import Path

import numpy as np

from covary import predict, store
from covary.config.site_methods import RANDOM_EFFECTS, SiteTraining, TrainedMethod
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.sites import mark_side
from covary.dataset.subjects import SPLITS, members
from covary.evaluate.sites import balanced_accuracy_of_site
from covary.jobs.run import run
from covary.predict.combat import harmonised
from covary.predict.reliance import mark_reliance
from covary.predict.sites import hidden_of, inputs_in_memory, inputs_of, train_method
from covary.records.study import Study
from covary.vae import VAE

N_GRADIENTS = 64


def train_site_method(
    dataset: Path, noise_variance: float, model: str, settings: TrainedMethod, training: SiteTraining,
    images: Path, parameters: Path, posteriors: list[Path], others: list[Path], at_sites: Path,
    predictions: Path, history: Path, left_out: Path, seed: int, code: str,
) -> None:  # fmt: skip
    """Write predictions and how they depend on sites, the losses, and the errors at left-out sites."""
    level = predict.Level(dataset, Scenario(noise_variance), Study.of(dataset, model), parameters, posteriors)
    subjects = store.read(dataset, names.SUBJECTS)
    parts = {split: members(subjects, split) for split in SPLITS}
    site = {split: subjects["site"].values[part].astype(np.int64) for split, part in parts.items()}
    inputs = {
        split: inputs_in_memory(predict.read_inputs(training.network, dataset, part, images))
        for split, part in parts.items()
    }
    trained = train_method(
        level, inputs, site, parts, settings, training, seed=seed,
        checkpoint_dir=predictions.parent / "checkpoints" / settings.name / code,
    )  # fmt: skip
    of_all = level.evidence("ebe_mse").guess()
    estimates = {split: of_all[part] for split, part in parts.items()}
    vae = VAE.load(others[0].parent) if others and others[0].suffix == ".safetensors" else None
    with np.load(at_sites) as scanned:
        of_scanners, home, moved = (scanned[name] for name in ("at_sites", "home", "moved"))
    own, drawn = site["test"][: len(home)], estimates["test"][: len(home)]
    shown = [
        *((pixels, np.full_like(own, number)) for number, pixels in enumerate(of_scanners)),
        *((pixels, own) for pixels in (home, moved)),
    ]
    fixed = [
        trained.at_unseen(inputs_of(training.network, vae, pixels), where, drawn)[0]
        for pixels, where in shown
    ]
    first = slice(N_GRADIENTS)
    line = trained.line(inputs_of(training.network, vae, home[first]), own[first], drawn[first])
    intercepts = trained.network.intercepts() if settings.effects in RANDOM_EFFECTS else None
    test = inputs["test"], site["test"], estimates["test"]
    test_unseen = inputs["test_unseen"], site["test_unseen"], estimates["test_unseen"]
    np.savez(
        predictions,
        seen=trained.at_seen(*test),
        unseen=trained.at_unseen(*test_unseen),
        unseen_by=trained.chosen.unseen,
        at_sites=np.stack(fixed[:-2]), home=fixed[-2], moved=fixed[-1],
        adversary_weight=trained.chosen.adversary_weight,
        weight_decay=trained.chosen.weight_decay,
        reliance=mark_reliance(
            trained.network, training.network, vae, home[first], mark_side(home.shape[-1]), line
        ),
        site_found=balanced_accuracy_of_site(
            hidden_of(trained.network, harmonised(trained.combat, *test)), site["test"], seed=seed
        ),
        **({} if intercepts is None else {"intercepts": intercepts.mean, "intercepts_sd": intercepts.sd}),
    )  # fmt: skip
    trained.history.to_csv(history, index=False)
    trained.chosen.errors.to_csv(left_out, index=False)


if __name__ == "__main__":
    run(train_site_method)
