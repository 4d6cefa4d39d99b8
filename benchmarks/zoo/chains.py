"""Writes the chains of chains/chains.json, each as one ONNX file.

python -m zoo.chains --out DIR [--only NAME...] [--force], from benchmarks/.
"""

import functools
import json
import pathlib
import sys

import numpy as np

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from zoo.attention import add_attention  # noqa: E402
from zoo.builder import GAIN, Builder  # noqa: E402
from zoo.command import make_parser, write_models  # noqa: E402

DEFINITIONS = pathlib.Path(__file__).resolve().parents[1] / "chains" / "chains.json"


def chain_model(chain):
    """The model of one entry of chains.json."""
    b = Builder(chain["name"])
    {"conv": _conv_chain, "gemm": _gemm_chain, "attention": _attention}[chain["kind"]](b, chain)
    return b.model()


def _conv_chain(b, chain):
    start = x = b.add_input("input", chain["input"])
    size = chain["input"][2]
    for i, layer in enumerate(chain["layers"]):
        name, channels = f"layer{i}", layer["out_channels"]
        groups = channels if layer["op"] == "dwconv" else 1
        x = b.conv(x, channels, layer["kernel"], name, layer["stride"], groups, bias=True,
                   padding=layer["kernel"] // 2)
        size = (size - 1) // layer["stride"] + 1
        x = b.activation(x, layer["activation"] or "linear", f"{name}_activation")
        if layer.get("add_chain_input"):
            x = b.add(x, start, name)
    b.add_output(x, "output", [chain["input"][0], b.channels[x], size, size])


def _gemm_chain(b, chain):
    m, k, n, l = (chain[size] for size in "mknl")
    activation = chain["activation"] or "linear"
    x = _gemm(b, b.add_input("input", [m, k]), k, n, chain["bias"], 1.0, "fc1")
    x = b.activation(x, activation, "activation")
    b.add_output(_gemm(b, x, n, l, chain["bias"], GAIN[activation], "fc2"), "output", [m, l])


def _gemm(b, x, rows, columns, bias, gain, name):
    inputs = [x, b.normal(f"{name}.weight", (rows, columns), gain / np.sqrt(rows))]
    if not bias:
        return b.op("MatMul", inputs, f"/{name}/MatMul")
    return b.op("Gemm", inputs + [b.normal(f"{name}.bias", (columns,), 0.1)], f"/{name}/Gemm",
                alpha=1.0, beta=1.0)


def _attention(b, chain):
    add_attention(b, chain["heads"], chain["seq"], chain["seq"], chain["head_dim"])


def main():
    chains = {chain["name"]: chain for chain in json.loads(DEFINITIONS.read_text())["chains"]}
    arguments = make_parser("zoo.chains", __doc__.splitlines()[0], chains).parse_args()
    write_models({name: functools.partial(chain_model, chains[name]) for name in arguments.only},
                 arguments)


if __name__ == "__main__":
    main()
