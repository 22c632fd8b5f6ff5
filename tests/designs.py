"""Designs of many tests. Equal numbers of visits mean equal programs, and compiling them takes longest."""

import numpy as np

ORAL_TIMES_H = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 24.0])  # of a dose by mouth
PAPER_TIMES_H = np.arange(21) * 0.5  # of the paper
