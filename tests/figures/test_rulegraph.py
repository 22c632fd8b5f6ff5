"""`rulegraph.dot` is what Snakemake 9 printed for this workflow."""

from itertools import combinations
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covary.figures import parse_rulegraph, workflow_dag
from covary.figures.rulegraph import _layout, _width_in

DOT = Path(__file__).with_name("rulegraph.dot").read_text()


@st.composite
def dags(draw):
    n = draw(st.integers(1, 12))
    graph = nx.DiGraph()
    graph.add_nodes_from(f"rule_{i}" for i in range(n))
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])
    if n > 1:
        graph.add_edges_from((f"rule_{a}", f"rule_{b}") for a, b in draw(st.lists(pairs, max_size=20)))
    return nx.transitive_reduction(graph)


def test_rules_and_edges_of_a_real_rule_graph():
    graph = parse_rulegraph(DOT)
    assert len(graph) == 23 and graph.number_of_edges() == 46
    assert set(graph.successors("train_generator")) == {"generate_images", "plot_images", "plot_training"}
    assert set(graph.predecessors("train_predictor")) == {"estimate_random_effects", "gather_images"}
    assert {rule for rule in graph if graph.in_degree(rule) == 0} == {
        "create_dataset", "draw_phantoms", "plot_workflow",
    }  # fmt: skip
    assert nx.is_directed_acyclic_graph(graph)


def test_log_lines_around_the_graph_do_not_matter():
    noisy = f"Building DAG of jobs...\n{DOT}\nNothing to be done.\n"
    assert nx.utils.graphs_equal(parse_rulegraph(noisy), parse_rulegraph(DOT))


def test_text_without_a_graph_is_refused():
    with pytest.raises(ValueError, match="expected the DOT text of `snakemake --rulegraph`"):
        parse_rulegraph("WorkflowError: no cores")


@given(dags())
def test_rules_stand_below_what_they_need_and_boxes_do_not_overlap(graph):
    position, routes = _layout(graph)
    assert set(position) == set(graph) and len(routes) == graph.number_of_edges()
    for before, after in graph.edges:
        assert position[before][1] > position[after][1]
    for a, b in combinations(graph, 2):
        (xa, ya), (xb, yb) = position[a], position[b]
        if ya == yb:
            assert abs(xa - xb) > (_width_in(a) + _width_in(b)) / 2


def test_figure_has_every_rule_but_the_target():
    names = {text.get_text() for text in workflow_dag(parse_rulegraph(DOT)).axes[0].texts}
    assert names == set(parse_rulegraph(DOT)) - {"all"}
