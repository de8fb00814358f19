"""What a node of an exported graph says of itself: its operation, and the modules that it came from."""

from __future__ import annotations

import torch
from torch.fx import Node


def operation_name(node: Node) -> str:
    """Return the ATen operation's name without its overload: ``conv2d``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    return getattr(target, "__name__", str(target))


def spelling(node: Node) -> str:
    """Return what the user wrote: the class of a torch.nn layer, else the ATen operation."""
    around = layers(node)
    return around[-1] if around and around[-1] not in ("", "Sequential", "ModuleList") else operation_name(node)


def layers(node: Node) -> list[str]:
    """Return the classes of the modules around a node, the outermost first; "" for those not of torch.nn."""
    stack = node.meta.get("nn_module_stack") or {}
    kinds = [str(kind) for _, kind in stack.values()]
    return [kind.rpartition(".")[2] if kind.startswith("torch.nn.") else "" for kind in kinds]


def module_path(node: Node) -> str:
    """Return the path of the innermost module that a node came from; "" outside of all."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def leaves_module(node: Node, path: str) -> bool:
    """Return whether a node's result leaves the module at a path."""

    def inside(n: Node) -> bool:
        stack = n.meta.get("nn_module_stack") or {}
        return any(str(place) == path for place, _ in stack.values())

    return inside(node) and not all(inside(user) for user in node.users)
