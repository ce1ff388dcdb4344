"""The SentencePiece model inside a GGUF file, read by an independent small parser (GGUF v3).

For tests that must name a tokenizer's fingerprint, sha256 of these bytes.
"""

import struct

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
           11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


def read_metadata(path):
    """Key -> value of a GGUF file's header."""
    data = memoryview(path.read_bytes())
    at = 0

    def scalar(form):
        nonlocal at
        value = struct.unpack_from(form, data, at)[0]
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        length = scalar("<Q")
        at += length
        return bytes(data[at - length:at])

    def value(kind):
        nonlocal at
        if kind == STRING:
            return text()
        if kind == ARRAY:
            inner, n = scalar("<I"), scalar("<Q")
            if inner in (0, 1):
                at += n
                return bytes(data[at - n:at])
            return [value(inner) for _ in range(n)]
        return scalar(SCALARS[kind])

    assert bytes(data[:4]) == b"GGUF", path
    at = 4
    version, _, n_keys = scalar("<I"), scalar("<Q"), scalar("<Q")
    assert version == 3
    metadata = {}
    for _ in range(n_keys):
        key = text().decode()
        metadata[key] = value(scalar("<I"))
    return metadata


def serialized_tokenizer(path):
    """(bytes of the SentencePiece model, the vocabulary's size)."""
    metadata = read_metadata(path)
    found = [v for k, v in metadata.items()
             if "sentencepiece" in k and isinstance(v, bytes) and len(v) > 1000]
    assert len(found) == 1, sorted(metadata)
    sizes = [v for k, v in metadata.items() if k.endswith("vocab_size") and isinstance(v, int)]
    tokens = metadata.get("tokenizer.ggml.tokens")
    return found[0], sizes[0] if sizes else len(tokens)
