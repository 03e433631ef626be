"""The real client against a server that nobody here wrote: llama.cpp's, with the smallest of models (tiny_llm.py).

The schema is enforced by llama.cpp's grammar on the real wire schema, the key is checked, tokens are counted, and a cut
reply is called cut; nothing of the chain is ours but the client and the loop.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.archive.store import Archive
from backtesting.errors import TouchstoneError
from generator.config import RunConfig
from generator.extraction import extract
from generator.interfaces.cli.app import root_command
from generator.llm.address import parse_address
from generator.llm.client import CallFailed, Completion, CompletionRequest, Message
from generator.llm.openai_client import OpenAIClient
from generator.llm.secret import Secret
from generator.outputs import OUTPUTS

KEY = "tiny-0123456789abcdef"
# Of the workspace, in the place of the shipped ones: the shipped vocabulary is a long read for one borrowed core.
PROMPTS = {
    "propose": """\
---
id: propose
version: 1
purpose: Ask for a rule in few words.
inputs:
  costs: {type: text, description: What a trade costs., sample: 3 basis points a side}
  parents: {type: records, description: Rules to start from., sample: [], untrusted: true}
output: strategy-spec
sampling: {max_output_tokens: 400}
---
## user

A trade costs {{ costs }}. {% for parent in parents %}Start from {{ parent.spec | fence }}. {% endfor %}

Propose one rule.
""",
    "repair": """\
---
id: repair
version: 1
purpose: Give the errors back in few words.
inputs:
  reply: {type: text, description: The reply., sample: "{}", untrusted: true}
  errors: {type: records, description: What is wrong., sample: [], untrusted: true}
output: strategy-spec
sampling: {max_output_tokens: 400}
---
## user

You wrote {{ reply | fence }}. {% for error in errors %}Wrong: {{ error.message | fence }}. {% endfor %}

Write it again without the error.
""",
}
FORM = OUTPUTS["strategy-spec"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The model address of a running llama.cpp."""
    folder = tmp_path_factory.mktemp("llama")
    command = [sys.executable, str(Path(__file__).parent / "tiny_llm.py"), str(folder / "tiny.gguf"), KEY]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), (folder / "log").read_text()[-2000:]
        yield f"openai:tiny@{url}/v1"
        server.communicate()


def ask(address: str, *, mode: Any = "schema", key: str = KEY, **more: Any) -> Completion:
    async def call() -> Completion:
        client = OpenAIClient(parse_address(address), Secret(key), rng=np.random.default_rng(1), mode=mode)
        values = {"max_output_tokens": 400, "schema": FORM.schema, "schema_name": FORM.schema_name} | more
        try:
            return await client.complete(CompletionRequest((Message("user", "Propose one rule."),), **values))
        finally:
            await client.aclose()

    return asyncio.run(call())


def cli(*argv: str) -> int:
    try:
        root_command()(list(argv), standalone_mode=False)
    except TouchstoneError as error:
        return error.exit_code
    return 0


def test_the_servers_grammar_keeps_the_wire_schema_against_the_models_will(address: str) -> None:
    answer = ask(address, seed=1)
    assert answer.finish_reason == "stop"
    assert answer.text is not None
    assert answer.text.startswith("{")
    found = json.loads(answer.text)
    assert list(found) == list(FORM.schema["properties"])
    # The opening, a name, the rule's head, a function, window, level, the middle, window, level and the end; and EOS.
    assert answer.usage is not None
    assert answer.usage.output_tokens == 11


def test_without_the_schema_the_same_model_talks_until_it_is_cut(address: str) -> None:
    answer = ask(address, mode="text", max_output_tokens=12, seed=1, temperature=0.0)
    # Greedy, it says its likeliest phrase for ever.
    assert answer.text is not None
    assert answer.text.split() == ["Well,"] * 12
    assert answer.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 12


def test_in_json_mode_the_reply_is_json(address: str) -> None:
    answer = ask(address, mode="json", max_output_tokens=400, seed=3)
    assert answer.text is not None
    assert answer.text.strip().startswith(("{", "["))


def test_a_wrong_key_stops_the_run_and_is_not_repeated(address: str) -> None:
    with pytest.raises(CallFailed) as caught:
        ask(address, key="sk-of-somebody-else-000")
    assert (caught.value.status, caught.value.stops_run, caught.value.attempts) == (401, True, 1)
    assert not caught.value.charged
    assert "sk-of-somebody-else" not in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)


def test_doctor_finds_out_what_llama_cpp_keeps(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert cli("doctor", "--llm", address, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answers = {event["name"]: event["answer"] for event in events if event["event"] == "probe"}
    assert answers == {
        "schema_enforced": "yes",
        "cap_honoured": "yes",
        "finish_reason_truthful": "yes",
        "temperature_accepted": "yes",
        "seed_accepted": "yes",
        "refusal_field": "no",
        "usage_present": "yes",
    }
    assert [event["mode"] for event in events if event["event"] == "probed"] == ["schema"]


def test_a_run_on_it_proposes_repairs_evaluates_and_is_judged(
    address: str, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "prompts").mkdir()
    for name, text in PROMPTS.items():
        (tmp_path / "prompts" / f"{name}.md").write_text(text)
    assert cli("prompts", "lint", *PROMPTS) == 0
    argv = ("--market", kit.MARKET, "--llm", address, "--arms", "llm=1", "--slots", "12", "--seed", "5")
    assert cli("evolve", *argv, "--max-tokens", "9000000") == 0
    capsys.readouterr()
    assert cli("runs", "report", "last", "--out", str(tmp_path / "report.html")) == 0
    with Archive.open(tmp_path / "touchstone.db") as archive:
        (run,) = archive.runs()
        assert RunConfig.model_validate(run.config["config"]).llm == address
        assert archive.run_state(run.run_id) == "finished"
        origins = Counter(candidate.origin for candidate in archive.candidates(run.run_id))
        proposals = [p for slot in archive.slots(run.run_id) for p in archive.proposals(slot.slot_id)]
        spend = archive.spend(run.run_id)
    # Nobody but the model proposed; one in four of its first replies names a function that is not there.
    assert set(origins) <= {"llm", "repaired"}
    first = [proposal for proposal in proposals if proposal.attempt == 0]
    assert len(first) == 12
    n_legal = sum("rsii(" not in (proposal.reply or "") for proposal in first)
    assert origins["llm"] == n_legal
    assert all(not isinstance(extract(proposal.reply or ""), Exception) for proposal in proposals)
    assert spend.calls == len(proposals)
    assert spend.tokens == sum(
        proposal.usage["input_tokens"] + proposal.usage["output_tokens"] for proposal in proposals if proposal.usage
    )
    # A server that honours the seed is asked with another one for each slot, and does not repeat itself.
    assert len({proposal.reply for proposal in first}) >= 10
    page = (tmp_path / "report.html").read_text()
    assert f"{n_legal} of 12 " in page  # legal at first, with its interval
