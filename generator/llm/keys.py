"""Keys: where the key for a model comes from: the environment, else the keyring of the operating system.

Never a file of ours, a configuration or the command line. In the environment the key stands under the variable that its
provider's own tools read. In the keyring it is an entry of the service `touchstone`, under the same name for a vendor,
under the *host* for any other server: a key that was stored for one is never sent to another because an address was
typed. The keyring is asked last, and not for a server on this machine: asking may put a question on the screen.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from backtesting.errors import EndpointError
from generator.llm.address import KEY_VARIABLE, ModelAddress
from generator.llm.secret import Secret, one_line

SERVICE = "touchstone"
NO_KEY = Secret("not-needed")

Keyring = Callable[[str], str | None]
"""The stored secret of a name in the service `touchstone`, or None."""


@dataclass(frozen=True)
class FoundKey:
    """A key, and in words where it was found."""

    secret: Secret
    origin: str


def no_keyring(name: str) -> str | None:
    """For programs that give the key themselves, and for tests."""
    return None


def system_keyring(name: str) -> str | None:
    """What the operating system keeps for us under `name`; None without an entry, a keyring, or the package for it.

    Raises EndpointError where there is a keyring that does not answer, as a locked one.
    """
    try:
        import keyring
        from keyring.errors import NoKeyringError
    except ImportError:
        return None
    try:
        stored: str | None = keyring.get_password(SERVICE, name)
    except NoKeyringError:
        return None
    # The one border where anything may come: each system's keyring raises what its own bus or library does.
    except Exception as error:
        raise EndpointError(
            f"the system's keyring did not answer for {name}: {type(error).__name__}: {one_line(str(error))}",
            next_step="unlock it, or set the key in the environment",
        ) from None
    return stored


def find_key(
    address: ModelAddress, environ: Mapping[str, str], keyring: Keyring = no_keyring, *, variable: str = KEY_VARIABLE
) -> FoundKey | None:
    """The key for `address`, None where there is none.

    Args:
        variable: under which it stands in the environment.

    Raises EndpointError where what was found cannot be a key; the message never holds it.
    """
    text, origin = environ.get(variable, "").strip(), f"the environment ({variable})"
    if not text and not address.is_loopback:
        name = keyring_name(address, variable)
        text, origin = (keyring(name) or "").strip(), f"the system's keyring ({SERVICE}, {name})"
    if not text:
        return None
    # A header cannot carry other characters, and the HTTP library would quote the key in its complaint.
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise EndpointError(
            f"what stands in {origin} holds white space or characters outside ASCII, so it is no key",
            next_step="copy the key again, in one piece",
        )
    return FoundKey(Secret(text), origin)


def api_key(address: ModelAddress, environ: Mapping[str, str], keyring: Keyring = no_keyring) -> Secret:
    """The key for `address`; NO_KEY for a server on this machine that has none.

    Raises EndpointError where a key is needed and missing, or cannot be a key; the message never holds it.
    """
    found = find_key(address, environ, keyring)
    if found is not None:
        return found.secret
    if address.is_loopback:
        return NO_KEY
    raise EndpointError(
        f"{KEY_VARIABLE} is not set, and {address.text} needs a key",
        next_step=(
            f"set {KEY_VARIABLE} in the environment, or keep the key in the system's keyring"
            f" (keyring set {SERVICE} {keyring_name(address)}), or use --llm none"
        ),
    )


def keyring_name(address: ModelAddress, variable: str = KEY_VARIABLE) -> str:
    """Under which name the key for this address stands in the keyring."""
    if address.is_vendor or not address.base_url:
        return variable
    return urlsplit(address.base_url).netloc
