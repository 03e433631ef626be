"""ManualClient: a person carries the prompt to any chat window and the reply back. A model without an API.

Each question is one file, exactly the text to paste; the reply is a file beside it that the person saves. Questions
are named by their content, so Ctrl-C loses nothing: the same question of the resumed run is the same file, and a reply
that was saved in between is read at once. One question is shown at a time, however many wait.

No schema can be enforced in a chat window; the prompt describes the form, and the validator is as strict as ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from backtesting.errors import StorageError
from generator.llm.client import CallFailed, Completion, CompletionRequest, payload_id_of, storable

MODEL = "manual"
POLL_SECONDS = 1.0
WAIT_SECONDS = 24 * 3600.0
MAX_REPLY_BYTES = 256_000
RULE = "-" * 78


class ManualClient:
    """The client for `manual:FOLDER`.

    Args:
        folder: where the prompts go and the replies come from; made if it is not there.
        show: puts text on the person's screen.
        wait_seconds: how long one question waits for its reply.
        clock, sleep: monotonic seconds, and waiting between two looks at the file; replaced in tests.
    """

    def __init__(
        self,
        folder: Path,
        *,
        show: Callable[[str], None],
        wait_seconds: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._folder = folder
        self._show = show
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._sleep = sleep
        self._screen = asyncio.Lock()

    @property
    def address(self) -> str:
        """`manual:` and the folder."""
        return f"manual:{self._folder}"

    def payload_id(self, request: CompletionRequest) -> str:
        """The id that the completion will carry."""
        # Without the folder: whoever moves it finds the replies again.
        payload = request.payload(MODEL, mode="text")
        return payload_id_of(payload, address="manual", repeat_index=request.repeat_index)

    async def complete(self, request: CompletionRequest) -> Completion:
        """The reply that a person saved. Raises CallFailed after `wait_seconds`; the prompt stays where it is."""
        payload_id = self.payload_id(request)
        stem = f"{payload_id.rpartition(':')[2][:16]}-{request.purpose}"
        prompt, reply = self._folder / f"{stem}.prompt.md", self._folder / f"{stem}.reply.md"
        text = prompt_text(request)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            prompt.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise StorageError(
                f"the prompt cannot be written to {prompt}: {error.strerror}", next_step="choose another folder"
            ) from error
        async with self._screen:
            began = self._clock()
            said = await self._saved(reply, prompt, text)
        return Completion(
            text=storable(said),
            refusal=None,
            finish_reason="stop",
            usage=None,
            model=MODEL,
            latency_seconds=self._clock() - began,
            attempts=1,
            payload_id=payload_id,
            raw_body=storable(said),
            free=True,
        )

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _saved(self, reply: Path, prompt: Path, text: str) -> str:
        """The text of the reply file, once it is there and has stopped growing."""
        before, complained = _look(reply), None
        if before is None:
            self._show(
                f"{RULE}\n{text}\n{RULE}\nPaste the text between the lines ({prompt}) into any chat window, and save"
                f" the answer as {reply}. Ctrl-C is safe; --resume waits for the same answer."
            )
        until = self._clock() + self._wait_seconds
        first = before is not None
        while self._clock() < until:
            now = _look(reply)
            # An editor may still be writing: the file has to look the same twice, unless it was there from the start.
            if now is not None and (first or now == before) and now != complained:
                said = _read(reply)
                if said is not None:
                    return said
                complained = now
                self._show(f"{reply} is not UTF-8 text of at most {MAX_REPLY_BYTES:,} bytes; save it again")
            before, first = now, False
            await self._sleep(POLL_SECONDS)
        raise CallFailed(
            f"no reply was saved as {reply} within {self._wait_seconds / 3600:g} hours",
            failure="timeout",
            charged=False,
            stops_run=True,
            kept=f"the prompt is in {prompt}",
            next_step="save the reply there and continue with --resume",
        )


def prompt_text(request: CompletionRequest) -> str:
    """The conversation as one text to paste: the two messages of a question without ornament, longer ones labelled."""
    messages = request.messages
    if len(messages) <= 2:
        return "\n\n".join(message.content.strip() for message in messages) + "\n"
    labels = {"system": "Instructions", "user": "We wrote", "assistant": "You wrote"}
    parts = [f"[{labels[message.role]}]\n{message.content.strip()}" for message in messages]
    return "\n\n".join([*parts, "[Write your next answer]"]) + "\n"


def _look(file: Path) -> tuple[int, int] | None:
    """Size and time of a file that holds something, else None."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return (stat.st_size, stat.st_mtime_ns) if stat.st_size > 0 else None


def _read(file: Path) -> str | None:
    try:
        data = file.read_bytes()
        return data.decode("utf-8-sig") if len(data) <= MAX_REPLY_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
