"""A network in another form: the same wiring, other units."""
import copy
from collections import Counter
from dataclasses import dataclass

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
    _check(network, names)
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
    """{convolution: the Norm that it feeds}; CompLeakError where it feeds more, which no fold can serve."""
    fed = wiring(network)
    uses = Counter(source for sources in fed.values() for source in sources)
    found = {sources[0]: unit for unit, sources in fed.items()
             if isinstance(unit, Norm) and isinstance(sources[0], nn.Conv2d)}
    for conv in found:
        if uses[conv] > 1:
            raise CompLeakError(f"int8 quantisation needs a convolution to feed its Norm alone, not {uses[conv]} units "
                                f"({_name(network, conv)})")
    return found


def wiring(network):
    """{unit: the units that feed it}, in the order in which `forward` calls them.

    Stand-ins for activations, which only units take, pass through `forward`. CompLeakError where it does anything else
    with one, or does not use each unit exactly once: a unit has one scale for what it gives.
    """
    fed = {}

    def take(unit, given):
        if unit in fed:
            raise CompLeakError(f"int8 quantisation needs each unit used once, not twice ({_name(network, unit)})")
        given = given[0] if isinstance(unit, Concat) else given
        fed[unit] = [passed.source for passed in given]
        return StandIn(unit)

    units = [module for module in network.modules() if isinstance(module, UNITS)]
    for unit in units:
        unit.forward = lambda *given, unit=unit: take(unit, given)
    try:
        network(StandIn(None))
    except (AttributeError, TypeError) as error:
        raise CompLeakError(f"int8 quantisation needs a {type(network).__name__} whose forward hands activations from "
                            f"unit to unit and does nothing else ({str(error).splitlines()[0]})") from None
    finally:
        for unit in units:
            del unit.forward
    for unit in units:
        if unit not in fed:
            raise CompLeakError(f"int8 quantisation needs each unit used, not left out ({_name(network, unit)})")
    return fed


@dataclass(frozen=True)
class StandIn:
    """Stands for what a unit gives; source: that unit, or None for the pictures."""

    source: nn.Module | None


def _name(network, unit):
    return next(name for name, module in network.named_modules() if module is unit)


def _check(network, names):
    kind = type(network).__name__
    if not any(isinstance(module, Input) for module in names):
        raise CompLeakError(f"int8 quantisation knows networks that start with the unit Input, not {kind}")
    inside = {part for unit in names if isinstance(unit, UNITS) for part in unit.modules()}
    for module, name in names.items():
        if module not in inside and not any(module.children()) and not isinstance(module, nn.Identity | nn.Sequential):
            raise CompLeakError(f"int8 quantisation knows the units of models/networks/units.py, not "
                                f"{type(module).__name__} ({kind}.{name})")
