"""Networks that are saved as a small configuration and a safetensors file."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from covary.errors import UserError
from covary.training.checkpoint import Network
from covary.training.device import place

_CONFIG_FILE = "config.json"
_WEIGHTS_FILE = "weights.safetensors"


class SavedModule(nn.Module):
    """A network that is stored as the arguments of its constructor and a safetensors file of weights."""

    def __init__(self, **arguments: int | str):
        # Not super(): a subclass may have a network of another library as its second base.
        nn.Module.__init__(self)
        self.arguments = arguments

    def save(self, directory: Path) -> None:
        """Write config.json and weights.safetensors into `directory`."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, directory / _WEIGHTS_FILE)
        (directory / _CONFIG_FILE).write_text(json.dumps(self.arguments, indent=2) + "\n")

    @classmethod
    def load(cls: type[Network], directory: Path) -> Network:
        """Read what `save` wrote, in evaluation mode. Raises UserError naming a missing file."""
        directory = Path(directory)
        for name in (_CONFIG_FILE, _WEIGHTS_FILE):
            if not (directory / name).is_file():
                raise UserError(f"{directory / name}: no such file; expected the weights of a {cls.__name__}")
        network = cls(**json.loads((directory / _CONFIG_FILE).read_text()))
        network.load_state_dict(load_file(directory / _WEIGHTS_FILE))
        return place(network).eval()
