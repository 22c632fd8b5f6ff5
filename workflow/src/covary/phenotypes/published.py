"""What was published on BBBC021: Table 1 of paper 003, and the highest accuracies known to us."""

import pandas as pd

PAPER = "paper 003"

# Model, α, β, epochs, squared error of an image, accuracy over 104 treatments in percent.
_TABLE_1 = [
    ("CytoVAE", None, 0, 50, 30.1, 88.5),
    ("CytoVAE", None, 0, 100, 29.4, 88.5),
    ("CytoVAE", None, 1, 50, 93.7, 83.7),
    ("CytoVAEGAN", None, 0, 50, 83.1, 90.4),
    ("CytoVAEGAN", None, 1, 50, 80.1, 82.7),
    ("SparseVAE", 0.05, 1, 50, 59.7, 89.4),
    ("SparseVAE", 0.1, 1, 50, 62.2, 90.4),
    ("SparseVAE", 0.2, 1, 50, 72.6, 88.5),
    ("SparseVAEGAN", 0.05, 1, 50, 74.8, 86.5),
    ("SparseVAEGAN", 0.1, 1, 50, 66.1, 88.5),
    ("SparseVAEGAN", 0.2, 1, 50, 71.5, 87.5),
]
_OTHERS = [
    ("Lafarge et al. 2019", "CytoAE", 0, 87.6),
    ("Lafarge et al. 2019", "CytoVAE", 1, 83.5),
    ("Lafarge et al. 2019", "CytoVAE+", 1, 90.6),
    # Trained on the compounds, so no unsupervised method; context only.
    ("arXiv:2209.07819", "with compound labels", None, 98.0),
]


def published() -> pd.DataFrame:
    """Columns source, model, alpha, beta, epochs, sse and accuracy (a share; not same compound)."""
    table = pd.DataFrame(_TABLE_1, columns=["model", "alpha", "beta", "epochs", "sse", "accuracy"])
    others = pd.DataFrame(_OTHERS, columns=["source", "model", "beta", "accuracy"])
    both = pd.concat([table.assign(source=PAPER), others], ignore_index=True)
    columns = ["source", "model", "alpha", "beta", "epochs", "sse", "accuracy"]
    return both[columns].assign(accuracy=both["accuracy"] / 100)
