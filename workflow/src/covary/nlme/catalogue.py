"""The structural models that a configuration can name."""

from covary import plugins
from covary.errors import UserError
from covary.nlme.model import ClosedFormModel, OdeModel
from covary.nlme.models import IndirectResponse, OneCompartmentOral, SaturableElimination
from covary.nlme.neural import LatentRecord, NeuralElimination, NeuralIndirectResponse

SHIPPED: dict[str, type[OdeModel] | type[ClosedFormModel]] = {
    "saturable_elimination": SaturableElimination,
    "one_compartment_oral": OneCompartmentOral,
    "indirect_response": IndirectResponse,
    "neural_indirect_response": NeuralIndirectResponse,
    "neural_elimination": NeuralElimination,
    "latent_record": LatentRecord,
}
_KEY = "longitudinal.model"


def load_model(name: str) -> OdeModel | ClosedFormModel:
    """A shipped model by its name, or the class of a Python file by `path/to/file.py:ClassName`.

    Raises UserError if there is no such model, file or class, or the class is not a complete model.
    """
    file = plugins.file_of(name)
    if file is None:
        if name not in SHIPPED:
            raise UserError(
                f"{_KEY}: must be one of {', '.join(SHIPPED)} or my_model.py:MyModel, got {name!r}"
            )
        return SHIPPED[name]()
    cls = plugins.load_class(name, (OdeModel, ClosedFormModel), _KEY)
    missing = sorted(getattr(cls, "__abstractmethods__", ())) + [
        attribute for attribute in ("fixed_effects", "random_effects") if not hasattr(cls, attribute)
    ]
    if missing:
        raise UserError(f"{_KEY}: {cls.__name__} in {file} must define {', '.join(missing)}")
    return cls()
