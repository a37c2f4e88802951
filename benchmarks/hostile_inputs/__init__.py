"""Hostile inputs, by the surface that they come in through; ``benchmarks/hostile.py`` tries them all."""
