"""Weight clustering: each layer's weights share k = 2^bit centroids (Han et al., Deep Compression, ICLR 2016)."""
import numpy as np
import torch

from models.compression.technique import Technique
from models.networks import compressible_layers
from models.training import Hooks, Session

BINS = 1024


def kmeans_1d(values, k):
    """Centroids [≤ k] float32, ascending, of one-dimensional values [n]: k-means with a near-exact start.

    The best cut of a BINS-bin histogram into k intervals is found by dynamic programming, then Lloyd's iteration
    runs on the sorted values to its fixed point; with prefix sums one iteration costs O(k log n). Fewer than k
    distinct values give fewer centroids.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float32))
    starts = np.append(True, ordered[1:] != ordered[:-1])
    if starts.sum() <= k:
        return ordered[starts]
    prefix = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    edges = _cut_histogram(ordered, prefix, k)
    ordered = ordered.astype(np.float64)  # once: each search for float64 numbers would convert all of it
    while True:
        counts = np.diff(edges)
        centroids = np.diff(prefix[edges])[counts > 0] / counts[counts > 0]
        middle = (centroids[1:] + centroids[:-1]) / 2
        moved = np.concatenate([[0], np.searchsorted(ordered, middle), [len(ordered)]])
        if np.array_equal(moved, edges):
            return centroids.astype(np.float32)
        edges = moved


def _cut_histogram(ordered, prefix, k):
    """Positions [k + 1] in `ordered` of the least-squares cut into k intervals that run along bin edges."""
    grid = np.linspace(ordered[0], ordered[-1], BINS + 1)[1:-1]
    at = np.unique(np.concatenate([[0], np.searchsorted(ordered, grid), [len(ordered)]]))
    if len(at) < 4 * k:
        # Far outliers leave most bins empty: cut where the values are, too.
        at = np.unique(np.concatenate([at, np.linspace(0, len(ordered), BINS + 1).astype(int)]))
    count, total = at.astype(np.float64), prefix[at]
    with np.errstate(divide="ignore", invalid="ignore"):
        # Σx² is the same for every cut, so the best one maximises the sum of (Σx)²/n over its intervals.
        gain = (total[None, :] - total[:, None]) ** 2 / (count[None, :] - count[:, None])
    gain[np.tril_indices(len(at))] = -np.inf
    best, back = gain[0], []
    for _ in range(k - 1):
        candidates = best[:, None] + gain
        back.append(candidates.argmax(0))
        best = candidates.max(0)
    cut = [len(at) - 1]
    for previous in reversed(back):
        cut.append(int(previous[cut[-1]]))
    return at[[0, *reversed(cut)]]


def nearest(values, centroids):
    """Index [n] int32 of the centroid nearest to each value; centroids ascending."""
    middle = (centroids[1:].astype(np.float64) + centroids[:-1]) / 2
    return np.searchsorted(middle, values, side="right").astype(np.int32)


def centroid_gradient(gradient, index, k):
    """Sum of the weights' gradients at each centroid: gradient [n], index [n] int32 → [k]."""
    if gradient.device.type == "cpu":
        return torch.zeros(k, dtype=gradient.dtype).index_add_(0, index, gradient)
    # On a GPU, atomics onto k addresses contend and are not repeatable.
    return torch.stack([(gradient * (index == c)).sum() for c in range(k)])


class Centroids(Hooks):
    """Fine-tunes the centroids alone: assignments stay fixed, centroids see no weight decay.

    bit: 1 to 8, k = 2^bit centroids a layer.
    """

    def __init__(self, model, bit):
        assert bit in range(1, 9), "2 to 256 centroids"
        self.layers = compressible_layers(model)
        self.codebooks, self.indices = [], []
        for layer in self.layers.values():
            assert flat(layer.weight).data_ptr() == layer.weight.data_ptr(), "weights must be in channels_last"
            values = flat(layer.weight.detach())
            centroids = kmeans_1d(values.cpu().numpy(), 2**bit)
            index = nearest(values.cpu().numpy(), centroids)
            self.codebooks.append(torch.from_numpy(centroids).to(values.device).requires_grad_())
            self.indices.append(torch.from_numpy(index).to(values.device))
        self.after_step()

    def parameter_groups(self, model, weight_decay):
        clustered = {id(layer.weight) for layer in self.layers.values()}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in clustered]
        return [{"params": rest, "weight_decay": weight_decay}, {"params": self.codebooks, "weight_decay": 0.0}]

    @torch.no_grad()
    def after_backward(self):
        for layer, codebook, index in zip(self.layers.values(), self.codebooks, self.indices, strict=True):
            codebook.grad = centroid_gradient(flat(layer.weight.grad), index, len(codebook))
            layer.weight.grad = None

    @torch.no_grad()
    def after_step(self):
        for layer, codebook, index in zip(self.layers.values(), self.codebooks, self.indices, strict=True):
            torch.index_select(codebook, 0, index, out=flat(layer.weight))

    def state_dict(self):
        return {"codebooks": [c.detach() for c in self.codebooks], "indices": self.indices}

    @torch.no_grad()
    def load_state_dict(self, state):
        for name in ("codebooks", "indices"):
            for mine, saved in zip(getattr(self, name), state[name], strict=True):
                mine.copy_(saved)


def pack(model, bit):
    """The model's tensors with each clustered weight as a codebook and `bit`-bit indices."""
    tensors = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    for name in compressible_layers(model):
        weight = tensors.pop(f"{name}.weight").contiguous()
        # By value, not by the old assignment: centroids may meet while they are trained.
        values, index = np.unique(weight.numpy().reshape(-1), return_inverse=True)
        tensors[f"{name}.weight.codebook"] = torch.from_numpy(values)
        tensors[f"{name}.weight.indices"] = torch.from_numpy(pack_bits(index, bit))
        tensors[f"{name}.weight.shape"] = torch.tensor(weight.shape)
    return tensors


def unpack(tensors, bit):
    """The dense state_dict that `pack` was made from, value for value."""
    state = dict(tensors)
    for name in [key.removesuffix(".codebook") for key in tensors if key.endswith(".weight.codebook")]:
        shape = state.pop(f"{name}.shape").tolist()
        index = unpack_bits(state.pop(f"{name}.indices").numpy(), bit, int(np.prod(shape)))
        state[name] = state.pop(f"{name}.codebook")[torch.from_numpy(index).long()].view(shape)
    return state


def pack_bits(index, bit):
    """Integers [n] below 2^bit, bit by bit, in ceil(n·bit / 8) bytes."""
    return np.packbits(np.unpackbits(index.astype(np.uint8)[:, None], axis=1)[:, 8 - bit :].reshape(-1))


def unpack_bits(packed, bit, n):
    """The n integers uint8 that `pack_bits` packed."""
    bits = np.unpackbits(packed, count=n * bit).reshape(n, bit)
    return np.packbits(np.pad(bits, ((0, 0), (8 - bit, 0))), axis=1)[:, 0]


def flat(weight):
    """The weight as one dimension in its memory order, a view: [out, in, h, w] in channels_last or [out, in]."""
    return weight.permute(0, 2, 3, 1).reshape(-1) if weight.dim() == 4 else weight.reshape(-1)


class Clustering(Technique):
    name, script, degree_flag, epochs_flag = "clustering", "clustering/clustering.py", "--bit", "--epochs"
    adjective, in_paper, degrees, lr = "clustered", True, ("4", "8", "16"), 0.00001
    allowed = "a number of centroids, a power of two from 2 to 256, such as 4, 8, 16"

    def parse(self, text):
        if int(text) not in [2**bit for bit in range(1, 9)]:
            raise ValueError
        return str(int(text))

    def flag_value(self, degree):
        return str(self.bit(degree))

    def flag_degree(self, value):
        return str(2**value)

    @staticmethod
    def bit(degree):
        """Bits of an index into a codebook."""
        return int(degree).bit_length() - 1

    def describe(self, degree):
        return f"{degree} centroids a layer, {self.bit(degree)} bits a weight"

    def short(self, degree):
        return f"{degree} centroids"

    def start(self, model, degree):
        bit = self.bit(degree)
        return Session(model, Centroids(model, bit), lambda trained: pack(trained, bit))

    def unpack(self, tensors, degree):
        return unpack(tensors, self.bit(degree))


CLUSTERING = Clustering()
