"""A network in another form: the same wiring, other units."""
import copy
from collections import Counter

import torch
from torch import nn

from common.errors import CompLeakError
from models.networks.units import Average, Concat, Input, Norm, Sum

UNITS = (Input, nn.Conv2d, Norm, Sum, Concat, Average, nn.Dropout, nn.Linear)


def rebuild(network, make):
    """A copy of a network in which each unit is make(name, unit, norm), in evaluation mode.

    norm is the Norm that a convolution feeds and that goes with it into one unit, else None. A unit has the name of
    its convolution, or of the Sequential that holds just these two. CompLeakError for anything that is not a unit.
    """
    network = copy.deepcopy(network).eval()
    names = {module: name for name, module in network.named_modules()}
    _check_modules(network, names)
    _check_wiring(network)
    follows = pairs(network)
    for unit in [module for module in names if isinstance(module, UNITS) and module not in follows.values()]:
        name, norm = names[unit], follows.get(unit)
        above = name.rpartition(".")[0]
        if norm and above and list(network.get_submodule(above).children()) == [unit, norm]:
            name = above
        elif norm:
            network.set_submodule(names[norm], nn.Identity())
        network.set_submodule(name, make(name, unit, norm))
    return network


def pairs(network):
    """{convolution: the Norm that it feeds}, seen while a black picture passes through a network in evaluation mode.

    CompLeakError where a unit is not used exactly once: each has one scale for what it gives.
    """
    made, fed, uses = {}, {}, Counter()

    def look(module, given, result):
        uses[module] += 1
        if isinstance(module, nn.Conv2d):
            made[id(result)] = module, result  # kept, so that no other tensor gets its id
        elif isinstance(module, Norm) and id(given[0]) in made:
            fed[made[id(given[0])][0]] = module

    units = {module: name for name, module in network.named_modules() if isinstance(module, UNITS)}
    hooks = [module.register_forward_hook(look) for module in units]
    with torch.no_grad():
        network(next(network.parameters()).new_zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    for module, name in units.items():
        if uses[module] != 1:
            raise CompLeakError(f"int8 quantisation needs each unit used once, not {uses[module]} times ({name})")
    return fed


def _check_modules(network, names):
    kind = type(network).__name__
    if not any(isinstance(module, Input) for module in names):
        raise CompLeakError(f"int8 quantisation knows networks that start with the unit Input, not {kind}")
    inside = {part for unit in names if isinstance(unit, UNITS) for part in unit.modules()}
    for module, name in names.items():
        if module not in inside and not any(module.children()) and not isinstance(module, nn.Identity | nn.Sequential):
            raise CompLeakError(f"int8 quantisation knows the units of models/networks/units.py, not "
                                f"{type(module).__name__} ({kind}.{name})")


def _check_wiring(network):
    """Pass something through the network that only units take: whatever else `forward` does with activations fails."""
    units, passed = [module for module in network.modules() if isinstance(module, UNITS)], object()
    for unit in units:
        unit.forward = lambda *given: passed
    try:
        network(passed)
    except (AttributeError, TypeError) as error:
        raise CompLeakError(f"int8 quantisation needs a {type(network).__name__} whose forward hands activations from "
                            f"unit to unit and does nothing else ({str(error).splitlines()[0]})") from None
    finally:
        for unit in units:
            del unit.forward
