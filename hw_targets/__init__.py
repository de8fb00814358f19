"""Hardware targets: their limits as data, design rules, core mapping and the Lava run time."""
