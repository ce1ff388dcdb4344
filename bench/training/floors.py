"""What compressors need for the same held-out files: the floors under a language model of code.

cold is the held-out files alone; primed is what they add to the archive of the training files, so
that the compressor has seen the same text as the model.
"""

import json
import lzma
import pathlib
import shutil
import subprocess
import tempfile

PPMD = "-m0=PPMd:o=16:mem=256m"


def split_texts(manifest, corpus):
    """(training, held-out) bytes of a job's files, in the order of its manifest."""
    texts = {"train": [], "held_out": []}
    for line in map(json.loads, pathlib.Path(manifest).read_text().splitlines()):
        if line["split"] in texts:
            texts[line["split"]].append((pathlib.Path(corpus) / line["path"]).read_bytes())
    return b"".join(texts["train"]), b"".join(texts["held_out"])


def xz_size(data):
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def ppmd_size(program, data):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "text"
        path.write_bytes(data)
        archive = pathlib.Path(folder) / "text.7z"
        subprocess.run([program, "a", PPMD, archive, path], check=True, capture_output=True)
        return archive.stat().st_size


def floors(manifest, corpus):
    """{name: bits per byte, or why it was not measured}."""
    training, held_out = split_texts(manifest, corpus)
    sizes = {"xz -9e": xz_size}
    program = shutil.which("7z") or shutil.which("7zz")
    if program:
        sizes["PPMd order 16"] = lambda data: ppmd_size(program, data)
    out = {}
    for name, size in sizes.items():
        out[name + ", cold"] = 8 * size(held_out) / len(held_out)
        out[name + ", primed"] = 8 * (size(training + held_out) - size(training)) / len(held_out)
    if not program:
        out["PPMd order 16"] = "not measured: 7z is not installed (package p7zip-full)"
    return out
