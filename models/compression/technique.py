"""What a compression technique is to the rest: one object, entered in models/compression/__init__.py."""
from common.errors import UsageError


class Technique:
    """One way to compress a model; a subclass fills in what stands here, and its entry is all that others need.

    name: of its folder results_<name>/ and of --compress_name · degrees: the usual ones, as text · in_paper: whether a
    whole run has them · script, degree_flag, epochs_flag, lr: its stage's command and defaults · adjective: of the
    models it makes · allowed: which degrees exist, in words · file: what its models are saved as · packages: that
    it needs beyond the usual ones, whose versions are recorded.
    One that trains nothing has no epochs_flag, and `Hooks.look` shows it `calibration` members.
    """

    name = script = degree_flag = epochs_flag = adjective = allowed = ""
    degrees, in_paper, file, packages = (), False, "weights.pt", ()
    lr, calibration = 0.001, 0

    def parse(self, text):
        """The one spelling of a degree; ValueError for one that cannot exist."""
        if text not in self.degrees:
            raise ValueError
        return text

    def degree(self, text, flag="--compress_degree"):
        """The one spelling of a degree that a flag names; UsageError for one that cannot exist."""
        try:
            return self.parse(str(text))
        except ValueError:
            raise UsageError(f"{flag} {text}: for {self.name} choose {self.allowed}") from None

    def flag_value(self, degree):
        """What the stage's degree_flag says for a degree."""
        return degree

    def flag_degree(self, value):
        """The degree that a value of the stage's own flag stands for; UsageError for none."""
        return self.degree(value, self.degree_flag)

    def check(self, degree, recipe):
        """UsageError where this training.Recipe cannot make a degree."""

    def is_control(self, degree):
        """Whether this degree compresses nothing, so that fine-tuning alone is what an attacker could gain from."""
        return False

    def describe(self, degree):
        """A degree in words, for tables."""
        return degree

    def short(self, degree):
        """A version's name in words, narrow."""
        return f"{self.adjective} {degree}"

    def start(self, model, degree):
        """The training.Session that makes this version of a trained float network, which it may change."""
        raise NotImplementedError

    def unpack(self, tensors, degree):
        """The float network's state_dict in the tensors that a session's pack gave."""
        raise NotImplementedError

    def load(self, tensors, degree, build):
        """The network of these tensors; build() → the float network, freshly initialised."""
        model = build()
        model.load_state_dict(self.unpack(tensors, degree))
        return model
