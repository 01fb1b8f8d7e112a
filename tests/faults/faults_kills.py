"""A run killed at random moments, stopped by signals, or started twice ends with the results of an undisturbed one."""
import os
import random
import signal
import time

import chain
import pytest

KILLS = 20


def test_a_killed_run_goes_on_to_the_same_results(tmp_path, usual_seconds, same, tally):
    """Half of the kills come by the clock, half exactly at a file: just before or just after it gets its name."""
    rng, runs = random.Random(0), 0
    while tally["kills"] < KILLS or runs == 0:
        run_dir = tmp_path / f"run_{runs}"
        while tally["kills"] < KILLS:
            if tally["kills"] % 2:
                process = chain.start(tmp_path / "log", chain.killed_at_a_file, run_dir, rng.randint(1, 15),
                                      rng.choice(["before", "after"]))
                process.join()
            else:
                process = chain.start(tmp_path / "log", chain.whole, run_dir)
                process.join(rng.uniform(0, usual_seconds / 4))
                process.kill()
                process.join()
            assert process.exitcode in (0, -signal.SIGKILL), (tmp_path / "log").read_text()
            tally["kills"] += process.exitcode == -signal.SIGKILL
            if process.exitcode == 0:
                break
        code, said = chain.outcome(tmp_path / "log", chain.whole, run_dir)
        assert code == 0, said
        same(run_dir)
        runs += 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_with_a_message_and_a_second_run_is_told_of_the_first(tmp_path, same, tally, number):
    run_dir = tmp_path / "run"
    first = chain.start(tmp_path / "log", chain.short, run_dir)
    while not (run_dir / "results/digits_resnet18/target/progress.pt").exists():
        assert first.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGSTOP)
    code, said = chain.outcome(tmp_path / "second", chain.short, run_dir)
    assert code == 1 and "another process is working on this" in chain.one_line(said)
    os.kill(first.pid, signal.SIGCONT)
    os.kill(first.pid, number)
    first.join()
    said = (tmp_path / "log").read_text()
    assert first.exitcode == 130 and "stopped; the same command goes on from here" in said and "Traceback" not in said
    tally["signals"] += 1
    code, said = chain.outcome(tmp_path / "log", chain.short, run_dir)
    assert code == 0, said
    same(run_dir, whole=False)
