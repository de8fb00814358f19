"""Bit-exact simulation of a netlist: the golden integer step and the fast PyTorch simulator."""
