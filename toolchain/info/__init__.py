"""What a netlist holds."""
