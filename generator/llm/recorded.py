"""RecordedClient: replies kept in a folder, one JSON file a question, and given again without asking anybody.

A question is found by the content id of the payload that went over the wire, its address and its repeat index; the same
question asked twice on purpose has two files. What is not the model's whole answer is never kept: errors of transport,
cut, filtered and empty replies; a later run asks again. Refusals are answers and are kept.

A folder belongs to one address in one mode, written down in `recording.json`, so that `replay:FOLDER` needs no more
than the folder: no key, no network, and no way to mix the replies of two models.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backtesting.errors import InvalidConfig, StorageError
from generator.llm.address import ModelAddress, parse_address
from generator.llm.client import MODES, CallFailed, Completion, CompletionRequest, LLMClient, Mode, Usage

VERSION = 1
HEAD = "recording.json"

PayloadId = Callable[[CompletionRequest], str]


class NotRecorded(CallFailed):
    """A question without a recorded reply, where nobody may be asked; the run is not what was recorded."""

    exit_code = 3


@dataclass(frozen=True)
class Recording:
    """A folder of replies of one address in one mode."""

    folder: Path
    address: str
    mode: Mode

    @classmethod
    def read(cls, folder: Path) -> "Recording":
        """The recording in `folder`. Raises InvalidConfig where there is none, or none that can be read."""
        head = folder / HEAD
        try:
            found = json.loads(head.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidConfig(
                f"there is no recording in {folder}: {HEAD}: {error.strerror}",
                next_step=f"make one with --llm 'record:{folder}->ADDRESS'",
            ) from None
        except (ValueError, RecursionError) as error:
            raise InvalidConfig(f"{head} is not JSON: {error}", next_step="restore the file") from None
        known = isinstance(found, dict) and found.get("v") == VERSION and found.get("mode") in MODES
        if not known or not isinstance(found.get("address"), str):
            raise InvalidConfig(f"{head} is no head of a recording", next_step="restore the file")
        return cls(folder, found["address"], found["mode"])

    @classmethod
    def open(cls, folder: Path, address: str, mode: Mode) -> "Recording":
        """The recording of `address` in `folder`, begun if there is none.

        Raises:
            InvalidConfig: the folder holds the replies of another address or mode.
        """
        if not (folder / HEAD).exists():
            recording = cls(folder, address, mode)
            recording._write(HEAD, {"v": VERSION, "address": address, "mode": mode})
            return recording
        found = cls.read(folder)
        if (found.address, found.mode) != (address, mode):
            raise InvalidConfig(
                f"{folder} holds replies of {found.address} in mode {found.mode}, not of {address} in mode {mode}",
                next_step="record into another folder",
            )
        return found

    def find(self, payload_id: str) -> Completion | None:
        """The reply to this question, free of charge; None where none was kept. Raises InvalidConfig if damaged."""
        file = self.folder / _name(payload_id)
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"{file} cannot be read: {error}", next_step="restore or delete the file") from None
        try:
            values: dict[str, Any] = json.loads(text)["completion"]
            usage = values.pop("usage")
            kept = Completion(**values, usage=Usage(**usage) if usage else None)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidConfig(
                f"{file} is no recorded reply: {error}", next_step="restore the file, or delete it and record again"
            ) from None
        if kept.payload_id != payload_id:
            raise InvalidConfig(
                f"{file} holds the reply to another question", next_step="restore the file, or delete it"
            )
        return replace(kept, free=True, latency_seconds=0.0, attempts=0)

    def keep(self, request: CompletionRequest, completion: Completion) -> None:
        """Keep a reply if it is a whole one."""
        if not worth_keeping(completion):
            return
        question = {
            "messages": [asdict(message) for message in request.messages],
            "purpose": request.purpose,
            "repeat_index": request.repeat_index,
        }
        self._write(
            _name(completion.payload_id), {"v": VERSION, "question": question, "completion": asdict(completion)}
        )

    def _write(self, name: str, value: dict[str, Any]) -> None:
        # Through a file beside it, so that a killed process leaves the whole reply or none.
        part = self.folder / f"{name}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n", encoding="utf-8", newline="\n")
            os.replace(part, self.folder / name)
        except OSError as error:
            raise StorageError(
                f"the recording {self.folder} cannot be written: {error.strerror}",
                kept="replies recorded before are kept",
                next_step="make room or record into another folder",
            ) from error


def worth_keeping(completion: Completion) -> bool:
    """Whether this is the model's whole answer: not cut, not filtered, not empty."""
    whole = completion.finish_reason not in ("length", "content_filter")
    return whole and bool((completion.text or "").strip() or completion.refusal)


class RecordedClient:
    """Gives recorded replies, asks the model behind where it may, or both.

    Args:
        address: as the user typed it; names the client in the archive.
        recording: where replies are looked up and kept.
        payload_id: of the model behind, so that a question has one id whether it is asked, kept or found.
        live: the model behind; None never asks.
        reuse: give a kept reply where there is one. Recording anew does not.
    """

    def __init__(
        self,
        address: ModelAddress,
        recording: Recording,
        payload_id: PayloadId,
        *,
        live: LLMClient | None = None,
        reuse: bool = True,
    ) -> None:
        self._address = address
        self._recording = recording
        self._payload_id = payload_id
        self._live = live
        self._reuse = reuse

    @property
    def address(self) -> str:
        """The model address in its one spelling."""
        return self._address.text

    def payload_id(self, request: CompletionRequest) -> str:
        """The id that the completion of `request` will carry; the same as that of the model behind."""
        return self._payload_id(request)

    async def complete(self, request: CompletionRequest) -> Completion:
        """The recorded reply, or that of the model behind. Raises NotRecorded where there is neither."""
        payload_id = self._payload_id(request)
        found = self._recording.find(payload_id) if self._reuse else None
        if found is not None:
            return found
        if self._live is None:
            raise NotRecorded(
                f"no recorded reply for prompt {payload_id} ({request.purpose}) in {self._recording.folder}",
                failure="not_found",
                attempts=0,
                next_step="record it with 'record:FOLDER->ADDRESS' (cut, filtered and empty replies are never kept),"
                " or undo what changed the prompt, the data or the settings",
            )
        answer = await self._live.complete(request)
        self._recording.keep(request, answer)
        return answer

    async def aclose(self) -> None:
        """Close the model behind."""
        if self._live is not None:
            await self._live.aclose()


def recorded_address(folder: Path) -> tuple[ModelAddress, Mode]:
    """The address and mode whose replies are in `folder`. Raises InvalidConfig."""
    recording = Recording.read(folder)
    return parse_address(recording.address), recording.mode


def _name(payload_id: str) -> str:
    return f"{payload_id.rpartition(':')[2]}.json"
