"""The released protocol's choice of an epoch, by accuracy on the very non-members that attacks are scored on."""
import torch

from data.augment import normalise

PATIENCE = 11
BATCH = 250


class BestEpoch:
    """Keeps the epoch of best accuracy on some pictures, and stops after `patience` epochs without a better one.

    images [n, h, w, 3] uint8 and labels [n] int64 on the model's device; statistics is (mean, std); bfloat16: run
    the model under autocast, as training does. Unsound where these are non-members that score an attack: it pulls
    them towards members. It is here to measure by how much.
    """

    def __init__(self, images, labels, statistics, bfloat16, patience):
        self.images, self.labels, self.statistics, self.bfloat16 = images, labels, statistics, bfloat16
        self.patience, self.best, self.waited, self.kept = patience, -1.0, 0, {}

    def stop_after(self, model):
        """Called at the end of each epoch: whether training ends here."""
        accuracy = self.accuracy(model)
        self.waited += 1
        if accuracy > self.best:
            self.best, self.waited = accuracy, 0
            self.kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        return self.waited >= self.patience

    def finish(self, model):
        """Called after the last epoch: put the kept weights into the model."""
        model.load_state_dict(self.kept)

    @torch.no_grad()
    def accuracy(self, model):
        """Fraction of the pictures that the model gets right; leaves it in evaluation mode."""
        model.eval()
        correct = 0
        with torch.autocast(self.images.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            for images, labels in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True):
                correct += (model(normalise(images, *self.statistics)).argmax(1) == labels).sum()
        return int(correct) / len(self.labels)

    def state_dict(self):
        return {"best": self.best, "waited": self.waited, "kept": self.kept}

    def load_state_dict(self, state):
        self.best, self.waited, self.kept = state["best"], state["waited"], state["kept"]
