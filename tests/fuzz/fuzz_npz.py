"""Fuzz the reader of .npz files: python tests/fuzz/fuzz_npz.py -runs=2500 CORPUS."""

from harness import fuzz

fuzz("npz")
