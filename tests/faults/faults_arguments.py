"""300 command lines, flags right, wrong and absent at random: each ends well, or in one line and exit code 1 or 2."""
import contextlib
import io
import shutil
from pathlib import Path

import chain
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import CompLeakNR
import CompLeakSR
import train
from attacks import mr
from clustering import clustering
from common import command
from evaluation import figures, tables
from pruning import prune
from quantization import qat

EXAMPLES = 300
SIZES = ["-1", "0", "2.5", "", "many", "9" * 40]
RUN_DIR = object()
# {flag: (right values, wrong or contradicting ones)}; a value None stands for a flag without one.
SHARED = {
    "--dataset_name": (["digits"], ["mnist", "", "cifar10 digits"]),
    "--model_name": (["resnet18"], ["vgg", "../x"]),
    "--num_cls": (["10"], ["7", "-1", "ten"]),
    "--batch_size": (["20"], ["1", *SIZES]),
    "--device": (["cpu", "auto"], ["cuda:99", "cuda:x", "cuda:\u0661", "tpu", ""]),
    "--seed": (["0"], ["5", "-3", "1e3", "9" * 40]),
    "--shadow_num": (["1"], ["0", "3", "-2", "x"]),
    "--run_dir": ([RUN_DIR], ["nothing", "a_file", "a_file/below", "\n"]),
    "--unknown": ([], [None, "1"]),
}
TRAINING = SHARED | {
    "--lr": (["0.01"], ["0", "-1", "nan", "inf", "1e300", "1e-320"]),
    "--amp": (["off"], ["on"]),
    "--query_rows": (["scored"], ["some"]),
    "--data_dir": ([], ["nothing", "a_file"]),
    "--data_label": (["x y"], ["<b>|&\\"]),
    "--no-sensitivity": ([None], ["1"]),
    "--retrain": ([None], ["1"]),
}
ATTACKS = SHARED | {
    "--original": ([None], ["1"]),
    "--compress": ([None], ["1"]),
    "--compress_name": (["pruning"], ["clustering", "quantization", "magic", ""]),
    "--compress_degree": (["0.9", "0.6"], ["4", "int8", "0.9 0.9", "nan"]),
}
TRAIN = {"--image_size": (["8"], ["7", "9", "-8", "x"]), "--train_size": (["40"], ["1", "2", "898", "-1"]),
         "--no-augment": ([], [None]), "--pools": (["disjoint"], ["shared", "x"]), "--epochs": (["6", "1"], SIZES[:-1])}
PRUNE = {"--prune_sparsity": (["0.9", "0.5"], ["0", "1", "nan", "0.9 2", "1e-9", "x"]),
         "--prune_epochs": (["2", "1"], SIZES[:-1])}
QAT = {"--degree": (["int8"], ["int4", "8"]), "--quantized_epochs": (["3", "1"], SIZES[:-1])}
CLUSTER = {"--bit": (["2", "1 2"], ["0", "9", "2.5", "x"]), "--epochs": (["2", "1"], SIZES[:-1])}
SCRIPTS = {train.main: TRAINING | TRAIN, prune.main: TRAINING | PRUNE, qat.main: TRAINING | QAT,
           clustering.main: TRAINING | CLUSTER, CompLeakSR.main: ATTACKS, mr.main: SHARED, tables.main: SHARED,
           figures.main: SHARED, CompLeakNR.main: ATTACKS | {"--rmia_a": (["0.5", "auto"], ["2", "-1", "nan", "x"]),
                                                               "--attacks": (["RMIA correctness"], ["SR2", ""])}}
ALWAYS = ("--run_dir", "--dataset_name", "--no-sensitivity", "--query_rows", "--epochs", "--prune_epochs",
          "--quantized_epochs", "--compress_name", "--compress_degree")


@st.composite
def command_lines(draw):
    """(main, words): one flag in sixteen is wrong; flags without which a run would be long are always there."""
    main, words = draw(st.sampled_from(list(SCRIPTS))), []
    for flag, (right, wrong) in SCRIPTS[main].items():
        kind = draw(st.integers(0, 15))
        if flag in ALWAYS and kind:
            kind = 15
        values = wrong if kind == 0 else right
        if kind in (0, *range(7, 16)) and values:
            value = draw(st.sampled_from(values))
            words += [flag] if value is None else [flag, *(value.split(" ") if isinstance(value, str) else [value])]
    return main, words


@pytest.fixture(scope="module")
def work(undisturbed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("arguments")
    (folder / "a_file").write_text("not a folder")
    with pytest.MonkeyPatch.context() as patch:
        chain.shrink(patch.setattr)
        patch.chdir(folder)
        yield undisturbed, folder / "run"


def test_every_command_line_ends_well_or_in_one_line(work, tally):
    template, run_dir = work
    codes = []

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(command_lines())
    def check(case):
        main, words = case
        shutil.rmtree(run_dir, ignore_errors=True)
        shutil.copytree(template, run_dir)
        words = [str(run_dir) if word is RUN_DIR else word for word in words]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            command.run(main, words)
        code = stop.value.code
        assert code in (0, 1, 2), words
        if code:
            chain.one_line(err.getvalue())
        else:
            assert "error: " not in err.getvalue()
        assert not Path("results").exists(), "nothing is written but below --run_dir"
        codes.append(code)

    check()
    tally["arguments"] += len(codes)
    tally["ended well"] += codes.count(0)
    assert len(codes) >= EXAMPLES and min(map(codes.count, (0, 2))) > EXAMPLES / 5 and codes.count(1) > EXAMPLES / 50
