"""Lava Processes and their models. Nothing else belongs in this folder: Lava's compiler runs its files again."""
