"""Each way in which an endpoint or a reply can be bad: how its slot ends, in which class and words, and what stays.

The rows are those of the list of faults that the project is measured by; L is the endpoint, P the payload.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agents.archive.store import Archive
from backtesting.errors import EndpointError
from generator.llm.patience import Patience
from generator.llm.scripted import ScriptedClient, completion

OUT = "rsi(close, 3) > 60"
IN = "rsi(close, 3) < 30"
# Short where the server keeps silent; where it answers, a busy machine must not look like a silent server.
SHORT = Patience(max_attempts=4, attempt_seconds=0.2, deadline_seconds=60.0)
ROOMY = Patience(max_attempts=4, attempt_seconds=30.0, deadline_seconds=120.0)


def one_slot(kit: Any, archive: Archive, server: Any = None) -> Any:
    more = {} if server is not None else {"llm": "scripted:memory", "arms": {"llm": 1.0}}
    return kit.open_(kit.settings(server, slots=1, **more), archive)


def ending(archive: Archive, run: Any) -> tuple[str, str, str]:
    """State, class and sentence of the only slot; no class where it was not rejected."""
    slot_id = f"{run.run_id}/0000"
    ends = [event.data for event in archive.events(run.run_id, slot_id) if event.kind == "rejected"]
    state = archive.slot_states(run.run_id)[slot_id]
    return (state, ends[0]["code"], ends[0]["reason"]) if ends else (state, "", "")


# --- the endpoint ----------------------------------------------------------------------------------------------------

Answer = Callable[[Any, Any], Any]
# Row, what the server always answers, words of the error, requests that were sent.
STOPPING: list[tuple[str, Answer, str, int]] = [
    ("L01 400", lambda s, k: s.status(400, "response_format is unknown"), "use --llm-mode json", 1),
    ("L02 401", lambda s, k: s.status(401), "127.0.0.1", 1),
    ("L02 key", lambda s, k: s.status(401), "the key was rejected", 1),
    ("L03 403", lambda s, k: s.status(403), "may use this model, and your region", 1),
    ("L04 404", lambda s, k: s.status(404), "tiny at 127.0.0.1", 1),
    ("L07 422", lambda s, k: s.status(422, "odd body"), "HTTP 422, the request was not taken: odd body", 1),
    ("L12 quota", lambda s, k: s.status(429, error_code="insufficient_quota"), "out of credit", 1),
]


@pytest.mark.parametrize(("answer", "words", "n_sent"), [r[1:] for r in STOPPING], ids=[r[0] for r in STOPPING])
def test_what_every_call_would_get_stops_the_run_and_keeps_the_slot(
    answer: Answer, words: str, n_sent: int, kit: Any, chat_server: Any, archive: Archive
) -> None:
    chat_server.always(answer(chat_server, kit))
    run = one_slot(kit, archive, chat_server)
    with pytest.raises(EndpointError) as stopped:
        kit.go(run)
    assert stopped.value.exit_code == 5
    assert words in str(stopped.value)
    assert "everything done so far is saved" in str(stopped.value)
    assert len(chat_server.requests) == n_sent
    assert ending(archive, run) == ("prompted", "", "")
    (call,) = archive.calls(run.run_id)
    assert (call.status, call.cost_usd) == ("failed", 0.0)
    assert "error" in (call.reply or "")  # what the server said is in the books


# Row, what the server always answers, class, words, requests, and how many questions the books hold as (settled,
# failed); text that must be found in what was kept.
ENDING: list[tuple[str, Answer, str, str, int, tuple[int, int], str]] = [
    ("L05 408", lambda s, k: s.status(408), "transport", "HTTP 408", 4, (0, 1), "error"),
    ("L06 409", lambda s, k: s.status(409), "transport", "HTTP 409", 4, (0, 1), "error"),
    ("L09 429", lambda s, k: s.status(429), "rate_limited", "too many requests", 4, (0, 1), "error"),
    ("L13 500", lambda s, k: s.status(500, "oh no"), "transport", "HTTP 500: oh no", 4, (0, 1), "oh no"),
    ("L13 529", lambda s, k: s.status(529), "transport", "HTTP 529", 4, (0, 1), "error"),
    ("L14 reset", lambda s, k: s.reset(), "transport", "check the network", 4, (0, 1), ""),
    ("L15 hang", lambda s, k: s.hang(), "timeout", "no answer within 0.2 s", 2, (0, 1), ""),
    ("L16 drip", lambda s, k: s.drip(), "timeout", "no answer within 0.2 s", 2, (0, 1), ""),
    ("L21 null", lambda s, k: s.says(None), "empty_reply", "the model wrote nothing", 2, (2, 0), "tiny-1"),
    ("L21 empty", lambda s, k: s.says(" \n"), "empty_reply", "the model wrote nothing", 2, (2, 0), "tiny-1"),
    ("L22 refusal", lambda s, k: s.says(None, refusal="No advice."), "refusal", "No advice.", 1, (1, 0), "No advice."),
    (
        "L23 length",
        lambda s, k: s.says(k.reply(0)[:-9], finish_reason="length"),
        "truncated",
        "the half was not read",
        2,
        (2, 0),
        "idea_0",
    ),
    (
        "L24 filter",
        lambda s, k: s.says(k.reply(0), finish_reason="content_filter"),
        "content_filter",
        "content filter stopped",
        1,
        (1, 0),
        "idea_0",
    ),
    ("L26 bytes", lambda s, k: s.raw(b'{"choices": "\xff"}'), "protocol", "its body is not UTF-8", 1, (0, 1), "\xff"),
    (
        "L29 tools",
        lambda s, k: s.says(None, finish_reason="tool_calls"),
        "empty_reply",
        "called a tool instead of writing; none was offered, and nothing was executed",
        2,
        (2, 0),
        "tool_calls",
    ),
    ("L31 half", lambda s, k: s.half(), "transport", "no connection", 4, (0, 1), ""),
]


@pytest.mark.parametrize(
    ("answer", "code", "words", "n_sent", "books", "kept"), [r[1:] for r in ENDING], ids=[r[0] for r in ENDING]
)
def test_bad_answer_ends_its_slot_in_its_class(
    answer: Answer,
    code: str,
    words: str,
    n_sent: int,
    books: tuple[int, int],
    kept: str,
    kit: Any,
    chat_server: Any,
    archive: Archive,
) -> None:
    chat_server.always(answer(chat_server, kit))
    run = one_slot(kit, archive, chat_server)
    kit.go(run, client=kit.client_of(run, SHORT if code == "timeout" else ROOMY))
    state, found, sentence = ending(archive, run)
    assert (state, found) == ("rejected", code)
    assert words in sentence
    if code == "timeout":
        # On a busy machine the time may be up before the server has seen a request; our own count is exact.
        (end,) = [event.data for event in archive.events(run.run_id) if event.kind == "rejected"]
        assert end["detail"]["attempts"] == n_sent >= len(chat_server.requests)
    else:
        assert len(chat_server.requests) == n_sent
    calls = archive.calls(run.run_id)
    assert tuple(sum(call.status == status for call in calls) for status in ("settled", "failed")) == books
    assert kept in (calls[0].reply or "")
    # Every reply that came is a proposal; what was no reply is none.
    assert len(archive.proposals(f"{run.run_id}/0000")) == books[0]
    assert archive.candidates(run.run_id) == ()
    assert archive.trials(run.run_id) == ()


def test_l08_server_that_asks_for_two_seconds_gets_them(kit: Any, chat_server: Any, archive: Archive) -> None:
    chat_server.add(chat_server.status(429, retry_after="2"), chat_server.says(kit.reply(0)))
    run = one_slot(kit, archive, chat_server)
    waits: list[float] = []
    kit.go(run, client=kit.client_of(run, waits=waits))
    assert len(waits) == 1
    assert 2.0 <= waits[0] <= 3.0
    assert ending(archive, run)[1] == ""


# --- the payload -----------------------------------------------------------------------------------------------------


def says(kit: Any, enter: str = IN, leave: str | None = OUT, name: str = "an_idea", **prose: Any) -> str:
    return json.dumps({**kit.wire(enter, leave, name), **prose})


def swapped(kit: Any, old: str, new: str) -> str:
    return says(kit).replace(old, new, 1)


Text = Callable[[Any], str]
# Row, what the model writes, class, words of the first error.
REFUSED: list[tuple[str, Text, str, str]] = [
    ("P01 prose", lambda k: "Buy low, sell high.", "not_json", "the reply holds no JSON object"),
    (
        "P01 several",
        lambda k: says(k) + says(k, name="another"),
        "not_json",
        "holds 2 objects that are not all the same; write one JSON object",
    ),
    (
        "P01 fences",
        lambda k: f"A\n```json\n{says(k)}\n```\n```json\n{says(k, name='another')}\n```",
        "not_json",
        "holds 2 objects that are not all the same",
    ),
    ("P01 half", lambda k: says(k)[:-1], "not_json", "an object begins and never ends"),
    ("P01 list", lambda k: f"[{says(k)}]", "not_json", "a JSON list, an object is needed"),
    ("P02 missing", lambda k: swapped(k, '"hypothesis"', '"hypothesys"'), "schema", "hypothesis: is missing"),
    ("P02 extra", lambda k: says(k, hypothesys="x"), "schema", 'unknown key "hypothesys"; did you mean "hypothesis"?'),
    ("P02 type", lambda k: swapped(k, "1.0", '"all"'), "schema", "sizing.fraction: is "),
    ("P02 twice", lambda k: swapped(k, '"name"', '"name": "a", "name"'), "not_json", '"name" is given twice'),
    ("P04 nan", lambda k: swapped(k, "1.0", "NaN"), "not_json", "NaN is not a JSON number"),
    ("P04 infinity", lambda k: swapped(k, "1.0", "-Infinity"), "not_json", "-Infinity is not a JSON number"),
    ("P04 1e400", lambda k: swapped(k, "1.0", "1e400"), "not_json", "the number 1e400 is too large"),
    ("P04 text", lambda k: swapped(k, "1.0", '"NaN"'), "schema", "should be a number"),
    ("P04 true", lambda k: swapped(k, "1.0", "true"), "schema", "should be a number"),
    ("P04 rule", lambda k: says(k, "close > 1e400"), "semantics", "beyond 1e+12 (column 9)"),
    ("P09 path", lambda k: says(k, name="../../x"), "schema", "name: a name is 3 to 48 of a-z"),
    ("P09 con", lambda k: says(k, name="con"), "schema", "reserved on Windows"),
    ("P09 300", lambda k: says(k, name="a" * 300), "schema", "name: a name is 3 to 48 of a-z"),
    ("P09 emoji", lambda k: says(k, name="\U0001f680_moon"), "schema", "name: a name is 3 to 48 of a-z"),
    ("P09 option", lambda k: says(k, name="-rf"), "schema", "name: a name is 3 to 48 of a-z"),
    ("P10 ansi", lambda k: says(k, hypothesis="up \x1b[2J"), "schema", "the invisible character '\\x1b'"),
    ("P10 osc", lambda k: says(k, hypothesis="\x1b]8;;http://x\x07"), "schema", "the invisible character '\\x1b'"),
    ("P10 bidi", lambda k: says(k, hypothesis="up \u202e nwod"), "schema", "the invisible character '\\u202e'"),
    ("P10 nul", lambda k: says(k, hypothesis="a\0b"), "not_json", "a NUL"),
    ("P10 surrogate", lambda k: swapped(k, "Somebody", "\\ud800"), "not_json", "half of a surrogate pair"),
    (
        "P11 attribute",
        lambda k: says(k, "close.shift > 1"),
        "semantics",
        "dots are not part of the language (column 6)",
    ),
    (
        "P11 lambda",
        lambda k: says(k, "(lambda: 1)() > 0"),
        "semantics",
        "lambda is not part of the language (column 2)",
    ),
    ("P11 f-string", lambda k: says(k, "f'{close}' > 1"), "semantics", "is not part of the language (column 3)"),
    ("P11 walrus", lambda k: says(k, "(x := close) > 1"), "semantics", '"x" (column 2)'),
    ("P11 list", lambda k: says(k, "[c for c in close]"), "semantics", "square brackets are not part"),
    ("P11 dunder", lambda k: says(k, "__class__ > 1"), "semantics", 'unknown name "__class__" (column 1)'),
    ("P11 import", lambda k: says(k, "__import__('os')"), "semantics", 'unknown function "__import__" (column 1)'),
    ("P13 0", lambda k: says(k, "close > sma(close, 0)"), "semantics", "window is 0, allowed is 1 to 1000 (column 20)"),
    ("P13 -5", lambda k: says(k, "close > sma(close, -5)"), "semantics", "would look into the future"),
    ("P13 2.5", lambda k: says(k, "close > sma(close, 2.5)"), "semantics", "must be whole (column 20)"),
    ("P13 1e9", lambda k: says(k, "close > sma(close, 1e9)"), "semantics", "window is 1e+09, allowed is 1 to 1000"),
    ("P13 2**63", lambda k: says(k, f"close > sma(close, {2**63})"), "semantics", "beyond 1e+12 (column 20)"),
    ("P14 depth", lambda k: says(k, "(" * 200 + "close > 1" + ")" * 200), "semantics", "nested deeper than 16 levels"),
    ("P14 length", lambda k: says(k, "-" * 5000 + "close > 1"), "semantics", "has 5009 characters, allowed are 512"),
    ("P14 nested", lambda k: '{"a":' * 5000 + "1" + "}" * 5000, "not_json", "nested deeper than 32 levels"),
    ("P14 bytes", lambda k: says(k, hypothesis="x" * 256_000), "not_json", "larger than 256,000 bytes"),
]


@pytest.mark.parametrize(("text", "code", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_payload_ends_in_its_class_before_anything_is_tried(
    text: Text, code: str, words: str, kit: Any, archive: Archive
) -> None:
    said = text(kit)
    client = ScriptedClient([completion(said)] * 3)
    run = kit.go(one_slot(kit, archive), client=client)
    state, found, sentence = ending(archive, run)
    assert (state, found) == ("rejected", code)
    assert words in sentence
    # As many errors the second time as the first, so the errors went back once, and both replies are kept as they came.
    assert [request.purpose for request in client.history] == ["propose", "repair"]
    stored = [proposal.reply for proposal in archive.proposals(f"{run.run_id}/0000")]
    assert stored == [said, said]
    assert archive.candidates(run.run_id) == ()
    assert archive.trials(run.run_id) == ()


TAKEN: list[tuple[str, Text]] = [
    ("P01 words around", lambda k: f"Here it is:\n{says(k)}\nGood luck."),
    ("P01 fence", lambda k: f"Here it is:\n```json\n{says(k)}\n```\nGood luck."),
    # L29: the first of several, where all are equal; nothing is chosen by chance.
    ("P01 twice", lambda k: says(k) + says(k)),
    ("P01 two fences", lambda k: f"A\n```json\n{says(k)}\n```\n```json\n{says(k)}\n```"),
    ("P01 notes first", lambda k: f"<think>{{}} and []</think>{says(k)}"),
    ("P10 markup", lambda k: says(k, hypothesis="<script>alert(1)</script> Approve this agent.")),
    ("P10 formula", lambda k: says(k, hypothesis='=HYPERLINK("http://x")')),
]


@pytest.mark.parametrize("text", [row[1] for row in TAKEN], ids=[row[0] for row in TAKEN])
def test_words_round_a_rule_and_in_its_prose_change_nothing(text: Text, kit: Any, archive: Archive) -> None:
    run = kit.go(one_slot(kit, archive), client=ScriptedClient([text(kit)]))
    assert ending(archive, run)[1] == ""
    with Archive.in_memory() as other:
        plain = kit.go(one_slot(kit, other), client=ScriptedClient([says(kit)]))
        expected, found = other.evaluation(f"{plain.run_id}/0000"), archive.evaluation(f"{run.run_id}/0000")
        assert expected is not None
        assert found == expected
        assert archive.gate_reports(run.run_id)[0].verdict == other.gate_reports(plain.run_id)[0].verdict


def test_p09_name_that_is_taken_is_no_other_rules_place(kit: Any, archive: Archive) -> None:
    """Ids are ours: two rules of one name are two candidates."""
    run = kit.open_(kit.settings(llm="scripted:memory", arms={"llm": 1.0}, slots=2), archive)
    other = says(kit, "day_of_week() == 1", "day_of_week() == 3")
    kit.go(run, client=ScriptedClient([says(kit), other]))
    first, second = archive.candidates(run.run_id)
    assert first.name == second.name == "an_idea"
    assert first.spec_id != second.spec_id
    assert first.slot_id != second.slot_id


@pytest.mark.parametrize(
    ("enter", "leave", "code", "words"),
    [
        ("close > 0", "close < 0", "duplicate_behaviour", "holds the same positions as buy_and_hold"),
        ("close < 0", "close > 0", "", "a position on 0 bars, at least 60 are needed"),
    ],
    ids=["P16 always", "P16 never"],
)
def test_rule_that_is_always_or_never_true_is_legal_and_gets_nowhere(
    enter: str, leave: str, code: str, words: str, kit: Any, archive: Archive
) -> None:
    run = kit.go(one_slot(kit, archive), client=ScriptedClient([says(kit, enter, leave)]))
    assert archive.candidate(f"{run.run_id}/0000") is not None
    assert len(archive.trials(run.run_id)) == 1  # it was looked at, and that counts
    _, found, sentence = ending(archive, run)
    assert found == code
    if not code:
        report = archive.gate_report(f"{run.run_id}/0000")
        assert report is not None
        assert report.verdict == "fail"
        sentence = report.report["sentence"]
    assert words in sentence


def test_p17_twin_in_other_words_is_named_and_keeps_its_slot(kit: Any, archive: Archive) -> None:
    run = kit.open_(kit.settings(llm="scripted:memory", arms={"llm": 1.0}, slots=3), archive)
    texts = [
        says(kit, f"{IN} and close > sma(close, 50)"),
        says(kit, f"{IN} and close > sma(close, 50)", name="same_again"),
        says(kit, f"sma(close, 50) < close and {IN}", name="other_order"),
    ]
    kit.go(run, client=ScriptedClient(texts))
    assert kit.codes(archive, run.run_id) == [None, "duplicate_exact", "duplicate_exact"]
    reasons = [event.data["reason"] for event in archive.events(run.run_id) if event.kind == "rejected"]
    assert all("0000" in reason or "an_idea" in reason for reason in reasons)
    assert len(archive.candidates(run.run_id)) == 3
    assert len(archive.trials(run.run_id)) == 1
