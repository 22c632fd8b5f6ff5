"""Posteriors by a network that is trained once on simulations, also of records with missing visits.

The method is that of Arruda et al. (ICML 2024) and, for missing visits, of Wang et al. (PLOS Comput. Biol.
2024). Where the likelihood is known, draws are weighted, which makes them exact.
"""
