"""What a cell looks like, and what each mode of action does to it.

Lengths are in pixels of 0.65 µm. The changes are those that the literature reports for MCF-7 cells: Caie et
al. 2010 (doi:10.1158/1535-7163.MCT-09-1148) and Ljosa et al. 2013 (doi:10.1177/1087057113503553).
"""

from covary.images.cells import CONTROL

# Factor: mean and standard deviation between untreated cells. All are cut off below 0.
UNTREATED: dict[str, tuple[float, float]] = {
    # shape
    "cell_px": (24.0, 4.0),  # radius
    "elongation": (0.35, 0.20),  # logarithm of length over width
    "ruggedness": (0.03, 0.01),  # of the outline
    "spikes": (0.0, 0.4),  # thin protrusions
    "neighbours": (0.35, 0.25),  # how much of the outline touches other cells
    # DNA
    "nucleus_px": (10.0, 1.7),
    "nucleus_elongation": (0.18, 0.10),
    "lobes": (0.03, 0.02),  # depth of lobes of the nucleus
    "dent": (0.0, 0.08),  # on the side of the centrosome
    "micronuclei": (0.0, 0.25),
    "chromatin": (0.10, 0.03),  # contrast of its texture
    "nucleoli": (2.5, 0.7),
    "foci": (0.0, 0.5),  # bright points in the nucleus
    "rosette": (0.0, 0.05),  # condensed chromosomes in a ring
    # actin
    "cortex": (1.0, 0.3),
    "fibres": (8.0, 3.0),  # stress fibres
    "clumps": (0.5, 0.6),
    # tubulin
    "filaments": (46.0, 8.0),
    "reach": (1.0, 0.1),  # length of filaments, in cell radii
    "curl": (0.16, 0.04),  # change of direction per pixel
    "bundles": (0.0, 0.5),  # thick filaments around the nucleus
    "haze": (0.45, 0.15),  # tubulin that is in no filament
    "aggresome": (0.0, 0.08),  # bright body beside the nucleus
    "aster": (0.3, 0.1),  # share of filaments that start at the centrosome
}

# Mode of action: values of the factors that it changes, in a cell that responds fully.
MODES: dict[str, dict[str, float]] = {
    CONTROL: {},
    "Actin disruptors": {
        "cortex": 0.25, "fibres": 0, "clumps": 10, "ruggedness": 0.10, "cell_px": 23, "micronuclei": 0.5,
    },
    "Aurora kinase inhibitors": {
        "nucleus_px": 13.0, "lobes": 0.22, "cell_px": 25, "nucleoli": 5, "chromatin": 0.16,
    },
    "Cholesterol-lowering": {
        "elongation": 1.15, "cell_px": 22, "fibres": 1.5, "nucleus_elongation": 0.45, "spikes": 1.5,
        "neighbours": 0.0, "reach": 1.5,
    },
    "DNA damage": {
        "nucleus_px": 11.5, "foci": 10, "chromatin": 0.22, "cell_px": 25, "fibres": 14, "neighbours": 0.15,
    },
    "DNA replication": {
        "nucleus_px": 12.0, "chromatin": 0.03, "nucleoli": 0.6, "nucleus_elongation": 0.42, "cell_px": 26,
        "elongation": 0.55,
    },
    "Eg5 inhibitors": {
        "rosette": 1.0, "cell_px": 19, "elongation": 0.05, "fibres": 0, "aster": 1.0, "reach": 0.65,
        "curl": 0.05, "neighbours": 0.05, "nucleus_px": 10.5,
    },
    "Epithelial": {
        "neighbours": 1.0, "cortex": 1.7, "fibres": 2, "elongation": 0.1, "ruggedness": 0.01, "cell_px": 23,
    },
    "Kinase inhibitors": {
        "spikes": 9, "cortex": 0.7, "fibres": 4, "neighbours": 0.0, "cell_px": 22.5,
    },
    "Microtubule destabilizers": {
        "filaments": 3, "haze": 1.3, "micronuclei": 6, "lobes": 0.10, "cell_px": 23, "elongation": 0.12,
        "nucleus_px": 8.5,
    },
    "Microtubule stabilizers": {
        "bundles": 9, "filaments": 16, "aster": 0.0, "haze": 0.3, "micronuclei": 4, "lobes": 0.22,
        "nucleus_px": 10.0, "reach": 0.7,
    },
    "Protein degradation": {
        "aggresome": 1.0, "dent": 0.75, "cell_px": 23.5, "filaments": 32, "haze": 0.35, "nucleoli": 1.0,
    },
    "Protein synthesis": {
        "nucleus_px": 8.8, "nucleoli": 1.0, "chromatin": 0.03, "filaments": 24, "curl": 0.34, "cortex": 0.6,
        "fibres": 16, "cell_px": 24,
    },
}  # fmt: skip
