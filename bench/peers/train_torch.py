#!/usr/bin/env python3
"""The student of configs/models/starter.json in eager PyTorch, as a research repository writes it.

  python bench/peers/train_torch.py MODEL.json --batch-tokens 8192 --sequence-length 512
      --seconds 20 --precision bf16

BitLinear by fake quantisation with a straight-through estimator, RMSNorm, rotary positions,
QK-norm, SubLN, gated squared ReLU, tied embedding, cross-entropy and z-loss, Muon with AdamW beside
it: the same architecture, batch and optimiser as tristill-worker's. Tokens are random: data costs
it nothing. Prints {"tokens_per_second": ..., "steps": ...} of the median step.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


def ternary(w):
    scale = w.abs().mean().clamp(min=1e-12)
    return w + ((w / scale).round().clamp(-1, 1) * scale - w).detach()


def int8(x):
    scale = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / 127
    return x + ((x / scale).round().clamp(-128, 127) * scale - x).detach()


class BitLinear(nn.Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x):
        return F.linear(int8(x), ternary(self.weight))


class RMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        d, heads, kv, width = c["d_model"], c["n_heads"], c["n_kv_heads"], c["head_dim"]
        self.attn_norm, self.ffn_norm = RMSNorm(d), RMSNorm(d)
        self.q_norm, self.k_norm = RMSNorm(width), RMSNorm(width)
        self.attn_sub_norm, self.ffn_sub_norm = RMSNorm(heads * width), RMSNorm(c["d_ff"])
        self.q, self.o = BitLinear(d, heads * width), BitLinear(heads * width, d)
        self.k, self.v = BitLinear(d, kv * width), BitLinear(d, kv * width)
        self.gate, self.up = BitLinear(d, c["d_ff"]), BitLinear(d, c["d_ff"])
        self.down = BitLinear(c["d_ff"], d)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        width, kv = self.c["head_dim"], self.c["n_kv_heads"]
        h = self.attn_norm(x)
        q = self.q_norm(self.q(h).view(b, t, -1, width)).transpose(1, 2)
        k = self.k_norm(self.k(h).view(b, t, kv, width)).transpose(1, 2)
        v = self.v(h).view(b, t, kv, width).transpose(1, 2)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        shared = self.c["n_heads"] // kv
        k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(self.attn_sub_norm(a.transpose(1, 2).reshape(b, t, -1)))
        h = self.ffn_norm(x)
        return x + self.down(self.ffn_sub_norm(F.relu(self.gate(h)).square() * self.up(h)))


class Model(nn.Module):
    def __init__(self, c, tokens):
        super().__init__()
        self.embedding = nn.Embedding(c["vocab_size"], c["d_model"])
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["n_layers"]))
        self.norm = RMSNorm(c["d_model"])
        half = c["head_dim"] // 2
        angle = torch.outer(torch.arange(tokens).float(),
                            c.get("rope_theta", 1e4) ** (-torch.arange(half).float() / half))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids, labels):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight).float().flatten(0, 1)
        z = torch.logsumexp(logits, -1).square().mean()
        return F.cross_entropy(logits, labels.flatten()) + 1e-4 * z


def orthogonal(m):
    x = m.bfloat16()
    tall = x.size(0) > x.size(1)
    x = (x.T if tall else x) / (m.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if tall else x).float()


@torch.no_grad()
def muon_step(matrices, momenta, lr=0.02):
    for w, m in zip(matrices, momenta):
        m.mul_(0.95).add_(w.grad)
        w.add_(orthogonal(w.grad + 0.95 * m), alpha=-lr * max(1, w.size(0) / w.size(1)) ** 0.5)
        w.grad = None


def main():
    options = argparse.ArgumentParser()
    options.add_argument("model")
    options.add_argument("--batch-tokens", type=int, default=8192)
    options.add_argument("--sequence-length", type=int, default=512)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(1)
    with open(given.model) as file:
        config = json.load(file)
    model = Model(config, given.sequence_length)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "blocks" in name]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    momenta = [torch.zeros_like(p) for p in matrices]
    adamw = torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0)
    rows = given.batch_tokens // given.sequence_length
    took, until = [], time.perf_counter() + given.seconds
    while time.perf_counter() < until or len(took) < 3:
        ids = torch.randint(config["vocab_size"], (rows, given.sequence_length + 1))
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16"):
            loss = model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon_step(matrices, momenta)
        adamw.step()
        adamw.zero_grad()
        took.append(time.perf_counter() - begin)
    step = statistics.median(took[1:])
    print(json.dumps({"tokens_per_second": rows * given.sequence_length / step,
                      "steps": len(took), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
