#!/usr/bin/env python3
"""An independent forward pass (NumPy, float64) of the tiny models of tests/model/random_model.h.

    python3 tests/golden/forward_reference.py > tests/golden/forward.txt

writes what tests/model/transformer_test.cpp compares the engine with: per model a line
"name tokens vocab", the token ids, then the logits of every token. Needs NumPy only.
"""
import sys

import numpy as np

SEED = 7
N_TOKENS = 12
# Chosen so that no activation lies within 2e-5 steps of a rounding boundary of its quantisation,
# and no key or value within 1e-4 steps of one of half precision: there float32 and float64 may go
# different ways.
FIRST_TOKEN = 132
BASE = dict(n_layers=2, d_model=256, d_ff=512, n_heads=4, n_kv_heads=2, head_dim=64, vocab=300,
            theta=1e4, eps=np.float64(np.float32(1e-5)), cap=0.0, act="squared_relu", qk_norm=True,
            sub_norm=True, tied=True, kind="ternary", attn_kind="ternary", window=0, bits=8,
            down_bits=8, attn_cap=0.0, first=FIRST_TOKEN)
MODELS = {
    "tiny": BASE,
    "plain": BASE | dict(act="swiglu", qk_norm=False, sub_norm=False, tied=False, cap=30.0,
                         theta=1e6),
    "int8": BASE | dict(d_model=72, d_ff=100, n_heads=6, n_kv_heads=3, head_dim=12, act="swiglu",
                        kind="int8", attn_kind="int8"),
    "window": BASE | dict(window=5),
    "four_bits": BASE | dict(d_ff=448, bits=4, attn_cap=3.0, attn_kind="int8", first=179),
}


class Source:
    """splitmix64 of a running index."""

    def __init__(self, seed):
        self.index = 0
        self.seed = seed

    def words(self, n):
        with np.errstate(over="ignore"):
            i = np.arange(self.index + 1, self.index + n + 1, dtype=np.uint64)
            z = np.uint64(self.seed) + i * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
        self.index += n
        return (z >> np.uint64(33)).astype(np.int64)

    def integers(self, n, limit):
        return self.words(n) % (2 * limit + 1) - limit

    def gains(self, n):
        return 0.5 + (self.words(n) % 1024) / 1024.0

    def matrix(self, kind, rows, cols):
        ternary = kind == "ternary"
        values = self.integers(rows * cols, 1 if ternary else 127).reshape(rows, cols)
        scale = self.gains(1 if ternary else rows).astype(np.float32)
        unit = np.float32(1) / np.sqrt(np.float32(cols)) / np.float32(1 if ternary else 64)
        return values.astype(np.float64), (scale * unit).astype(np.float64)


def build(c):
    s = Source(SEED)
    d, q_dim, kv_dim = c["d_model"], c["n_heads"] * c["head_dim"], c["n_kv_heads"] * c["head_dim"]
    m = dict(embedding=s.matrix("int8", c["vocab"], d), output_norm=s.gains(d))
    m["head"] = m["embedding"] if c["tied"] else s.matrix("int8", c["vocab"], d)
    m["layers"] = []
    for _ in range(c["n_layers"]):
        layer = dict(attn_norm=s.gains(d), ffn_norm=s.gains(d))
        if c["qk_norm"]:
            layer |= dict(q_norm=s.gains(c["head_dim"]), k_norm=s.gains(c["head_dim"]))
        if c["sub_norm"]:
            layer |= dict(attn_sub_norm=s.gains(q_dim), ffn_sub_norm=s.gains(c["d_ff"]))
        for name, rows, cols in (("q", q_dim, d), ("k", kv_dim, d), ("v", kv_dim, d),
                                 ("o", d, q_dim), ("gate", c["d_ff"], d), ("up", c["d_ff"], d),
                                 ("down", d, c["d_ff"])):
            kind = c["attn_kind"] if name in ("q", "k", "v", "o") else c["kind"]
            layer[name] = s.matrix(kind, rows, cols)
        m["layers"].append(layer)
    return m


def rms_norm(x, gain, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def linear(x, weight, bits=8):
    values, scale = weight
    limit = 2 ** (bits - 1) - 1
    s = np.max(np.abs(x), axis=-1, keepdims=True) / limit
    x_q = np.clip(np.rint(x / s), -limit, limit)
    return (x_q @ values.T) * (s * scale)


def rope(x, theta):
    """x [T, H, head_dim], NEOX pairs."""
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[0])[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def stored(x):
    """As the cache holds keys and values: in half precision."""
    return x.astype(np.float16).astype(np.float64)


def attention(x, layer, c):
    n, dim = x.shape[0], c["head_dim"]
    bits = c["bits"] if c["attn_kind"] == "ternary" else 8
    q = linear(x, layer["q"], bits).reshape(n, -1, dim)
    k = linear(x, layer["k"], bits).reshape(n, -1, dim)
    v = linear(x, layer["v"], bits).reshape(n, -1, dim)
    if c["qk_norm"]:
        q, k = rms_norm(q, layer["q_norm"], c["eps"]), rms_norm(k, layer["k_norm"], c["eps"])
    group = c["n_heads"] // c["n_kv_heads"]
    q, k = rope(q, c["theta"]), np.repeat(stored(rope(k, c["theta"])), group, axis=1)
    v = np.repeat(stored(v), group, axis=1)
    scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(dim)
    if c["attn_cap"]:
        scores = c["attn_cap"] * np.tanh(scores / c["attn_cap"])
    seen = np.tril(np.ones((n, n), bool))
    if c["window"]:
        seen &= ~np.tril(np.ones((n, n), bool), -c["window"])
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    heads = np.einsum("hts,shd->thd", weights, v).reshape(n, -1)
    if c["sub_norm"]:
        heads = rms_norm(heads, layer["attn_sub_norm"], c["eps"])
    return linear(heads, layer["o"], bits)


def feed_forward(x, layer, c):
    gate, up = linear(x, layer["gate"], c["bits"]), linear(x, layer["up"], c["bits"])
    act = gate / (1 + np.exp(-gate)) if c["act"] == "swiglu" else np.maximum(gate, 0) ** 2
    y = act * up
    if c["sub_norm"]:
        y = rms_norm(y, layer["ffn_sub_norm"], c["eps"])
    return linear(y, layer["down"], c["down_bits"])


def forward(c, tokens):
    m = build(c)
    values, scale = m["embedding"]
    h = values[tokens] * scale[tokens][:, None]
    for layer in m["layers"]:
        h = h + attention(rms_norm(h, layer["attn_norm"], c["eps"]), layer, c)
        h = h + feed_forward(rms_norm(h, layer["ffn_norm"], c["eps"]), layer, c)
    logits = linear(rms_norm(h, m["output_norm"], c["eps"]), m["head"])
    return c["cap"] * np.tanh(logits / c["cap"]) if c["cap"] else logits


def main():
    for name, c in MODELS.items():
        tokens = (np.arange(N_TOKENS) * 97 + c["first"]) % c["vocab"]
        print(name, N_TOKENS, c["vocab"])
        print(*tokens)
        for row in forward(c, tokens):
            print(*(f"{x:.7g}" for x in row))


if __name__ == "__main__":
    sys.exit(main())
