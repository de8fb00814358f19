"""A netlist on a data set: accuracy, spikes, operations, time."""
