"""Fuzz the reader of .h5 files: python tests/fuzz/fuzz_h5.py -runs=2500 CORPUS."""

from harness import fuzz

fuzz("h5")
