"""Cells, modes of action, interpolations, and the families of VAEs side by side."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covary import figures, images
from covary.config.vae import Family, Vae
from covary.jobs.run import run
from covary.phenotypes import pictures
from covary.phenotypes.comparison import MODELS, main_accuracy
from covary.phenotypes.profiles import CONTROL, cell_table
from covary.quality import spread
from covary.vae import VAE, decode, encode, gates

N_CELLS, N_RECONSTRUCTED = 9, 2


def plot_phenotypes(
    index: Path, weights: list[Path], histories: list[Path], accuracy: Path, confusions: Path,
    cells_by_mode: Path, phenotype_accuracy: Path, confusion_matrix: Path, mode_correlations: Path,
    interpolations: Path, family_reconstructions: Path, open_gates: Path, family_curves: Path,
    trained: dict[Family, Vae],
) -> None:  # fmt: skip
    """Draw the eight figures; profiles, correlations and interpolations are those of the first family."""
    prepared = images.load(index.parent)
    pixels = {"train": prepared.train, "test": prepared.test}
    networks = {family: VAE.load(file.parent) for family, file in zip(trained, weights, strict=True)}
    network = networks[next(iter(trained))]

    table = pd.read_csv(accuracy)
    main = table.groupby("features", sort=False).apply(main_accuracy, include_groups=False).reset_index()
    figures.save(figures.phenotype_accuracy(main, MODELS), phenotype_accuracy)
    figures.save(figures.confusion_matrix(pd.read_csv(confusions, index_col=0)), confusion_matrix)

    cells = cell_table(prepared.index, {split: encode(network, of)[0] for split, of in pixels.items()})
    images_of = partial(pictures.cell_images, prepared.index, pixels)
    figures.save(figures.mode_correlations(pictures.mode_correlations(cells)), mode_correlations)
    by_mode = cells.groupby("Metadata_moa").indices
    sheet = {mode: images_of(rows[spread(len(rows), N_CELLS)]) for mode, rows in by_mode.items()}
    figures.save(figures.cells_by_mode(sheet), cells_by_mode)

    centres = pictures.centre_cells(cells)
    control = int(centres.loc[centres["Metadata_Compound"] == CONTROL, "cell"].item())
    strips = []
    for row in pictures.one_treatment_per_mode(centres).itertuples():
        ends = [cells.filter(like="latent_").iloc[i].to_numpy(float) for i in (control, row.cell)]
        between = decode(network, pictures.path(*ends))
        name = f"{row.Metadata_Compound} {row.Metadata_Concentration:g}"
        before, after = images_of(np.array([control, row.cell]))[:, None]
        strip = np.concatenate([before, between, after])
        strips.append((f"{row.Metadata_moa}\n{name}", pictures.cosine(*ends), strip))
    figures.save(figures.interpolations(strips), interpolations)

    some = prepared.test[spread(len(prepared.test), N_RECONSTRUCTED)]
    decoded = {MODELS[f]: decode(net, encode(net, some)[0]) for f, net in networks.items()}
    figures.save(figures.family_reconstructions(some, decoded, prepared.channels), family_reconstructions)
    of_family = {MODELS[f]: gates(net, prepared.test) for f, net in networks.items()}
    sparse = {name: gate.mean(axis=1) for name, gate in of_family.items() if gate is not None}
    alpha = {MODELS[f]: of.open_share for f, of in trained.items()}
    figures.save(figures.open_gates(sparse, alpha), open_gates)
    read = {MODELS[f]: pd.read_csv(file) for f, file in zip(trained, histories, strict=True)}
    figures.save(figures.family_curves(read, int(np.prod(some.shape[1:]))), family_curves)


if __name__ == "__main__":
    run(plot_phenotypes)
