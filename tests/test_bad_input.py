"""What a user can get wrong ends in one line on stderr and the right exit code, and harms nothing on disk."""
import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

import train
from common import command
from common.errors import CompLeakError
from pruning import prune
from quantization import qat

DIGITS = ["--dataset_name", "digits", "--image_size", "8"]


def outcome(main, argv, capsys):
    """(exit code, the lines on stderr) of a command run in this process as its script runs it."""
    with pytest.raises(SystemExit) as stop:
        command.run(main, [str(word) for word in argv])
    return stop.value.code, [line for line in capsys.readouterr().err.splitlines() if line.strip()]


@pytest.mark.parametrize(("main", "argv", "says"), [
    (train.main, ["--dataset_name", "mnist"], "cifar10"),
    (train.main, ["--model_name", "vgg"], "resnet18"),
    (train.main, [*DIGITS, "--num_cls", "7"], "--num_cls 7: digits has 10 classes"),
    (train.main, [*DIGITS, "--epochs", "0"], "--epochs: 0: choose a number above 0"),
    (train.main, [*DIGITS, "--lr", "-1"], "--lr: -1: choose"),
    (train.main, [*DIGITS, "--lr", "nan"], "--lr: nan"),
    (train.main, [*DIGITS, "--batch_size", "0"], "--batch_size: 0"),
    (train.main, [*DIGITS, "--train_size", "898"], "--train_size 898"),
    (train.main, [*DIGITS, "--shadow_num", "0"], "--shadow_num 0"),
    (train.main, [*DIGITS, "--device", "tpu"], "auto, cpu, cuda or cuda:N"),
    (train.main, [*DIGITS, "--device", "cuda:\u0661"], "auto, cpu, cuda or cuda:N"),  # a digit, but not ASCII's
    (train.main, [*DIGITS, "--device", "cuda:\u00b2"], "auto, cpu, cuda or cuda:N"),
    (train.main, [*DIGITS, "--device", "cuda:"], "auto, cpu, cuda or cuda:N"),
    (train.main, [*DIGITS, "--epoch", "3"], "unrecognized arguments: --epoch 3"),
    (prune.main, ["--dataset_name", "digits", "--prune_sp", "0.5"], "unrecognized arguments: --prune_sp 0.5"),
    (train.main, ["--dataset_name", "digits", "--image_size", "2"], "--image_size 2"),
    (train.main, ["--dataset_name", "imagefolder"], "imagefolder needs --data_dir"),
    (train.main, ["--dataset_name", "imagefolder", "--data_dir", "/nowhere/at/all"], "/nowhere/at/all"),
    (prune.main, ["--dataset_name", "digits", "--prune_sparsity", "1.0"], "--prune_sparsity 1.0"),
    (prune.main, ["--dataset_name", "digits", "--prune_sparsity", "0"], "--prune_sparsity 0"),
    (prune.main, ["--dataset_name", "digits", "--prune_sparsity", "channels-1"], "--prune_sparsity channels-1"),
    (qat.main, ["--dataset_name", "digits", "--degree", "int4"], "int8"),
    (qat.main, ["--dataset_name", "digits", "--quantized_epochs", "0"], "--quantized_epochs: 0"),
])
def test_usage_errors_are_one_line_and_exit_code_2(tmp_path, capsys, main, argv, says):
    code, lines = outcome(main, [*argv, "--run_dir", tmp_path], capsys)
    assert code == 2 and len(lines) == 1 and says in lines[0], lines
    assert not list(tmp_path.rglob("weights.pt"))


def test_cuda_without_a_gpu_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, lines = outcome(train.main, [*DIGITS, "--device", "cuda", "--run_dir", tmp_path], capsys)
    assert code == 2 and "finds no GPU" in lines[0]


def test_compression_before_training_names_the_command(tmp_path, capsys):
    code, lines = outcome(prune.main, ["--dataset_name", "digits", "--run_dir", tmp_path], capsys)
    assert code == 1 and len(lines) == 1
    assert "split.json is missing: run python train.py --dataset_name digits" in lines[0]


def write_classes(folder, names, count=3):
    for name in names:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / name / f"{i}.png")


@pytest.mark.parametrize(("names", "says"), [([], "found 0 class folder"), (["cat"], "found 1 class folder")])
def test_folders_without_two_classes_are_refused(tmp_path, capsys, names, says):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    write_classes(pictures, names)
    argv = ["--dataset_name", "imagefolder", "--data_dir", pictures, "--run_dir", tmp_path / "run"]
    code, lines = outcome(train.main, argv, capsys)
    assert code == 1 and says in lines[0]


def test_a_broken_picture_is_named(tmp_path, capsys):
    pictures = tmp_path / "pictures"
    write_classes(pictures, ["cat", "dog"])
    (pictures / "dog" / "1.png").write_bytes(b"not a picture")
    argv = ["--dataset_name", "imagefolder", "--data_dir", pictures, "--run_dir", tmp_path / "run"]
    code, lines = outcome(train.main, argv, capsys)
    assert code == 1 and "dog/1.png: this picture cannot be read" in lines[-1]


def test_a_failed_download_says_where_to_put_the_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("data.cache.FOLDER", tmp_path / "datasets")

    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    refuse.train_list = refuse.test_list = []  # of batches whose MD5 is looked at
    monkeypatch.setattr("torchvision.datasets.CIFAR10", refuse)
    code, lines = outcome(train.main, ["--dataset_name", "cifar10", "--run_dir", tmp_path], capsys)
    assert code == 1 and "put cifar-10-python.tar.gz into" in lines[0] and "--data_dir" in lines[0]


@pytest.mark.parametrize(("number", "says"), [
    (errno.ENOSPC, "No space left on device: free some space, or choose another --run_dir"),
    (errno.EROFS, "Read-only file system: nothing can be written there, so name a folder of yours with --run_dir"),
    (errno.EACCES, "Permission denied: check the folder's permissions, or choose another --run_dir"),
    (errno.EIO, "Input/output error"),  # no advice where none helps
])
def test_what_the_system_refuses_is_one_line_with_its_own_advice(capsys, number, says):
    def main(argv):
        raise OSError(number, os.strerror(number), "results/weights.pt")

    code, lines = outcome(main, [], capsys)
    assert code == 1 and lines == [f"error: results/weights.pt: {says}"]


def test_a_name_that_is_too_long_and_a_file_in_place_of_a_folder_are_named(tmp_path, capsys):
    code, lines = outcome(train.main, [*DIGITS, "--epochs", "1", "--run_dir", tmp_path / ("x" * 300)], capsys)
    assert code == 1 and lines[-1].endswith("File name too long: choose a shorter --run_dir")
    (tmp_path / "file").write_text("")
    code, lines = outcome(train.main, [*DIGITS, "--epochs", "1", "--run_dir", tmp_path / "file"], capsys)
    assert code == 1 and lines[-1].endswith("Not a directory: a part of this path is a file, so choose another "
                                            "--run_dir")


def test_an_error_of_no_file_blames_none(capsys):
    def main(argv):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    assert outcome(main, [], capsys) == (1, ["error: a file that the system does not name: Broken pipe"])


def test_a_link_to_nowhere_is_named(tmp_path, capsys):
    (tmp_path / "results").symlink_to(tmp_path / "gone")
    code, lines = outcome(train.main, [*DIGITS, "--epochs", "1", "--run_dir", tmp_path], capsys)
    assert code == 1 and lines[-1] == f"error: {tmp_path}/results is a link to {tmp_path}/gone, which is not there: " \
                                      "mend the link or remove it"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the case above covers the message")
def test_a_read_only_folder_is_refused(tmp_path, capsys):
    tmp_path.chmod(0o500)
    code, lines = outcome(train.main, [*DIGITS, "--epochs", "1", "--run_dir", tmp_path / "run"], capsys)
    assert code == 1 and "Permission denied" in lines[-1]


def test_ctrl_c_leaves_a_clean_message(capsys):
    def main(argv):
        raise KeyboardInterrupt

    code, lines = outcome(main, [], capsys)
    assert code == 130 and lines == ["stopped; the same command goes on from here"]


def test_the_last_line_stands_below_a_bar_that_was_cut_short(capsys):
    def main(argv):
        bar = tqdm(total=9)
        bar.update()
        raise CompLeakError("the loss is nan")

    code, lines = outcome(main, [], capsys)
    assert code == 1 and lines[-1] == "error: the loss is nan"


def test_too_little_memory_is_one_line(capsys):
    def main(argv):
        np.empty(2**45)

    code, lines = outcome(main, [], capsys)
    assert code == 1 and len(lines) == 1 and lines[0].startswith("error: not enough memory (Unable to allocate")


def test_unknown_errors_are_not_hidden():
    def main(argv):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        command.run(main, [])


def test_scripts_end_without_a_traceback(root, tmp_path):
    done = subprocess.run([sys.executable, "CompLeakSR.py", "--original", "--compress", "--compress_name", "pruning",
                           "--compress_degree", "0.9", "--run_dir", tmp_path], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and "run python train.py" in done.stderr


