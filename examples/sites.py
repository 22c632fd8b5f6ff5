"""A table whose rows come from several hospitals: which method predicts, and does it hold at other hospitals?

    python examples/sites.py table.csv --target y --site hospital --unseen 2

All numeric columns but the target are features. The last hospitals are held out as a whole, and so is a
fifth of the rows of the others. R² of each method at both, then what ARMED has found of each hospital.
"""

import argparse

import numpy as np
import pandas as pd

from covary.evaluate.metrics import r2
from covary.predict.tables import SiteModel

METHODS = ("plain", "site_input", "domain_adversarial", "armed")

parser = argparse.ArgumentParser()
parser.add_argument("table")
parser.add_argument("--target", required=True, help="column to predict")
parser.add_argument("--site", required=True, help="column with the hospital")
parser.add_argument("--unseen", type=int, default=2, help="hospitals to hold out")
parser.add_argument("--epochs", type=int, default=60)
options = parser.parse_args()

table = pd.read_csv(options.table)
site, y = table[options.site].to_numpy(), table[options.target].to_numpy(float)
x = table.drop(columns=[options.site, options.target]).select_dtypes("number").to_numpy(float)
unseen = np.isin(site, sorted(set(site))[-options.unseen :])
train = ~unseen & (np.arange(len(table)) % 5 > 0)
seen = ~unseen & ~train

print(f"{len(x)} rows, {x.shape[1]} features; {len(set(site[seen]))} sites seen, {options.unseen} unseen")
for method in METHODS:
    model = SiteModel(method, seed=1, epochs=options.epochs).fit(x[train], y[train], site[train])
    at_seen = r2(y[seen][:, None], model.predict_mixed(x[seen], site[seen])[:, None])
    at_unseen = r2(y[unseen][:, None], model.predict_mixed(x[unseen])[:, None])
    print(f"{method:20s} R² at seen sites {at_seen:6.3f}, at unseen sites {at_unseen:6.3f}")
print(f"variance between sites, as ARMED estimates it: {model.intercepts().variance[0]:.3f}")
print(model.site_effects().round(3).to_string(index=False))
