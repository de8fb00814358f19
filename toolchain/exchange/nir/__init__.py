"""NIR, both ways."""
