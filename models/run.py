"""What all stages of a run share, as train.py saved it in split.json: its settings and its split."""
from common.errors import CompLeakError, UsageError
from common.files import read_json
from common.paths import ORIGINAL
from data import splits
from models import protocol

RUN_DEFAULTS = {"seed": 0, "shadow_num": 1, "train_size": None, "image_size": 32, "augment": True,
                "protocol": protocol.SOUND}


def given_settings(args):
    """The run's settings that the command line names."""
    given = {name: getattr(args, name, None) for name in RUN_DEFAULTS}
    if given["protocol"] is not None:
        given["protocol"] = protocol.name(given["protocol"])
    return {name: value for name, value in given.items() if value is not None}


def read_run(layout):
    """The settings that all stages of a run share, as train.py saved them; CompLeakError where they are damaged."""
    path, made_by = layout.result(ORIGINAL, "split.json"), layout.command(ORIGINAL)
    saved = read_json(path, made_by)
    run = saved.get("run") if isinstance(saved, dict) else None
    if not isinstance(run, dict) or not {*RUN_DEFAULTS, "data_label", "classes"} - {"protocol"} <= run.keys():
        raise CompLeakError(f"{path} is damaged (it lacks the run's settings): delete it and run {made_by}")
    # Runs that do not name a protocol were made before there was a choice.
    return {"protocol": protocol.SOUND, **run}


def saved_run(layout, args, fixed):
    """The run's settings; UsageError for a flag that contradicts one of those named in `fixed`."""
    saved = read_run(layout)
    for name, value in given_settings(args).items():
        if name in fixed and value != saved[name]:
            raise UsageError(f"--{name} {value}: the run in {layout.root()} has {name} {saved[name]}; leave the flag "
                             "out, or train with it in another --run_dir")
    return saved


def load_split(layout):
    """The saved split of a run, checked for disjointness."""
    path = layout.result(ORIGINAL, "split.json")
    made_by = layout.command(ORIGINAL)
    try:
        return splits.from_json(read_json(path, made_by))
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise CompLeakError(f"{path} is damaged ({error!r}): delete it and run {made_by}") from error
