"""A disk that fills up, a folder that becomes read-only, a clock that leaps, a loss that is no number."""
import os
import shutil
import subprocess
from pathlib import Path

import chain
import pytest
import torch


def test_a_full_disk_stops_in_one_line_and_loses_nothing(tmp_path, undisturbed, same, tally):
    """The disk is enlarged bit by bit; every time it is full the command says so, and the next goes on."""
    disk, run_dir = tmp_path / "disk", tmp_path / "disk" / "run"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).returncode:
        pytest.skip("mounting a small file system needs root, and was refused here")
    try:
        for kib in (64, 152, 300, 428, 600):
            subprocess.run(["mount", "-o", f"remount,size={kib}k", disk], check=True)
            code, said = chain.outcome(tmp_path / "log", chain.whole, run_dir)
            assert code == 1 and "No space left on device" in chain.one_line(said), said
            assert str(run_dir) in chain.one_line(said)
            assert not [path for path in run_dir.rglob(".*") if path.is_file()], "no half-written file stays"
            tally["full disk"] += 1
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        code, said = chain.outcome(tmp_path / "log", chain.whole, run_dir)
        assert code == 0, said
        same(run_dir)
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("count", [2, 9, 18])
def test_a_folder_made_read_only_midway_stops_in_one_line(tmp_path, same, tally, count):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    code, said = chain.outcome(tmp_path / "log", chain.short_until_read_only, run_dir, count)
    assert code == 1 and "Permission denied: check the folder's permissions" in chain.one_line(said), said
    tally["read-only"] += 1
    for path in (run_dir, *run_dir.rglob("*/")):
        path.chmod(0o755)
    code, said = chain.outcome(tmp_path / "log", chain.short, run_dir)
    assert code == 0, said
    same(run_dir, whole=False)


def test_a_clock_that_leaps_changes_nothing(tmp_path, same):
    code, said = chain.outcome(tmp_path / "log", chain.short_with_a_jumping_clock, tmp_path / "run")
    assert code == 0 and "Traceback" not in said, said
    same(tmp_path / "run", whole=False)


def test_a_loss_that_is_no_number_stops_and_spares_the_models(tmp_path, undisturbed):
    run_dir = tmp_path / "run"
    shutil.copytree(undisturbed, run_dir)
    code, said = chain.outcome(tmp_path / "log", chain.diverging, run_dir)
    assert code == 1 and "in epoch" in chain.one_line(said) and "at learning rate" in chain.one_line(said), said
    target = Path("results/digits_resnet18/target")
    assert (run_dir / target / "weights.pt").read_bytes() == (undisturbed / target / "weights.pt").read_bytes()
    progress = run_dir / target / "progress.pt"
    assert all(tensor.isfinite().all() for tensor in torch.load(progress, weights_only=True)["state"]["model"].values())
