"""What a network is converted for: said by the recipe, or by the shape of its outputs."""

from __future__ import annotations

from toolchain.convert.recipe import Recipe
from toolchain.netlist import InputError, TaskRecord
from toolchain.network import FloatNetwork
from toolchain.tasks import Classification, Decoder, DenseClasses, Detection, ScoredTask, choose_task


def network_task(network: FloatNetwork, recipe: Recipe, decode: Decoder | None) -> ScoredTask | None:
    """Return the task of a network; None where nothing says what it is for, or how boxes are made.

    Raises
    ------
    InputError
        When the outputs are none that the task has, the classes are not as many as were named, or samples are to stop
        early and the task has no single decision.
    """
    shapes = {u.name: u.shape for u in network.outputs}
    task = choose_task(recipe.task, shapes, input_shape=network.source.shape, tail=network.tail, decode=decode)
    names = recipe.class_names
    if names is not None and isinstance(task, Classification | DenseClasses) and len(names) != task.classes:
        raise InputError("classes", f"{len(names)} names found, the network decides between {task.classes} classes")
    why = Detection.no_early_exit if recipe.task == "detection" else None if task is None else task.no_early_exit
    if recipe.early_exit and why is not None:
        raise InputError("early_exit", why, "leave it out")
    return task


def task_record(task: ScoredTask | None, recipe: Recipe, decode: Decoder | None) -> TaskRecord | None:
    """Return what the netlist is told; None where there is nothing to tell."""
    name = recipe.task if task is None else task.name
    return None if name is None else TaskRecord(name, recipe.class_names, None if decode is None else decode.name)
