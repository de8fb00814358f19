"""lava-dl's netx Network with AdaFire layers. A folder of its own: Lava's compiler runs its files again."""
