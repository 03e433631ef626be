"""The bench itself: `prompts lint`, `try`, `keep` and `watch`. Nothing here asks a model or costs anything."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from agents.archive.records import Call
from agents.archive.store import Archive
from agents.data_fetch.data_fetch import fetch_bars
from backtesting.errors import InvalidConfig, StorageError, UsageError
from backtesting.splits import plan_split
from generator.calls import completion_from
from generator.config import CARD
from generator.interfaces.cli import workspace
from generator.interfaces.cli.backtest import count_trial
from generator.interfaces.cli.output import Output, number, percent, plain
from generator.interfaces.cli.prompt_files import find, path_of
from generator.prompt_lint import Bench, Finding, fixed, lint
from generator.replies import (
    STAGES,
    SUFFIX,
    Followed,
    StoredReply,
    bench_window,
    follow,
    read_stored,
    stored_replies,
    stored_text,
)
from generator.templates import (
    load_prompt,
    prompt_folders,
    prompt_names,
    read_prompt,
    read_text,
    render,
)

POLL_SECONDS = 0.3
SHOWN_CALLS = 20

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout.")]
Ref = Annotated[str, typer.Argument(help="A prompt's id, shipped:ID, or the path of a file.")]


def lint_(
    names: Annotated[list[str] | None, typer.Argument(help="Prompts; all of them if left out.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Put right what is safe to put right, in your own files.")] = False,
    market: Annotated[
        str | None, typer.Option(help="Look for the dates of this market only, and use its vocabulary.")
    ] = None,
    json_lines: Json = False,
) -> None:
    """What is wrong with a prompt, by line, column and rule; exit code 8 if anything is."""
    output = Output.from_environment(json_lines=json_lines)
    bench = _bench(market)
    found: list[Finding] = []
    paths = [path_of(name) for name in names or prompt_names(workspace.folders())]
    for path in paths:
        if fix:
            _fix(path, output)
        found += _linted(path, bench)
    show_findings(found, output)
    output.event("linted", files=len(paths), findings=len(found))
    if found:
        n_fixable = sum(finding.fixable for finding in found)
        hint = f", {n_fixable} of them can be put right with --fix" if n_fixable else ""
        prompts = f"{len(paths)} prompt{'s' if len(paths) > 1 else ''}"
        output.line(f"{len(found)} finding{'s' if len(found) > 1 else ''} in {prompts}{hint}.")
        raise typer.Exit(8)
    output.line(f"{len(paths)} prompt{'s' if len(paths) > 1 else ''}, nothing found.", style="green")


def try_(
    name: Ref,
    reply: Annotated[
        Path | None, typer.Option(help="File with the text of a reply, or a kept one; without it all its tests.")
    ] = None,
    market: Annotated[
        str | None, typer.Option(help="Trade it on this market's open window: a look that is counted.")
    ] = None,
    json_lines: Json = False,
) -> None:
    """Take stored replies through parse, schema, language, compilation and backtest; nothing is sent or spent."""
    output = Output.from_environment(json_lines=json_lines)
    prompt = find(name)
    replies = [read_stored(reply)] if reply is not None else list(stored_replies(prompt, kept_folder()))
    if not replies:
        raise UsageError(
            f"the prompt {prompt.id!r} has no tests", next_step="give a reply with --reply, or add tests to the file"
        )
    bars = None if market is None else fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    window = bench_window(bars)
    failed = 0
    for stored in replies:
        followed = follow(prompt, stored.completion, window, prompt.samples)
        if bars is not None and followed.spec is not None and followed.result is not None:
            count_trial(bars, followed.spec, followed.result, "open")
        failed += not (followed.keeps(stored) if stored.leads_to else followed.through)
        show_followed(stored, followed, output, whole=reply is not None)
    if failed:
        if reply is None:
            output.line(f"{failed} of {len(replies)} replies do not lead where their tests say.", style="red")
        raise typer.Exit(8)


def keep(
    call: Annotated[int | None, typer.Argument(help="Number of a call; without it the last calls are listed.")] = None,
    json_lines: Json = False,
) -> None:
    """Turn the stored reply of a paid call into a test of its prompt, with what it leads to today."""
    output = Output.from_environment(json_lines=json_lines)
    with workspace.opened() as archive:
        calls = archive.calls()
        if call is None:
            _list_calls(archive, calls[-SHOWN_CALLS:], output)
            return
        found = next((one for one in calls if one.call_id == call), None)
        if found is None or found.reply is None or found.status != "settled":
            what = "there is no call" if found is None else f"no reply came back ({found.status}) from call"
            raise UsageError(f"{what} {call}", next_step="see the calls with touchstone prompts keep")
        prompt_id = _prompt_of(archive, found)
        completion = completion_from(found.reply)
    if not prompt_id:
        raise StorageError(f"call {call} does not say which prompt was sent", next_step="choose another call")
    prompt = load_prompt(prompt_id, workspace.folders())
    followed = follow(prompt, completion, bench_window(), prompt.samples)
    file = kept_folder() / prompt_id / f"call-{call}{SUFFIX}"
    file.parent.mkdir(parents=True, exist_ok=True)
    origin = {"call": call, "run": found.run_id, "slot": found.slot_id, "purpose": found.purpose}
    file.write_text(stored_text(completion, followed, origin), encoding="utf-8", newline="\n")
    output.event("kept", call=call, prompt=prompt_id, path=str(file), leads_to=followed.leads_to)
    output.line(f"{file}: a test of {prompt_id} that leads to {followed.leads_to}.")


def watch(
    names: Annotated[list[str] | None, typer.Argument(help="Prompts; your own ones if left out.")] = None,
    json_lines: Json = False,
) -> None:
    """Lint, render and test prompts again whenever their file changes; Ctrl-C ends it."""
    output = Output.from_environment(json_lines=json_lines)
    own = workspace.home() / "prompts"
    bench = _bench(None)

    def watched() -> list[Path]:
        return [path_of(name) for name in names] if names else [own / f"{name}.md" for name in prompt_names([own])]

    if not watched():
        raise UsageError(f"there is no prompt in {own}", next_step="begin one: touchstone prompts new breakout")
    output.note(f"watching {len(watched())} prompts; Ctrl-C ends it")
    for path in changes(watched, time.sleep):
        _look_again(path, bench, output)


def changes(watched: Callable[[], Sequence[Path]], sleep: Callable[[float], None]) -> Iterator[Path]:
    """Every watched file once, then each again when its time or size changes; never ends by itself."""
    seen: dict[Path, tuple[int, int] | None] = {}
    while True:
        for path in watched():
            mark = _mark(path)
            if path not in seen or (mark != seen[path] and mark is not None):
                yield path
            seen[path] = mark
        sleep(POLL_SECONDS)


def show_findings(found: Sequence[Finding], output: Output) -> None:
    """A line each."""
    for finding in found:
        output.event("finding", **finding.as_dict())
        output.line(plain(str(finding)))


def show_followed(stored: StoredReply, followed: Followed, output: Output, *, whole: bool) -> None:
    """Where a reply led; stage by stage where `whole` is wanted."""
    metrics = dict(followed.result.metrics) if followed.result is not None else None
    kept = followed.keeps(stored)
    output.event(
        "reply",
        name=stored.name,
        leads_to=followed.leads_to,
        stage=followed.stage,
        sentence=followed.sentence,
        excerpt=list(followed.excerpt),
        expected=stored.leads_to or None,
        as_expected=kept,
        spec_id=followed.spec.spec_id if followed.spec else None,
        metrics=metrics,
    )
    if not whole:
        word, style = ("ok", "green") if kept else ("NOT AS EXPECTED", "red")
        sentence = f": {followed.sentence}" if followed.sentence else ""
        output.line(plain(f"{word}  {stored.name}: {followed.leads_to}{sentence}"), style=style)
        return
    reached = STAGES.index(followed.stage)
    for stage in STAGES[: reached + followed.through]:
        output.line(f"ok    {stage}", style="green")
    if not followed.through:
        output.line(plain(f"STOP  {followed.stage}: {followed.leads_to}: {followed.sentence}"), style="red")
        for line in followed.excerpt:
            output.line("      " + plain(line))
    if metrics is not None and followed.spec is not None:
        output.line(
            f"{plain(followed.spec.name, 48)}: Sharpe {number(metrics.get('sharpe_ratio'))} after costs, in the market"
            f" {percent(metrics.get('exposure'), 0)} of the time. One look is no verdict."
        )


def kept_folder() -> Path:
    """Where kept replies are, a folder a prompt."""
    return workspace.home() / "prompts" / "replies"


def _bench(market: str | None) -> Bench:
    card = load_prompt(CARD, workspace.folders())
    if market is None:
        return Bench(bench_window(), card)
    bars = fetch_bars(market, cache_dir=workspace.home() / "snapshots")
    split = plan_split(bars)
    years = [int(str(bars.sessions[at])[:4]) for at in (split.open.start, split.sealed.stop - 1)]
    return Bench(bench_window(bars), card, (years[0], years[1]))


def _linted(path: Path, bench: Bench) -> tuple[Finding, ...]:
    try:
        return lint(path, read_text(path), bench, kept_folder())
    except InvalidConfig as error:
        # A file that is no text at all, or that cannot be read.
        return (Finding(path, 1, 1, "broken", error.what),)


def _fix(path: Path, output: Output) -> None:
    if prompt_folders()[0] in path.absolute().parents:
        output.note(f"{path} is a shipped prompt and stays as it is; copy it with touchstone prompts new")
        return
    text = read_text(path)
    better = fixed(path, text)
    if better != text:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(better, encoding="utf-8", newline="\n")
        os.replace(part, path)
        output.event("fixed", file=str(path))
        output.note(f"{path} was put right")


def _look_again(path: Path, bench: Bench, output: Output) -> None:
    found = _linted(path, bench)
    output.line(f"--- {path}", style="bold")
    show_findings(found, output)
    try:
        prompt = read_prompt(path)
    except InvalidConfig:
        return  # the findings above say why
    for message in render(prompt, prompt.samples):
        output.event("message", role=message.role, content=message.content)
        output.line(f"{message.role}: {len(message.content):,} characters")
    for stored in stored_replies(prompt, kept_folder()):
        show_followed(stored, follow(prompt, stored.completion, bench.window, prompt.samples), output, whole=False)
    output.line(
        "clean" if not found else f"{len(found)} finding{'s' if len(found) > 1 else ''}",
        style="red" if found else "green",
    )


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None  # an editor that writes a file anew takes it away for a moment
    return found.st_mtime_ns, found.st_size


def _list_calls(archive: Archive, calls: Sequence[Call], output: Output) -> None:
    rows = []
    for call in calls:
        prompt = _prompt_of(archive, call)
        output.event("call", call=call.call_id, slot=call.slot_id, prompt=prompt, status=call.status)
        text = json.loads(call.reply).get("text") if call.reply else None
        row = (str(call.call_id), call.slot_id or "", call.purpose, prompt or "", call.status, plain(text or "", 60))
        rows.append(row)
    output.table("Calls", ("call>", "slot", "purpose", "prompt", "state", "reply"), rows)
    output.line("Keep one: touchstone prompts keep CALL")


def _prompt_of(archive: Archive, call: Call) -> str | None:
    if call.slot_id is None:
        return None
    for proposal in archive.proposals(call.slot_id):
        if proposal.attempt == call.attempt and proposal.template_id:
            return proposal.template_id.partition("@")[0]
    return None
