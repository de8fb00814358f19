"""Fuzz the reader of .net files: python tests/fuzz/fuzz_net.py -runs=2500 CORPUS."""

from harness import fuzz

fuzz("net")
