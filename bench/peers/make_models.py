#!/usr/bin/env python3
"""Writes models of random ternary weights in the shapes that the peers are measured with.

    bench/peers/make_models.py --gguf-py LLAMA_CPP/gguf-py --out FOLDER [--shape 100m ...] \
        [--llama BUILD/bin] [--ik BUILD/bin] [--bitnet BUILD/bin]

One F16 GGUF a shape (architecture llama, a SentencePiece vocabulary of byte tokens and numbered
words), then what the given peers' llama-quantize makes of it: TQ2_0 and Q4_0 (llama.cpp), IQ2_BN
and IQ2_BN_R4 (ik_llama.cpp), I2_S (bitnet.cpp). Needs NumPy.
"""
import argparse
import pathlib
import subprocess
import sys

import numpy as np

SHAPES = {  # layers, width, MLP, heads, key-value heads, vocabulary
    "100m": (12, 768, 2048, 12, 4, 32000),
    "700m": (24, 1536, 4096, 24, 8, 32000),
    "2b": (30, 2560, 6912, 20, 5, 128256),
}
QUANTS = {"llama": ["TQ2_0", "Q4_0"], "ik": ["IQ2_BN", "IQ2_BN_R4"], "bitnet": ["I2_S"]}
SEED = 1


def vocabulary(size):
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    types = [2, 3, 3] + [6] * 256
    words = [f"\u2581w{i}" for i in range(size - len(tokens))]
    scores = [0.0] * len(tokens) + [-float(i) for i in range(len(words))]
    return tokens + words, scores, types + [1] * len(words)


def write_f16(gguf, path, shape):
    layers, width, mlp, heads, kv_heads, vocab = SHAPES[shape]
    random = np.random.default_rng(SEED)
    out = gguf.GGUFWriter(path, "llama")
    out.add_name(f"random-{shape}")
    out.add_context_length(4096)
    out.add_embedding_length(width)
    out.add_block_count(layers)
    out.add_feed_forward_length(mlp)
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_rope_dimension_count(width // heads)
    out.add_rope_freq_base(1e6)
    out.add_layer_norm_rms_eps(1e-6)
    out.add_vocab_size(vocab)
    out.add_file_type(1)
    tokens, scores, types = vocabulary(vocab)
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores(scores)
    out.add_token_types(types)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)

    def ternary(name, rows, cols):
        values = random.integers(-1, 2, (rows, cols), dtype=np.int8)
        out.add_tensor(name, (values * np.float16(cols ** -0.5)).astype(np.float16))

    out.add_tensor("token_embd.weight",
                   (random.standard_normal((vocab, width), np.float32) * 0.5).astype(np.float16))
    out.add_tensor("output_norm.weight", np.ones(width, np.float32))
    kv = width // heads * kv_heads
    for i in range(layers):
        out.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(width, np.float32))
        out.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(width, np.float32))
        for name, rows, cols in (("attn_q", width, width), ("attn_k", kv, width),
                                 ("attn_v", kv, width), ("attn_output", width, width),
                                 ("ffn_gate", mlp, width), ("ffn_up", mlp, width),
                                 ("ffn_down", width, mlp)):
            ternary(f"blk.{i}.{name}.weight", rows, cols)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf-py", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--shape", action="append", choices=SHAPES)
    for peer in QUANTS:
        parser.add_argument(f"--{peer}", type=pathlib.Path, metavar="BIN",
                            help="folder of its llama-quantize")
    args = parser.parse_args()
    sys.path.insert(0, str(args.gguf_py))
    import gguf
    args.out.mkdir(parents=True, exist_ok=True)
    for shape in args.shape or SHAPES:
        source = args.out / f"{shape}-f16.gguf"
        if not source.exists():
            write_f16(gguf, source, shape)
        for peer, quants in QUANTS.items():
            folder = getattr(args, peer)
            for quant in quants if folder else []:
                target = args.out / f"{shape}-{peer}-{quant}.gguf"
                if target.exists():
                    continue
                command = [folder / "llama-quantize", "--allow-requantize", source, target, quant]
                if peer == "bitnet":
                    command = [folder / "llama-quantize", source, target, quant, "1"]
                print(*command, flush=True)
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
