"""Fuzz the reader of .nir files: python tests/fuzz/fuzz_nir.py -runs=2500 CORPUS."""

from harness import fuzz

fuzz("nir")
