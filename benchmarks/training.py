"""The training loop against a bare loop on one fixed batch; its share of the matrix rate; several models at once."""
import tempfile
from pathlib import Path

import torch
from torch import multiprocessing
from torch.nn import functional as F

from benchmarks.common import Row, command, fastest, seconds
from common.device import use_bfloat16
from common.errors import CompLeakError
from data.augment import normalise
from models.networks import build
from models.training import MOMENTUM, WEIGHT_DECAY, Hooks, Recipe, train

STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
GFLOP = 0.84  # per 32×32 picture and training step of ResNet-18
WITHIN, SHARE = 0.9, 0.15
CPU = Row("training_cpu", "training throughput on the CPU, ResNet-18, batch 128",
          "≥ 0.90 of a bare loop of forward, backward and step on a fixed batch", "python -m benchmarks.training")
GPU = Row("training_gpu", "training throughput on a GPU, ResNet-18, batch 128, bf16, several models at once",
          "≥ 15% of the measured bf16 matrix rate (stretch 25%)", "python -m benchmarks.training --device cuda",
          device="cuda")


def new_model(device):
    return build("resnet18", 10, seed=0).to(device, memory_format=torch.channels_last)


def epoch(model, hooks, steps, batch, device, bfloat16):
    """A function that runs the project's loop for one epoch of so many steps."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (steps * batch, 32, 32, 3), dtype=torch.uint8, generator=generator).to(device)
    labels = torch.randint(10, (steps * batch,), generator=generator).to(device)
    recipe = Recipe(epochs=1, lr=0.01, batch_size=batch, augment=True, bfloat16=bfloat16, seed=0)

    def call():
        with tempfile.TemporaryDirectory() as folder:
            train(model, images, labels, STATISTICS, recipe, hooks, None, Path(folder, "log"), "benchmark")

    return call


def bare(model, steps, batch, device, bfloat16):
    """A function that does nothing but forward, backward and step, on one batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (batch, 32, 32, 3), dtype=torch.uint8, generator=generator).to(device)
    labels = torch.randint(10, (batch,), generator=generator).to(device)
    x = normalise(images, *STATISTICS)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)

    def call():
        model.train()
        for _ in range(steps):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
                logits = model(x)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

    return call


def matrix_rate(device, bfloat16, repeats=10):
    """FLOP/s of a product of two square matrices, bf16 where the loop uses it."""
    n = 8192 if device.type == "cuda" else 2048
    a = torch.ones(n, n, device=device, dtype=torch.bfloat16 if bfloat16 else torch.float32)
    times = 20 if device.type == "cuda" else 1
    taken = fastest({"product": lambda: [a @ a for _ in range(times)]}, repeats)
    return times * 2 * n**3 / taken["product"]


def _worker(barrier, took, steps, batch, device, bfloat16):
    call = epoch(new_model(device), Hooks(), steps, batch, device, bfloat16)
    call()
    barrier.wait(timeout=300)  # so that a worker that fails does not keep the others waiting
    took.put(seconds(call))


def at_once(models, steps, batch, device, bfloat16):
    """Pictures a second of so many models trained at once, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    barrier, took = context.Barrier(models), context.Queue()
    workers = [context.Process(target=_worker, args=(barrier, took, steps, batch, device, bfloat16))
               for _ in range(models)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise CompLeakError(f"training {models} model(s) at once failed on {device}: try fewer")
    return models * steps * batch / max(took.get() for _ in workers)


def measure(device, steps=None, batch_size=128, repeats=3, models=None):
    """steps a repeat (20, on a GPU 150), the fastest counts; models: how many at once (none, on a GPU 2, 4 and 8)."""
    on_gpu = device.type == "cuda"
    steps, bfloat16 = steps or (150 if on_gpu else 20), use_bfloat16("auto", device, 32)
    given = {"steps": steps, "batch": batch_size, "device": device, "bfloat16": bfloat16}
    taken = fastest({"loop": epoch(new_model(device), Hooks(), **given), "bare": bare(new_model(device), **given)},
                    repeats)
    rate = {name: steps * batch_size / some for name, some in taken.items()}
    peak = matrix_rate(device, bfloat16)
    several = {n: at_once(n, **given) for n in ((2, 4, 8) if on_gpu and models is None else models or ())}
    share = {n: images * GFLOP * 1e9 / peak for n, images in {1: rate["loop"], **several}.items()}
    figures = {"ratio": rate["loop"] / rate["bare"], "images_per_s": rate["loop"], "bare_images_per_s": rate["bare"],
               "matrix_gflop_per_s": peak / 1e9, "share_of_matrix_rate": share[1],
               **{f"images_per_s_of_{n}_models": images for n, images in several.items()},
               **{f"share_of_{n}_models": share[n] for n in several}}
    best = max(several, key=several.get, default=1)
    text = (f"{figures['ratio']:.3f} of the bare loop; {rate['loop']:.0f} images/s, {100 * share[1]:.0f}% "
            f"of the {'bf16' if bfloat16 else 'float32'} matrix rate ({peak / 1e9:,.0f} GFLOP/s)")
    if several:
        text = f"{best} at once: {several[best]:.0f} images/s, {100 * share[best]:.1f}%; one: " + text
    return (text, share[best] >= SHARE if on_gpu else figures["ratio"] >= WITHIN, figures,
            {"steps": steps, "batch_size": batch_size, "bfloat16": bfloat16, "repeats": repeats})


if __name__ == "__main__":
    command(__doc__, measure, CPU, GPU)
