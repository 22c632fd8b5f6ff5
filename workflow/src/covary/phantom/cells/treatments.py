"""The 104 treatments of BBBC021 with a known mode of action: which compound does what, at which doses."""

import pandas as pd

from covary.images.cells import CONTROL

_N_WEEKS = 5

# Mode of action: compound: concentrations in µM (Caie et al. 2010, doi:10.1158/1535-7163.MCT-09-1148).
COMPOUNDS: dict[str, dict[str, tuple[float, ...]]] = {
    "Actin disruptors": {
        "cytochalasin B": (10, 30),
        "cytochalasin D": (0.3,),
        "latrunculin B": (1, 3),
    },
    "Aurora kinase inhibitors": {
        "AZ-A": (0.1, 0.3, 1, 3, 10, 30),
        "AZ258": (0.1, 0.3, 1),
        "AZ841": (0.1, 0.3, 1),
    },
    "Cholesterol-lowering": {
        "mevinolin/lovastatin": (1.5, 5, 15),
        "simvastatin": (2, 6, 20),
    },
    "DNA damage": {
        "chlorambucil": (10,),
        "cisplatin": (10,),
        "etoposide": (1, 3, 10),
        "mitomycin C": (0.1, 0.3, 1, 3),
    },
    "DNA replication": {
        "camptothecin": (0.003, 0.01, 0.03),
        "floxuridine": (10, 30),
        "methotrexate": (10,),
        "mitoxantrone": (0.003, 0.01),
    },
    "Eg5 inhibitors": {
        "AZ-C": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1),
        "AZ138": (0.03, 0.1, 0.3, 1, 3),
    },
    "Epithelial": {
        "AZ-J": (1, 3, 10),
        "AZ-U": (1, 3, 10),
        "PP-2": (3, 10),
    },
    "Kinase inhibitors": {
        "PD-169316": (3, 10),
        "alsterpaullone": (1, 3),
        "bryostatin": (0.3,),
    },
    "Microtubule destabilizers": {
        "colchicine": (0.03,),
        "demecolcine": (0.3, 1, 3, 10),
        "nocodazole": (1, 3),
        "vincristine": (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
    },
    "Microtubule stabilizers": {
        "docetaxel": (0.03, 0.1, 0.3),
        "epothilone B": (0.1, 0.3, 1),
        "taxol": (0.3, 1, 3),
    },
    "Protein degradation": {
        "ALLN": (3, 100),
        "MG-132": (0.1, 3),
        "lactacystin": (10,),
        "proteasome inhibitor I": (0.1, 3),
    },
    "Protein synthesis": {
        "anisomycin": (0.3, 1),
        "cyclohexamide": (5, 15, 50),
        "emetine": (0.1, 0.3, 1),
    },
}
# As in BBBC021, the compounds of these modes were all tested in one week.
_IN_ONE_WEEK = {"Cholesterol-lowering": 2, "Kinase inhibitors": 4}


def treatments() -> pd.DataFrame:
    """The 104 treatments, DMSO first.

    Columns: compound, concentration, moa, week (1 … 5; 0 for DMSO, which is on every plate) and strength (0
    for DMSO, else 0.6 at the lowest dose of a compound to 1 at its highest, 0.85 at a single dose).
    """
    rows = [(CONTROL, 0.0, CONTROL, 0, 0.0)]
    tested = 0
    for mode, compounds in COMPOUNDS.items():
        for compound, doses in compounds.items():
            week = _IN_ONE_WEEK.get(mode, 1 + tested % _N_WEEKS)
            tested += mode not in _IN_ONE_WEEK
            for i, dose in enumerate(doses):
                strength = 0.6 + 0.4 * i / (len(doses) - 1) if len(doses) > 1 else 0.85
                rows.append((compound, float(dose), mode, week, strength))
    return pd.DataFrame(rows, columns=["compound", "concentration", "moa", "week", "strength"])
