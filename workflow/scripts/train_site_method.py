"""Train one method for sites in one scenario, and predict the test subjects at seen and at unseen sites."""

from pathlib import Path

import numpy as np

from covary import predict, store
from covary.config.site_methods import SiteTraining, TrainedMethod
from covary.dataset import names
from covary.dataset.scenario import Scenario
from covary.dataset.sites import mark_side
from covary.dataset.subjects import SPLITS, members
from covary.evaluate.sites import balanced_accuracy_of_site
from covary.jobs.run import run
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
    vae = VAE.load(others[0].parent) if others and others[0].suffix == ".safetensors" else None
    with np.load(at_sites) as scanned:
        of_scanners, home, moved = (scanned[name] for name in ("at_sites", "home", "moved"))
    fixed = [
        trained.at_unseen(inputs_of(training.network, vae, pixels))[0]
        for pixels in (*of_scanners, home, moved)
    ]
    has_intercepts = settings.effects in ("variational", "lmmnn")
    intercepts = trained.network.intercepts() if has_intercepts else None
    np.savez(
        predictions,
        seen=trained.at_seen(inputs["test"], site["test"]),
        unseen=trained.at_unseen(inputs["test_unseen"]),
        unseen_by=trained.chosen.unseen,
        at_sites=np.stack(fixed[:-2]), home=fixed[-2], moved=fixed[-1],
        adversary_weight=trained.chosen.adversary_weight,
        weight_decay=trained.chosen.weight_decay,
        reliance=mark_reliance(
            trained.network, training.network, vae, home[:N_GRADIENTS], mark_side(home.shape[-1])
        ),
        site_found=balanced_accuracy_of_site(
            hidden_of(trained.network, inputs["test"]), site["test"], seed=seed
        ),
        **({} if intercepts is None else {"intercepts": intercepts.mean, "intercepts_sd": intercepts.sd}),
    )  # fmt: skip
    trained.history.to_csv(history, index=False)
    trained.chosen.errors.to_csv(left_out, index=False)


if __name__ == "__main__":
    run(train_site_method)
