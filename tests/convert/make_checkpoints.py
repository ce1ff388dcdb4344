#!/usr/bin/env python3
"""Writes the checkpoints in data/ that torch_checkpoint_test.cpp reads: with torch, as users do.

  tests/convert/make_checkpoints.py       (needs: pip install torch; made with 2.13.0)
"""

import dataclasses
import pathlib

import torch

DATA = pathlib.Path(__file__).resolve().parent / "data"


@dataclasses.dataclass
class Config:
    dim: int = 2


def rising(*shape, dtype=torch.float32):
    n = torch.Size(shape).numel()
    return (torch.arange(n, dtype=torch.float32) / 2 - 1).reshape(shape).to(dtype)


def state_dict():
    """Of every float type; two names of one storage, one of them a view into its middle."""
    table = rising(6, 2)
    return {
        "embed_tokens.weight": table,
        "layers.0.input_layernorm.weight": rising(2, dtype=torch.float16),
        "layers.0.self_attn.q_proj.weight": table[2:4],
        "layers.0.self_attn.k_proj.weight": torch.nn.Parameter(rising(2, 2, dtype=torch.bfloat16)),
        "norm.weight": torch.ones(2),
        "lm_head.weight": table,
    }


def training_checkpoint():
    """As torch.compile and a trainer leave it: prefixes, and much that is no weight."""
    model = torch.nn.Module()
    model.norm = torch.nn.RMSNorm(2)
    optimizer = torch.optim.AdamW(model.parameters())
    model.norm(torch.ones(2)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "best_loss": 1.25,
        "config": Config(),
        "optimizer_state_dict": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "model_state_dict": {"_orig_mod." + name: tensor
                             for name, tensor in state_dict().items()},
    }


def packed(codes):
    """distillix: four a byte, the first in the highest bits, code = weight + 1."""
    codes = codes + [1] * (-len(codes) % 4)
    return [codes[i] << 6 | codes[i + 1] << 4 | codes[i + 2] << 2 | codes[i + 3]
            for i in range(0, len(codes), 4)]


def packed_weights():
    name = "layers.0.self_attn.q_proj"
    ternary = [-1, 0, 1, 1, 0, -1]
    return {
        "embed_tokens.weight": rising(6, 2, dtype=torch.float16),
        name + ".weight": torch.tensor(packed([w + 1 for w in ternary]), dtype=torch.uint8),
        name + "_shape": torch.tensor([2, 3]),
        name + "_scale": torch.tensor(0.25),
    }


def main():
    DATA.mkdir(exist_ok=True)
    torch.manual_seed(1)
    torch.save(state_dict(), DATA / "state_dict.pt")
    torch.save(training_checkpoint(), DATA / "training.pt")
    torch.save(packed_weights(), DATA / "packed.pt")
    torch.save({"a.weight": rising(2, 3, dtype=torch.float16), "a_scale": torch.ones(1)},
               DATA / "scaled.pt")
    torch.save({"a.weight": torch.ones([1] * 9)}, DATA / "nine_dims.pt")
    torch.save({"a.weight": rising(2, 3).t()}, DATA / "transposed.pt")
    torch.save({"a.weight": torch.ones(2, dtype=torch.float64)}, DATA / "doubles.pt")
    torch.save({"a.weight": torch.ones(2)}, DATA / "legacy.pt",
               _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
