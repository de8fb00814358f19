"""Netlists as torch modules that other libraries run."""
