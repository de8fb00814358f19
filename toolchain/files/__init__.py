"""Files of netlists and traces, read with suspicion and written whole or not at all."""
