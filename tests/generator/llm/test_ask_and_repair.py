"""One question over a real socket and back: prompt, call, extraction, validation, repair."""

import asyncio
import json
from typing import Any

import numpy as np

from agents.strategy.wire import WIRE_SCHEMA, WIRE_SCHEMA_NAME, from_wire
from generator.extraction import ExtractionError, extract, judge_completion
from generator.llm.address import parse_address
from generator.llm.client import Completion, CompletionRequest
from generator.llm.clients import Settings, open_client
from generator.templates import load_prompt, prompt_folders, render

PROPOSE = load_prompt("propose", prompt_folders())
REPAIR = load_prompt("repair", prompt_folders())
GOOD = json.loads(PROPOSE.samples["example"])
BAD = {**GOOD, "rule": {**GOOD["rule"], "long": {"enter": "close > smaa(close, 100)", "exit": None}}}


def ask(server: Any, prompt: Any, inputs: dict[str, Any], purpose: str) -> Completion:
    request = CompletionRequest(
        messages=render(prompt, inputs),
        max_output_tokens=prompt.sampling.max_output_tokens,
        temperature=prompt.sampling.temperature,
        schema=WIRE_SCHEMA,
        schema_name=WIRE_SCHEMA_NAME,
        purpose=purpose,
    )

    async def call() -> Completion:
        address = parse_address(f"openai:tiny@{server.base_url}")
        client = open_client(address, Settings(environ={}, rng=np.random.default_rng(1)))
        answer = await client.complete(request)
        await client.aclose()
        return answer

    return asyncio.run(call())


def test_illegal_spec_goes_back_with_its_errors_and_comes_back_legal(chat_server: Any) -> None:
    chat_server.add(chat_server.says(json.dumps(BAD)), chat_server.says(f"```json\n{json.dumps(GOOD)}\n```"))

    first = ask(chat_server, PROPOSE, PROPOSE.samples, "propose")
    assert judge_completion(first) is None
    reply = extract(first.text or "")
    assert not isinstance(reply, ExtractionError)
    errors = from_wire(reply)
    assert isinstance(errors, list)

    inputs = {**REPAIR.samples, "reply": first.text, "errors": [error.as_dict() for error in errors]}
    second = ask(chat_server, REPAIR, inputs, "repair")
    fixed = extract(second.text or "")
    assert not isinstance(fixed, ExtractionError)
    assert not isinstance(from_wire(fixed), list)

    sent = [json.dumps(received.body) for received in chat_server.requests]
    assert len(sent) == 2
    assert "smaa" not in sent[0]
    assert "did you mean" in sent[1]
    # The conversation is replaced, not appended to: the second question does not carry the first one along.
    assert "Propose one rule" not in sent[1]
    schema = chat_server.requests[0].body["response_format"]["json_schema"]
    assert schema["name"] == WIRE_SCHEMA_NAME
    assert next(iter(schema["schema"]["properties"])) == "hypothesis"


def test_cut_and_refused_replies_are_not_read(chat_server: Any) -> None:
    half = json.dumps(GOOD)[:-40]
    chat_server.add(chat_server.says(half, finish_reason="length"), chat_server.says(None, refusal="No advice."))
    codes = []
    for _ in range(2):
        judged = judge_completion(ask(chat_server, PROPOSE, PROPOSE.samples, "propose"))
        assert judged is not None
        codes.append(judged.code)
    assert codes == ["truncated", "refusal"]
