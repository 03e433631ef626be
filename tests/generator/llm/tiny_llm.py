"""The smallest language model: a table of which phrase follows which, written as a GGUF file, and served by llama.cpp.

    python tiny_llm.py MODEL.gguf KEY

writes the model, serves it on a free port of the loopback with the key, prints the address as its first line, and ends
when its standard input is closed. The server, the sampling and the enforcement of the schema are llama.cpp's.

The network is a real one of the llama family with one layer that does nothing: the embedding of a phrase is one-hot,
and its column of the output matrix holds the logits of what follows it. Left alone it says "Well, " many times before
it comes to the point; a server that keeps a schema cannot let it. One in four of its rules names a function that does
not exist.
"""

import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

TALK = "Well, "
OPENING = '{"hypothesis":"Who sold in a hurry comes back a few days later.","name":"'
RULE = '","source":null,"rule":{"kind":"rules","long":{"enter":"'
BETWEEN = '","exit":"rsi(close, '
CLOSING = '"},"short":null,"protect":null,"sizing":{"kind":"fraction","fraction":1.0}}}'
NAMES = tuple(f"weak_{word}" for word in ("open", "week", "close", "spell", "hand"))
ENTERS = ("rsi(close, ", "rsii(close, ")
WINDOWS = range(2, 31)
BELOW = [f"{window}) < " for window in WINDOWS]
ABOVE = [f"{window}) > " for window in WINDOWS]
LOW = [f"{level}.0" for level in range(10, 50)]
HIGH = [f"{level}.5" for level in range(51, 90)]
PHRASES = (TALK, OPENING, RULE, BETWEEN, CLOSING, *NAMES, *ENTERS, *BELOW, *ABOVE, *LOW, *HIGH)
BEGINNING = {TALK: 6.0, OPENING: 2.0}


def _evenly(*phrases: str) -> dict[str, float]:
    return dict.fromkeys(phrases, 0.0)


FOLLOWS: dict[str, Mapping[str, float]] = {
    TALK: BEGINNING,
    OPENING: _evenly(*NAMES),
    **{name: _evenly(RULE) for name in NAMES},
    RULE: {"rsi(close, ": float(np.log(3.0)), "rsii(close, ": 0.0},
    **{enter: _evenly(*BELOW) for enter in ENTERS},
    **{below: _evenly(*LOW) for below in BELOW},
    **{low: _evenly(BETWEEN) for low in LOW},
    BETWEEN: _evenly(*ABOVE),
    **{above: _evenly(*HIGH) for above in ABOVE},
    **{high: _evenly(CLOSING) for high in HIGH},
    CLOSING: _evenly("</s>"),
}
UNLIKELY = -30.0

SPECIAL = ("<unk>", "<s>", "</s>")
# Bytes, so that the model can read any prompt and write what a schema forces upon it; pairs, so that it reads faster.
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PAIRS = tuple(first + second for first in LETTERS for second in LETTERS)
TOKENS = (*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *PAIRS, *PHRASES)
KINDS = (2, 3, 3, *[6] * 256, *[1] * (len(PAIRS) + len(PHRASES)))
CONTEXT = 32_768
# One place for each phrase and one for everything else.
SIZE = -(-(len(PHRASES) + 1) // 32) * 32
HEAD = 64
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def write_model(path: Path) -> None:
    """The model as a GGUF file of version 3."""
    numbers = {token: number for number, token in enumerate(TOKENS)}
    embedding = np.zeros((len(TOKENS), SIZE), dtype=np.float32)
    embedding[:, 0] = 1.0
    logits = np.full((len(TOKENS), SIZE), UNLIKELY, dtype=np.float32)
    for place, phrase in enumerate(("", *PHRASES)):
        if phrase:
            embedding[numbers[phrase]] = np.eye(SIZE, dtype=np.float32)[place]
        for after, logit in FOLLOWS.get(phrase, BEGINNING).items():
            logits[numbers[after], place] = logit
    # The norm before the output makes a one-hot vector sqrt(SIZE) long.
    output = logits / np.float32(np.sqrt(SIZE))
    ones, idle = np.ones(SIZE, dtype=np.float32), np.zeros((HEAD, SIZE), dtype=np.float32)
    layer = dict.fromkeys(("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"), idle)
    layer |= dict.fromkeys(("attn_output", "ffn_down"), idle.T) | {"attn_norm": ones, "ffn_norm": ones}
    tensors = {"token_embd": embedding, "output_norm": ones, "output": output}
    tensors |= {f"blk.0.{name}": values for name, values in layer.items()}
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": SIZE,
        "block_count": 1,
        "feed_forward_length": HEAD,
        "attention.head_count": 1,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "rope.dimension_count": HEAD,
        "vocab_size": len(TOKENS),
    }
    texts = {"general.architecture": "llama", "tokenizer.ggml.model": "llama", "tokenizer.chat_template": TEMPLATE}
    flags = {f"tokenizer.ggml.add_{name}": False for name in ("bos_token", "eos_token", "space_prefix")}
    special = {f"tokenizer.ggml.{name}_token_id": at for at, name in enumerate(("unknown", "bos", "eos"))}
    fields = [_field(name, 8, _text(text)) for name, text in texts.items()]
    fields += [_field(f"llama.{name}", 4, struct.pack("<I", size)) for name, size in sizes.items()]
    fields += [_field(name, 4, struct.pack("<I", at)) for name, at in special.items()]
    fields += [_field(name, 7, struct.pack("<?", flag)) for name, flag in flags.items()]
    fields += [
        _field("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-6)),
        _field("tokenizer.ggml.tokens", 9, _array(8, [_text(token) for token in TOKENS])),
        _field("tokenizer.ggml.scores", 9, _array(6, [struct.pack("<f", 0.0)] * len(TOKENS))),
        _field("tokenizer.ggml.token_type", 9, _array(5, [struct.pack("<i", kind) for kind in KINDS])),
    ]
    head, body = [], b""
    for name, values in tensors.items():
        shape = values.shape[::-1]
        head.append(_text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(body)))
        body += _padded(np.ascontiguousarray(values).tobytes())
    start = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields))
    path.write_bytes(_padded(start + b"".join(fields) + b"".join(head)) + body)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _field(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _array(kind: int, values: Sequence[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 32)


def serve(path: Path, key: str) -> None:
    """Serve until standard input is closed."""
    import xllamacpp

    write_model(path)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.api_keys = [key]
    params.n_ctx, params.n_parallel = CONTEXT, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
