"""Writes attention alone, of the sizes that networks have: softmax(Q K' / sqrt(d)) V.

python -m zoo.attention --out DIR [--only NAME...] [--force], from benchmarks/. A name is
HEADS x QUERIES x KEYS x CHANNELS of a head.
"""

import functools
import pathlib
import sys

import numpy as np

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from zoo.builder import Builder  # noqa: E402
from zoo.command import make_parser, write_models  # noqa: E402

SIZES = [
    (16, 77, 77, 64),  # CLIP's text
    (12, 197, 197, 64),  # ViT
    (32, 256, 256, 128),
    (6, 1024, 1024, 64),
    (8, 1024, 1024, 40),  # the U-Net of Stable Diffusion, at two sizes of its image
    (8, 4096, 4096, 40),
    (8, 4096, 77, 40),  # across, to the text
    (8, 1500, 1500, 64),  # Whisper's encoder
    (8, 1, 1500, 64),  # across, from one token
    (4, 2048, 2048, 128),
    (3, 3136, 3136, 32),
    (1, 8192, 8192, 64),
    (2, 16384, 16384, 64),
    (8, 1, 4096, 128),  # one token behind many
    (32, 1, 2048, 128),
    (1, 1, 8192, 128),
    (3, 4, 8192, 64),
    (1, 64, 32768, 64),
]


def add_attention(b, heads, queries, keys, channels):
    """From inputs query, key and value to the output."""
    query = b.add_input("query", [1, heads, queries, channels])
    key, value = (b.add_input(name, [1, heads, keys, channels]) for name in ("key", "value"))
    scores = b.op("MatMul", [query, b.transpose(key, [0, 1, 3, 2], "key")], "/MatMul")
    scores = b.op("Div", [scores, b.constant("/Constant", np.sqrt(channels))], "/Div")
    weights = b.op("Softmax", [scores], "/Softmax", axis=-1)
    b.add_output(b.op("MatMul", [weights, value], "/MatMul_1"), "output",
                 [1, heads, queries, channels])


def attention_model(name, size):
    """The model of one size: heads, queries, keys, channels."""
    b = Builder(name)
    add_attention(b, *size)
    return b.model()


def main():
    sizes = {"attn_" + "x".join(str(n) for n in size): size for size in SIZES}
    arguments = make_parser("zoo.attention", __doc__.splitlines()[0], sizes).parse_args()
    write_models({name: functools.partial(attention_model, name, sizes[name])
                  for name in arguments.only}, arguments)


if __name__ == "__main__":
    main()
