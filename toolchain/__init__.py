"""AdaFire: from a trained PyTorch network to an integer netlist proven equal on Lava."""
