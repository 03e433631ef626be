"""The package that proposes: prompts in, candidates out, and one loop that brings them before the gate.

`generate_updated_agent` is the short way to one new agent. It is loaded when it is asked for, because importing this
package has to be cheap: `touchstone --help` does it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generator.updated_agent import generate_updated_agent

__all__ = ["generate_updated_agent"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from generator import updated_agent

        return getattr(updated_agent, name)
    raise AttributeError(f"module 'generator' has no attribute {name!r}")
