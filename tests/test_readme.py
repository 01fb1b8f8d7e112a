"""The pages tell the truth: their commands are understood, their links lead somewhere, the front is short."""
import argparse
import importlib
import json
import re
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest

from common.errors import CompLeakError
from common.intervals import t_interval

PAGES = sorted(page.relative_to(Path(__file__).parent.parent).as_posix()
               for page in Path(__file__).parent.parent.glob("**/README.md")
               if not {".venv", ".git", "datasets"} & set(page.parts))
STUBS = ("python", "jupyter", "make", "pip", ".venv/bin/snakemake")
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


class Parsed(Exception):
    """The flags were read: nothing after this is a matter of the page."""


@pytest.fixture(scope="module")
def commands(root, tmp_path_factory):
    """commands(page) → the argument lists of every known program in a page's blocks, as bash expands them.

    Programs are shell functions that print their arguments, and PATH is empty: nothing runs.
    """
    stubs = "".join(f"{name}() {{ printf '%s\\x1f' {name} \"$@\"; printf '\\n'; }}\n" for name in STUBS)
    empty = tmp_path_factory.mktemp("empty")

    def read(page):
        found = []
        for _, language, block in BLOCK.findall((root / page).read_text(encoding="utf-8")):
            if language or not re.search(rf"^\s*(\w+=\S+ )*({'|'.join(map(re.escape, STUBS))}) ", block, re.MULTILINE):
                continue
            done = subprocess.run(["/bin/bash", "-c", stubs + "PATH=\n" + block], cwd=empty, capture_output=True,
                                  text=True)
            assert done.returncode == 0 and not done.stderr, f"{page}: {done.stderr}\n{block}"
            found += [line.split("\x1f")[:-1] for line in done.stdout.splitlines()]
        return found

    return read


def read_flags(root, words, monkeypatch):
    """Have a `python …` command read its flags, and stop there."""
    name = words[1] if words[0] == "-m" else words[0].removesuffix(".py").replace("/", ".")
    assert words[0] == "-m" or (root / words[0]).is_file(), words
    argv = words[2:] if words[0] == "-m" else words[1:]
    whole = argparse.ArgumentParser.parse_args

    def parse(parser, args=None, namespace=None):
        whole(parser, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    with pytest.raises(Parsed):
        script = root / (name.replace(".", "/") + ".py")
        spec = importlib.util.spec_from_file_location(f"readme_{script.stem}", script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main(argv)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page, root, commands, monkeypatch, capsys):
    targets = re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    for program, *words in commands(page):
        if program == "python":
            try:
                read_flags(root, words, monkeypatch)
            except (SystemExit, CompLeakError) as refused:
                pytest.fail(f"{page}: python {' '.join(words)}: {refused} {capsys.readouterr().err}")
        elif program == "make":
            assert words[0] in targets, f"{page}: make {words[0]}"
        elif program.endswith("snakemake"):
            for flag in ("--configfile", "--workflow-profile"):
                assert (root / words[words.index(flag) + 1]).exists(), f"{page}: {words}"


def test_commands_are_found(commands):
    assert len(commands("README.md")) > 12 and len(commands("results/README.md")) > 20
    assert ["make", "test"] in [command[:2] for command in commands("README.md")]


def test_a_wrong_flag_would_be_seen(root, monkeypatch):
    with pytest.raises(SystemExit):
        read_flags(root, ["train.py", "--epoch", "3"], monkeypatch)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_lead_somewhere(page, root):
    text = (root / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (root / page).parent.joinpath(link).exists(), f"{page}: {link}"
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        titles = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
                  for title in re.findall(r"^#+ (.*)", text, re.MULTILINE)]
        assert anchor in titles, f"{page}: #{anchor}"
    examples = re.findall(r'\"(\w+)\"', text)  # files that a page has its reader write
    for path in re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|ipynb|yaml))`", text):
        if Path(path).stem in examples:
            continue
        beside = (root / page).parent / path
        named = [found for found in root.glob(f"*/**/{path}") if ".venv" not in found.parts]
        assert (root / path).exists() or beside.exists() or named, f"{page}: {path}"


def test_the_front_page_is_short(root):
    lines = (root / "README.md").read_text(encoding="utf-8").splitlines()
    text = "\n".join(lines)
    assert len(lines) <= 180 and len(text.split()) <= 2600 and len(re.findall(r"\d\.\d", text)) <= 150
    assert next(number for number, line in enumerate(lines) if "pip install" in line) < 70


def auc_of_seeds(root, version, file, *keys):
    """AUC of the committed runs of 5,000 members as the page writes it: mean ± standard deviation, per cent."""
    found = []
    for seed in (0, 1, 2):
        place = root / f"results/reference/cifar10-jpeg-5000/seed_{seed}" / version / file
        value = json.loads(place.read_text())
        for key in keys:
            value = value[key]
        found.append(100 * value["auc"])
    return f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f}"


def auc_at_full_size(root, place, attack):
    """AUC [interval] of the committed run of 20,000 members as the page writes it, or "in training"."""
    expected = json.loads((root / "results/reference/cifar10-jpeg-20000/expected.json").read_text(encoding="utf-8"))
    rates = expected["rates"].get(place, {}).get(attack)
    return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * value for value in (rates["auc"], *rates["auc_interval"]))
                                            ) if rates else "in training"


@pytest.mark.parametrize("row, small, full", [
    ("E1, C1: RMIA on the original", ("original", "NR.json", "attacks", "RMIA"), ("NR original", "RMIA")),
    ("on 90% pruned", ("pruning_0.9", "NR.json", "attacks", "RMIA"), ("NR pruning_0.9", "RMIA")),
    ("E2, C2: SR2 (RF), original + int8", ("quantization_int8", "SR.json", "attacks", "SR2 (RF)"),
     ("SR quantization_int8", "SR2 (RF)")),
    ("E3, C3: pruned + int8, with the original", ("", "MR.json", "attacks", "pruned + int8, with the original"),
     ("MR", "pruned + int8, with the original"))])
def test_what_the_front_page_expects_was_measured(root, row, small, full):
    text = (root / "README.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    assert line.endswith(f"| {auc_of_seeds(root, *small)} | {auc_at_full_size(root, *full)} |")


@pytest.mark.parametrize("page", ["README.md", "results/README.md"])
def test_the_answer_is_that_of_the_committed_claims(root, page):
    text = " ".join((root / page).read_text(encoding="utf-8").replace("−", "-").split())
    folder = root / "results/reference/cifar10-jpeg-2000-shared"
    best = json.loads((folder / "claims.json").read_text(encoding="utf-8"))["best"]
    said = {step: "{:.2f} [{:.2f}, {:.2f}]".format(*(100 * value + 0.0 for value in (
        best["differences"][step]["auc"]["mean"], *best["differences"][step]["auc"]["over_seeds"])))
        for step in ("published - original", "SR - NR", "MR - SR")}
    wanted = [*said.values(), f"{100 * best['original']['auc']['mean']:.1f}"]
    tuned = best["differences"]["published - fine-tuned"]["auc"]  # what fine-tuned versions give beyond the published
    low, high = tuned["over_seeds"]
    wanted.append(f"{-100 * tuned['mean']:.2f} [{-100 * high:.2f}, {-100 * low:.2f}]")
    bayes = "LiRA_online (Bayes)"

    def aucs(setting, place, attack):
        """Of the nine targets, in per cent."""
        each = [100 * json.loads(path.read_text(encoding="utf-8"))["attacks"][attack]["auc"]
                for path in sorted(folder.glob(f"*/{place}/{setting}.json"))]
        assert len(each) == 9
        return np.array(each)

    wanted += [f"{aucs(*key).mean():.1f}" for key in (
        ("NR", "original", "confidence"), ("MR", ".", "fine-tuned three, confidence with the original"),
        ("MR", ".", "all 3, confidence with the original"), ("MR", ".", "all 3, confidence on views"))]
    gain = aucs("MR", ".", f"all 3, joint_{bayes} on views") - aucs("NR", "original", bayes)
    low, high = t_interval(gain)
    wanted.append(f"{gain.mean():.2f} [{low:.2f}, {high:.2f}]")
    assert not [words for words in wanted if words not in text]
