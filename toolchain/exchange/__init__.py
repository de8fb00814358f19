"""Netlists in other people's formats: NIR both ways, norse, NeuroBench."""
