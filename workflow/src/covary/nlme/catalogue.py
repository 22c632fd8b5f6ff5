"""The structural models that a configuration can name."""

import inspect

from covary import plugins
from covary.errors import UserError
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.models import IndirectResponse, OneCompartmentOral, SaturableElimination
from covary.nlme.neural import LatentRecord, NeuralCompartments, NeuralElimination, NeuralIndirectResponse

SHIPPED: dict[str, type[OdeModel] | type[ClosedFormModel]] = {
    "saturable_elimination": SaturableElimination,
    "one_compartment_oral": OneCompartmentOral,
    "indirect_response": IndirectResponse,
    "neural_indirect_response": NeuralIndirectResponse,
    "neural_elimination": NeuralElimination,
    "neural_compartments": NeuralCompartments,
    "latent_record": LatentRecord,
}
_KEY = "longitudinal.model"


def load_model(name: str, n_effects: int | None = None, *, key: str = _KEY) -> OdeModel | ClosedFormModel:
    """A shipped model by its name, or the class of a Python file by `path/to/file.py:ClassName`.

    `n_effects` is the number of random effects among the inputs of its network, for a class that takes it.
    `key` is what messages call the setting.

    Raises UserError if there is no such model, file or class, the class is not a complete model, or takes no
    `n_effects`.
    """
    file = plugins.file_of(name)
    if file is None:
        if name not in SHIPPED:
            raise UserError(
                f"{key}: must be one of {', '.join(SHIPPED)} or my_model.py:MyModel, got {name!r}"
            )
        return _made(SHIPPED[name], n_effects, key)
    cls = plugins.load_class(name, (OdeModel, ClosedFormModel), key)
    missing = sorted(getattr(cls, "__abstractmethods__", ())) + [
        attribute for attribute in ("fixed_effects", "random_effects") if not hasattr(cls, attribute)
    ]
    if missing:
        raise UserError(f"{key}: {cls.__name__} in {file} must define {', '.join(missing)}")
    return _made(cls, n_effects, key)


def _made(cls: type[OdeModel] | type[ClosedFormModel], n_effects: int | None, key: str):
    if n_effects is None:
        return cls()
    if "n_effects" not in inspect.signature(cls).parameters:
        raise UserError(f"{key}: {cls.__name__} takes no number of random effects, got {n_effects}")
    return cls(n_effects=n_effects)
