"""k-means of every layer of ResNet-18 against scikit-learn on the largest, and its inertia against the optimum."""
import numpy as np
from sklearn.cluster import KMeans

from benchmarks.common import Row, command, fastest
from common.errors import CompLeakError
from models.compression.clustering import kmeans_1d, nearest
from models.networks import build, compressible_layers

GOAL, EXCESS = 15, 0.001
ROW = Row("kmeans", "k-means of every layer of ResNet-18 (11.2 M weights), k = 16",
          f"≥ {GOAL} × scikit-learn's KMeans(n_init=1) on the largest layer, inertia within 0.1% of the optimum",
          "python -m benchmarks.kmeans")


def inertia(values, centroids):
    """Σ (value − nearest centroid)², in float64. values [n], centroids [k] ascending."""
    centroids = np.sort(np.asarray(centroids, np.float64).ravel())
    return float(((values - centroids[nearest(values, centroids)]) ** 2).sum())


def exact(values, k):
    """Centroids of the optimum, by the package kmeans1d's dynamic programme; CompLeakError where it is missing."""
    try:
        import kmeans1d
    except ImportError:
        raise CompLeakError("the package kmeans1d, which finds the optimum, is missing: run pip install kmeans1d, or "
                            "make bench") from None
    return kmeans1d.cluster(values, k).centroids


def measure(device, k=16, most=None):
    """k centroids a layer; most: weights of each layer that are used, None for all."""
    # Trained weights have heavier tails than the normal ones that training starts from.
    rng = np.random.default_rng(0)
    layers = [0.02 * rng.standard_t(5, layer.weight.numel()).astype(np.float32)[: most]
              for layer in compressible_layers(build("resnet18", 10, seed=0)).values()]
    largest = max(layers, key=len)
    found = {}

    def theirs():
        found["scikit-learn"] = KMeans(k, n_init=1, random_state=0).fit(largest[:, None]).cluster_centers_

    def ours():
        found["ours"] = kmeans_1d(largest, k)

    taken = fastest({"ours": ours, "scikit-learn": theirs}, 3)
    taken |= fastest({"all layers": lambda: [kmeans_1d(layer, k) for layer in layers]}, 2)
    optimum = inertia(largest.astype(np.float64), exact(largest, k))
    excess = {name: inertia(largest.astype(np.float64), c) / optimum - 1 for name, c in found.items()}
    ratio = taken["scikit-learn"] / taken["ours"]
    text = (f"{ratio:.1f} × ({taken['ours']:.3f} s; scikit-learn {taken['scikit-learn']:.2f} s), inertia "
            f"{100 * excess['ours']:.4f}% above the optimum (scikit-learn {100 * excess['scikit-learn']:.2f}%); all "
            f"layers {taken['all layers']:.2f} s")
    return (text, ratio >= GOAL and excess["ours"] <= EXCESS,
            {"ratio": ratio, **{f"{name}_s": s for name, s in taken.items()},
             **{f"{name}_excess_inertia": e for name, e in excess.items()}},
            {"k": k, "weights": sum(map(len, layers)), "largest_layer": len(largest),
             "drawn_from": "Student's t, 5 degrees of freedom"})


if __name__ == "__main__":
    command(__doc__, measure, ROW)
