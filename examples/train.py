"""Train a PyTorch model of your own on the images of a Covary dataset and score it.

    python examples/train.py results/demo/dataset.zarr --noise 0 --epochs 3

The model learns to predict the empirical Bayes estimates eta_approx, which is what a study has, and is scored
against eta_hat, which only a synthetic dataset knows.
"""

import argparse

import torch
import xarray as xr
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("dataset")
parser.add_argument("--noise", default="0", help="a noise variance of the dataset")
parser.add_argument("--epochs", type=int, default=3)
options = parser.parse_args()

data = xr.open_datatree(options.dataset, engine="zarr")
split = data["subjects/split"].values
train, test = torch.from_numpy(split == 0), torch.from_numpy(split == 2)
x = torch.from_numpy(data["images/image"].values).float().div(255)
target = torch.from_numpy(data[f"estimates/noise_{options.noise}/eta_approx"].values)
truth = torch.from_numpy(data[f"longitudinal/noise_{options.noise}/eta_hat"].values)
known = train & target.isfinite().all(dim=1)  # estimation may have failed for a few subjects

torch.manual_seed(0)
model = nn.Sequential(  # put your own here: image in, one number for each random effect out
    nn.Conv2d(x.shape[1], 16, 5, stride=2), nn.ReLU(),
    nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(),
    nn.AdaptiveAvgPool2d(4), nn.Flatten(),
    nn.Linear(32 * 16, target.shape[1]),
)  # fmt: skip
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(options.epochs):
    for batch in torch.where(known)[0][torch.randperm(int(known.sum()))].split(32):
        loss = nn.functional.mse_loss(model(x[batch]), target[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")

with torch.no_grad():
    error = (truth[test] - model(x[test])).square().sum()
r2 = 1 - error / (truth[test] - truth[test].mean()).square().sum()
print(f"R² of eta_hat on test subjects {r2:.3f}; an image can explain {1 / (1 + float(options.noise)):.3f}")
