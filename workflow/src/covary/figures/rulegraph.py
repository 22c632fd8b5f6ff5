"""The rules of the workflow and their dependencies."""

import re
from itertools import pairwise

import networkx as nx
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from scipy.optimize import isotonic_regression

from covary.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, WIDTH_IN, styled

_NODE = re.compile(r'^\s*(\d+)\s*\[label\s*=\s*"([^"]*)"', re.MULTILINE)
_EDGE = re.compile(r"^\s*(\d+)\s*->\s*(\d+)", re.MULTILINE)

_FAMILIES = {
    "images and their models": (
        BLUE,
        {"draw_phantoms", "draw_cells", "write_digits", "prepare_images", "train_image_vae", "train_family",
         "encode_images", "rank_latents", "check_latents", "train_generator", "check_generator"},
    ),
    "synthetic subjects and images": (
        GREEN,
        {"create_dataset", "sample_subjects", "generate_images", "gather_images", "finalise_dataset"},
    ),
    "longitudinal records": (ORANGE, {"simulate_longitudinal", "fit_population", "estimate_random_effects"}),
    "predictors": (
        VERMILION,
        {"draw_posteriors", "train_posterior_network", "draw_amortised", "train_predictor", "train_reader",
         "train_oracle", "measure_learning_curve"},
    ),
}  # fmt: skip
_OTHERS = "evaluation and report"

_LAYER_IN, _BOX_HEIGHT_IN, _GAP_IN, _CHARACTER_IN = 0.5, 0.25, 0.14, 0.069
_SWEEPS = 25  # odd: the last sweep runs downwards, after which chains of rules are straight


def parse_rulegraph(dot: str) -> nx.DiGraph:
    """Rules as nodes, by name, with edges from a rule to those that use its files.

    `dot` is what `snakemake --rulegraph` prints. Raises ValueError if it holds no rule.
    """
    names = dict(_NODE.findall(dot))
    if not names:
        raise ValueError("rule graph: expected the DOT text of `snakemake --rulegraph`, found no node in it")
    graph = nx.DiGraph()
    graph.add_nodes_from(names.values())
    graph.add_edges_from((names[a], names[b]) for a, b in _EDGE.findall(dot))
    return graph


@styled
def workflow_dag(rules: nx.DiGraph) -> Figure:
    """Boxes for rules, from top to bottom. The target `all` and edges implied by others are left out."""
    graph = nx.transitive_reduction(rules.subgraph(set(rules) - {"all"}))
    position, routes = _layout(graph)
    depth = -min(y for _, y in position.values())
    left = min(x - _width_in(rule) / 2 for rule, (x, _) in position.items())
    right = max(x + _width_in(rule) / 2 for rule, (x, _) in position.items())
    middle, width = (left + right) / 2, max(WIDTH_IN, right - left + 0.1)

    figure = Figure(figsize=(width, depth + 0.9))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(middle - width / 2, middle + width / 2), ylim=(-depth - 0.65, 0.25))
    axis.set_axis_off()
    for route in routes:
        axis.add_patch(FancyArrowPatch(path=_curve(route), arrowstyle="-|>,head_width=1.8,head_length=3.2",
                                       color=GREY, linewidth=0.9, zorder=1))  # fmt: skip
    for rule, (x, y) in position.items():
        box = _width_in(rule)
        colour = _colour(rule)
        axis.add_patch(FancyBboxPatch((x - box / 2, y - _BOX_HEIGHT_IN / 2), box, _BOX_HEIGHT_IN,
                                      boxstyle="round,pad=0,rounding_size=0.06", facecolor=_tint(colour),
                                      edgecolor=colour, linewidth=1.1, zorder=2))  # fmt: skip
        axis.text(x, y - 0.005, rule, ha="center", va="center", fontsize=8, zorder=3)
    families = {name: colour for name, (colour, _) in _FAMILIES.items()} | {_OTHERS: GREY}
    figure.legend(
        handles=[Patch(facecolor=_tint(c), edgecolor=c, label=name) for name, c in families.items()],
        loc="lower center", ncols=3, handlelength=1.2, handleheight=0.9, fontsize=7.5,
    )  # fmt: skip
    return figure


def _layout(graph: nx.DiGraph) -> tuple[dict[str, tuple[float, float]], list[list[tuple[float, float]]]]:
    """Layered drawing: centres of the boxes in inches, and the corner points that each edge passes.

    A rule is below all rules that it depends on. An edge that skips layers has a position in each of them.
    Sweeps then order every layer by the mean position of its neighbours and move it towards them.
    """
    layer = {rule: i for i, rules in enumerate(nx.topological_generations(graph)) for rule in rules}
    for rule in graph:
        if graph.in_degree(rule) == 0 and graph.out_degree(rule):
            layer[rule] = min(layer[after] for after in graph.successors(rule)) - 1

    chains = {
        (a, b): [a, *((a, b, i) for i in range(layer[a] + 1, layer[b])), b] for a, b in sorted(graph.edges)
    }
    joined = nx.Graph([pair for chain in chains.values() for pair in pairwise(chain)])
    joined.add_nodes_from(graph)
    rows: list[list] = [[] for _ in range(max(layer.values()) + 1)]
    depth = layer | {node: node[2] for chain in chains.values() for node in chain[1:-1]}
    for node in sorted(joined, key=str):
        rows[depth[node]].append(node)

    x = {node: float(i) for row in rows for i, node in enumerate(row)}
    for sweep in range(_SWEEPS):
        downwards = sweep % 2 == 0
        for row in rows if downwards else reversed(rows):
            target = {}
            for node in row:
                near = [x[n] for n in joined[node] if (depth[n] < depth[node]) == downwards]
                target[node] = float(np.mean(near)) if near else x[node]
            row.sort(key=target.__getitem__)
            x |= dict(zip(row, _apart(row, [target[n] for n in row]), strict=True))

    at = {node: (x[node], -depth[node] * _LAYER_IN) for node in joined}
    return {rule: at[rule] for rule in graph}, [[at[node] for node in chain] for chain in chains.values()]


def _apart(row: list, target: list[float]) -> list[float]:
    """Positions closest to the targets in least squares, in the same order and without overlapping boxes."""
    widths = np.array([_width_in(node) if isinstance(node, str) else 0.0 for node in row])
    offset = np.concatenate([[0.0], np.cumsum((widths[1:] + widths[:-1]) / 2 + _GAP_IN)])
    return (isotonic_regression(np.asarray(target) - offset).x + offset).tolist()


def _width_in(rule: str) -> float:
    return _CHARACTER_IN * len(rule) + 0.2


def _tint(colour: str) -> tuple[float, float, float]:
    red, green, blue = (1 - 0.16 * (1 - c) for c in to_rgb(colour))
    return red, green, blue


def _colour(rule: str) -> str:
    return next((colour for colour, rules in _FAMILIES.values() if rule in rules), GREY)


def _curve(route: list[tuple[float, float]]) -> Path:
    """A smooth line from the lower edge of a box to the upper edge of another.

    It is straight over the height of the boxes in each layer that it passes.
    """
    half_box = _BOX_HEIGHT_IN / 2
    exits = [(x, y - half_box) for x, y in route[:-1]]
    entries = [(x, y + half_box) for x, y in route[1:]]
    vertices, codes = [exits[0]], [Path.MOVETO]
    for i, ((x0, y0), (x1, y1)) in enumerate(zip(exits, entries, strict=True)):
        if i:
            vertices.append((x0, y0))
            codes.append(Path.LINETO)
        half = (y0 - y1) / 2
        vertices += [(x0, y0 - half), (x1, y1 + half), (x1, y1)]
        codes += [Path.CURVE4] * 3
    return Path(vertices, codes)
