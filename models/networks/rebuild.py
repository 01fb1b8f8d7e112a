"""A network in another form: the same wiring, other units."""
import copy
from collections import Counter

from torch import fx, nn

from common.errors import CompLeakError
from models.networks.units import Average, Concat, Input, Norm, Sum

UNITS = (Input, nn.Conv2d, Norm, Sum, Concat, Average, nn.Dropout, nn.Linear)
NEED = "int8 quantisation and structured pruning need"


def rebuild(network, make):
    """A copy of a network in which each unit is make(name, unit, norm), in evaluation mode.

    norm is the Norm that a convolution feeds and that goes with it into one unit, else None. A unit has the name of
    its convolution, or of the Sequential that holds just these two. CompLeakError for anything that is not a unit.
    """
    network = copy.deepcopy(network).eval()
    names = {module: name for name, module in network.named_modules()}
    if not any(isinstance(module, Input) for module in names):
        raise CompLeakError(f"int8 quantisation knows networks that start with the unit Input, not "
                            f"{type(network).__name__}")
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
    units = {name: network.get_submodule(name) for name in fed}
    found = {sources[0]: name for name, sources in fed.items()
             if isinstance(units[name], Norm) and isinstance(units.get(sources[0]), nn.Conv2d)}
    for conv in found:
        if uses[conv] > 1:
            raise CompLeakError(f"int8 quantisation needs a convolution to feed its Norm alone, not {uses[conv]} units "
                                f"({conv})")
    return {units[conv]: units[norm] for conv, norm in found.items()}


class Units(fx.Tracer):
    """Sees a network as calls of its units; CompLeakError for anything that computes and is not a unit."""

    def is_leaf_module(self, module, name):
        unit = isinstance(module, UNITS)
        if not unit and not any(module.children()) and not isinstance(module, nn.Identity | nn.Sequential):
            raise CompLeakError(f"{NEED} the units of models/networks/units.py, not "
                                f"{type(module).__name__} ({type(self.root).__name__}.{name})")
        return unit


def wiring(network):
    """{name of a unit: the names of what feeds it}, in the order in which `forward` calls them.

    CompLeakError where `forward` does anything else than hand activations on, or does not use each unit exactly once: a
    unit has one scale for what it gives.
    """
    try:
        nodes = Units().trace(network).nodes
        other = next((node.name for node in nodes if node.op not in ("placeholder", "call_module", "output")), None)
    except (fx.proxy.TraceError, AttributeError, TypeError) as error:
        other = str(error).splitlines()[0]
    if other:
        raise CompLeakError(f"{NEED} a {type(network).__name__} whose forward hands activations from unit to unit and "
                            f"does nothing else ({other})")
    uses = Counter(node.target for node in nodes if node.op == "call_module")
    units = [name for name, module in network.named_modules() if isinstance(module, UNITS)]
    for name in sorted(units, key=lambda name: -uses[name]):
        if uses[name] != 1:
            wrong = "once, not twice" if uses[name] else "and not left out"
            raise CompLeakError(f"{NEED} each unit used {wrong} ({name})")
    return {node.target: [source.target for source in node.all_input_nodes] for node in nodes if node.target in uses}
