"""The templates of the report's pages."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Templates beside this file; text is escaped, and a name that is not defined is an error."""
    return Environment(
        loader=PackageLoader("covary.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
