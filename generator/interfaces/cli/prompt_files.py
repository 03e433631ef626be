"""Which file an argument of `touchstone prompts` names: a prompt's id, `shipped:ID`, or the path of a file."""

from pathlib import Path

from generator.interfaces.cli import workspace
from generator.templates import Prompt, prompt_folders, prompt_path, read_prompt


def find(ref: str) -> Prompt:
    """The prompt that an argument names. Raises InvalidConfig."""
    return read_prompt(path_of(ref))


def path_of(ref: str) -> Path:
    """Its file, whatever is in it. Raises InvalidConfig."""
    if ref.endswith(".md"):
        return Path(ref)
    if ref.startswith("shipped:"):
        return prompt_path(ref.removeprefix("shipped:"), prompt_folders())
    return prompt_path(ref, workspace.folders())
