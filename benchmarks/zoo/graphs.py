"""Writes small networks with branches: where values meet, split or are pooled between convolutions.

python -m zoo.graphs --out DIR [--only NAME...] [--size N] [--past N] [--tokens N] [--force], from
benchmarks/. A block of YOLOv8 (C2f), steps of a U-Net's decoder, a window block of a Swin
transformer (arXiv 2103.14030), squeeze-and-excite (1709.01507), branches that only training needs,
convolutions before a global average, blocks of a language model's decoder with the keys and values
of earlier tokens.
"""

import functools
import pathlib
import sys
import typing

import numpy as np

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from zoo import images  # noqa: E402
from zoo.builder import Builder  # noqa: E402
from zoo.command import make_parser, write_models  # noqa: E402
from zoo.images import conv_act, double_conv  # noqa: E402

# -- convolutions ----------------------------------------------------------------------------


def c2f(size):
    b = Builder("c2f")
    x = b.add_input("input", [1, 64, size, size])
    b.add_output(images.c2f(b, x, 64, 2, True, "c2f"), "output", [1, 64, size, size])
    return b.model()


def unet_step(name, size, skip_channels, skip_first):
    """An image made twice as large joins a skip of that size, then two convolutions.

    A skip of 3 channels has a convolution of its own first.
    """
    b = Builder(name)
    x = b.add_input("input", [1, 64, size, size])
    skip = b.add_input("skip", [1, skip_channels, 2 * size, 2 * size])
    if skip_channels == 3:
        skip = conv_act(b, skip, 32, 3, "skip", "relu")
    x = b.conv_transpose(x, 32, 2, 2, "deconv", bias=True)
    x = b.concat([skip, x] if skip_first else [x, skip], "join")
    b.add_output(double_conv(b, x, 32, "conv"), "output", [1, 32, 2 * size, 2 * size])
    return b.model()


def two_branches(size):
    """One producer, two consumers, and the sum of both."""
    b = Builder("two_branches")
    x = conv_act(b, b.add_input("input", [1, 32, size, size]), 64, 1, "stem", "relu")
    wide = conv_act(b, x, 32, 3, "wide", "relu")
    narrow = conv_act(b, x, 32, 1, "narrow", "relu")
    b.add_output(b.add(wide, narrow, "sum"), "output", [1, 32, size, size])
    return b.model()


def repvgg(size):
    """Two blocks as RepVGG (arXiv 2101.03697) is trained: three branches, summed."""
    b = Builder("repvgg")
    x = b.add_input("input", [1, 64, size, size])
    for i in range(2):
        dense = b.batch_norm(b.conv(x, 64, 3, f"{i}.dense", gain=0.7), f"{i}.dense/norm")
        point = b.batch_norm(b.conv(x, 64, 1, f"{i}.point", gain=0.7), f"{i}.point/norm")
        x = b.add(b.add(dense, point, f"{i}.sum"), b.batch_norm(x, f"{i}.identity", 0.5),
                  f"{i}.sum_1")
        x = b.activation(x, "relu", f"{i}.act")
    b.add_output(x, "output", [1, 64, size, size])
    return b.model()


def mobileone(size):
    """Depthwise and pointwise as MobileOne (arXiv 2206.04040) is trained: many branches each."""
    b = Builder("mobileone")
    x = b.add_input("input", [1, 128, size, size])
    for kernel, groups, name in ((3, 128, "depthwise"), (1, 1, "pointwise")):
        total = b.batch_norm(x, f"{name}.identity", 0.5)
        branches = [(kernel, f"{name}.{i}") for i in range(4)]
        if kernel > 1:
            branches.append((1, f"{name}.point"))
        for k, branch in branches:
            y = b.batch_norm(b.conv(x, 128, k, branch, groups=groups, gain=0.5), f"{branch}/norm")
            total = b.add(total, y, f"{branch}/sum")
        x = b.activation(total, "relu", f"{name}.act")
    b.add_output(x, "output", [1, 128, size, size])
    return b.model()


def squeeze_excite(size):
    """Depthwise, scaled by a gate that reads all of it, projected."""
    b = Builder("squeeze_excite")
    x = b.conv(b.add_input("input", [1, 96, size, size]), 96, 3, "depthwise", groups=96)
    x = b.activation(x, "relu", "depthwise/act")
    x = b.squeeze_excite(x, 24, "se", "relu", "Sigmoid")
    x = b.conv(x, 24, 1, "project", bias=True)
    b.add_output(x, "output", [1, 24, size, size])
    return b.model()


def conv_pool(name, size, in_channels, channels, kernel):
    """A convolution of which only the channels' averages are wanted."""
    b = Builder(name)
    x = b.add_input("input", [1, in_channels, size, size])
    x = conv_act(b, x, channels, kernel, "conv", "relu")
    x = b.op("GlobalAveragePool", [x], "/pool/GlobalAveragePool")
    b.add_output(x, "output", [1, channels, 1, 1])
    return b.model()


# -- attention -------------------------------------------------------------------------------


def swin_window(size, width=96, heads=3, window=7):
    """Attention in windows of an image shifted by half a window; the image stays shifted."""
    b = Builder("swin_window")
    count, area, head = size // window, window**2, width // heads
    image = b.add_input("input", [1, size, size, width])
    x = b.layer_norm(image, width, "norm", 1e-5, decomposed=False)
    x = _shift_rows(b, x, window // 2, size)
    x = b.reshape(x, [1, count, window, count, window, width], "windows")
    x = b.transpose(x, [0, 1, 3, 2, 4, 5], "windows")
    x = b.reshape(x, [count**2, area, width], "windows/flat")
    x = b.linear(x, width, 3 * width, "qkv")
    x = b.transpose(b.reshape(x, [count**2, area, 3, heads, head], "qkv"), [2, 0, 3, 1, 4], "qkv")
    ones = b.constant("/qkv/sizes", [1, 1, 1], np.int64)
    parts = b.op("Split", [x, ones], "/qkv/Split", num_outputs=3, axis=0)
    query, key, value = (
        b.op("Squeeze", [part, b.constant(f"/qkv/axis{i}", [0], np.int64)], f"/qkv/Squeeze{i}")
        for i, part in enumerate(parts))
    scores = b.op("MatMul", [query, b.transpose(key, [0, 1, 3, 2], "key")], "/MatMul")
    scores = b.op("Mul", [scores, b.constant("/Constant", head**-0.5)], "/Mul")
    places = b.normal("relative_position_bias", (1, heads, area, area), 0.1)
    x = _attend(b, b.op("Add", [scores, places], "/Add"), value, [count**2, area, width], "context")
    x = b.linear(x, width, width, "proj")
    x = b.reshape(x, [1, count, count, window, window, width], "image")
    x = b.transpose(x, [0, 1, 3, 2, 4, 5], "image")
    x = b.reshape(x, [1, size, size, width], "image/flat")
    b.add_output(b.op("Add", [image, x], "/residual/Add"), "output", [1, size, size, width])
    return b.model()


def _shift_rows(b, x, rows, size):
    """Rows [rows, size) of axis 1, then rows [0, rows)."""
    axes = b.constant("/shift/axes", [1], np.int64)
    bounds = {row: b.constant(f"/shift/row{row}", [row], np.int64) for row in (0, rows, size)}
    parts = [b.op("Slice", [x, bounds[first], bounds[end], axes], f"/shift/Slice{first}")
             for first, end in ((rows, size), (0, rows))]
    return b.op("Concat", parts, "/shift/Concat", axis=1)


def _attend(b, scores, value, shape, name):
    """softmax(scores) value, the heads beside each other again in `shape`."""
    x = b.op("MatMul", [b.op("Softmax", [scores], f"/{name}/Softmax", axis=-1), value],
             f"/{name}/MatMul")
    return b.reshape(b.transpose(x, [0, 2, 1, 3], name), shape, name)


WIDTH, HEADS, SHARED_HEADS, HEAD, HIDDEN = 512, 8, 2, 64, 1408  # of a decoder block


def decoder(past, tokens):
    """Grouped-query attention over `past` earlier and `tokens` new tokens, then a gated MLP.

    Every token sees all others: there is no mask. Outputs the keys and values to keep, too.
    """
    b = Builder(f"decoder_past{past}_tokens{tokens}")
    total = past + tokens
    start = x = b.add_input("input", [1, tokens, WIDTH])
    kept = [b.add_input(name, [1, SHARED_HEADS, past, HEAD]) for name in ("past_key", "past_value")]
    angles = [b.add_input(name, [1, 1, tokens, HEAD]) for name in ("cos", "sin")]
    x = _rms_norm(b, x, "attention/norm")
    query = _rotate(b, _heads(b, x, tokens, HEADS, "query"), *angles, "query/rotary")
    key = _rotate(b, _heads(b, x, tokens, SHARED_HEADS, "key"), *angles, "key/rotary")
    new = [key, _heads(b, x, tokens, SHARED_HEADS, "value")]
    key, value = kept = [b.op("Concat", pair, f"/{name}/cache/Concat", axis=2)
                         for name, *pair in zip(("key", "value"), kept, new)]
    key = b.transpose(_for_all_heads(b, key, total, "key"), [0, 1, 3, 2], "key/columns")
    scores = b.op("MatMul", [query, key], "/attention/MatMul")
    scores = b.op("Mul", [scores, b.constant("/attention/Constant", HEAD**-0.5)], "/attention/Mul")
    x = _attend(b, scores, _for_all_heads(b, value, total, "value"), [1, tokens, WIDTH], "context")
    middle = b.op("Add", [start, _product(b, x, WIDTH, WIDTH, "proj")], "/attention/Add")
    x = _rms_norm(b, middle, "mlp/norm")
    gate = b.activation(_product(b, x, WIDTH, HIDDEN, "mlp/gate"), "silu", "mlp/act")
    x = b.op("Mul", [gate, _product(b, x, WIDTH, HIDDEN, "mlp/up")], "/mlp/Mul")
    x = b.op("Add", [middle, _product(b, x, HIDDEN, WIDTH, "mlp/down")], "/mlp/Add")
    b.add_output(x, "output", [1, tokens, WIDTH])
    for name, tensor in zip(("key", "value"), kept):
        b.add_output(tensor, name, [1, SHARED_HEADS, total, HEAD])
    return b.model()


def _product(b, x, rows, columns, name):
    """MatMul without bias."""
    weight = b.normal(f"{name}.weight", (rows, columns), rows**-0.5)
    return b.op("MatMul", [x, weight], f"/{name}/MatMul")


def _rms_norm(b, x, name):
    square = b.op("Mul", [x, x], f"/{name}/Mul")
    mean = b.op("ReduceMean", [square], f"/{name}/ReduceMean", axes=[-1], keepdims=1)
    mean = b.op("Add", [mean, b.constant(f"/{name}/Constant", 1e-5)], f"/{name}/Add")
    scale = b.op("Reciprocal", [b.op("Sqrt", [mean], f"/{name}/Sqrt")], f"/{name}/Reciprocal")
    weight = b.normal(f"{name}.weight", (WIDTH,), 0.1, 1.0)
    return b.op("Mul", [b.op("Mul", [x, scale], f"/{name}/Mul_1"), weight], f"/{name}/Mul_2")


def _heads(b, x, tokens, heads, name):
    """A projection of x, [1, heads, tokens, HEAD]."""
    x = b.reshape(_product(b, x, WIDTH, heads * HEAD, name), [1, tokens, heads, HEAD], name)
    return b.transpose(x, [0, 2, 1, 3], name)


def _rotate(b, x, cos, sin, name):
    """x cos + (-second half, first half) sin: rotary positions (arXiv 2104.09864)."""
    sizes = b.constant(f"/{name}/Constant", [HEAD // 2] * 2, np.int64)
    first, second = b.op("Split", [x, sizes], f"/{name}/Split", num_outputs=2, axis=-1)
    turned = b.op("Concat", [b.op("Neg", [second], f"/{name}/Neg"), first], f"/{name}/Concat",
                  axis=-1)
    return b.op("Add", [b.op("Mul", [x, cos], f"/{name}/Mul"),
                        b.op("Mul", [turned, sin], f"/{name}/Mul_1")], f"/{name}/Add")


def _for_all_heads(b, x, total, name):
    """Each shared head repeated for the heads of its group."""
    axis = b.constant(f"/{name}/repeat/axis", [2], np.int64)
    group = HEADS // SHARED_HEADS
    shape = b.constant(f"/{name}/repeat/shape", [1, SHARED_HEADS, group, total, HEAD], np.int64)
    x = b.op("Expand", [b.op("Unsqueeze", [x, axis], f"/{name}/repeat/Unsqueeze"), shape],
             f"/{name}/repeat/Expand")
    return b.reshape(x, [1, HEADS, total, HEAD], f"{name}/repeat")


# -- the command -----------------------------------------------------------------------------


class ImageGraph(typing.NamedTuple):
    make: typing.Callable  # of the input's height and width
    size: int
    multiple: int = 1


IMAGE_GRAPHS = {
    "c2f": ImageGraph(c2f, 80),
    "unet_skip_first": ImageGraph(lambda size: unet_step("unet_skip_first", size, 32, True), 64),
    "unet_skip_last": ImageGraph(lambda size: unet_step("unet_skip_last", size, 32, False), 64),
    "unet_skip_conv": ImageGraph(lambda size: unet_step("unet_skip_conv", size, 3, True), 64),
    "swin_window": ImageGraph(swin_window, 56, 7),
    "two_branches": ImageGraph(two_branches, 56),
    "repvgg": ImageGraph(repvgg, 56),
    "mobileone": ImageGraph(mobileone, 28),
    "squeeze_excite": ImageGraph(squeeze_excite, 28),
    "conv1_pool": ImageGraph(lambda size: conv_pool("conv1_pool", size, 160, 960, 1), 7),
    "conv3_pool": ImageGraph(lambda size: conv_pool("conv3_pool", size, 32, 64, 3), 56),
}
DECODERS = {"decoder_one_token": (511, 1), "decoder_prefill": (64, 64),
            "decoder_long_prefill": (1024, 256)}  # earlier tokens, new tokens


def models(names, size=None, past=None, tokens=None):
    """{file's name without suffix: function that makes the model}; other sizes are in the name."""
    found = {}
    for name in names:
        if name in DECODERS:
            lengths = (past or DECODERS[name][0], tokens or DECODERS[name][1])
            suffix = "" if lengths == DECODERS[name] else f"_{lengths[0]}_{lengths[1]}"
            found[name + suffix] = functools.partial(decoder, *lengths)
            continue
        graph = IMAGE_GRAPHS[name]
        side = size or graph.size
        if side % graph.multiple:
            raise ValueError(f"{name}: the size must be a multiple of {graph.multiple}")
        suffix = "" if side == graph.size else f"_{side}"
        found[name + suffix] = functools.partial(graph.make, side)
    return found


def main():
    parser = make_parser("zoo.graphs", __doc__.splitlines()[0], [*IMAGE_GRAPHS, *DECODERS])
    parser.add_argument("--size", type=int, metavar="N",
                        help="height and width of inputs, in place of each network's own")
    parser.add_argument("--past", type=int, metavar="N", help="the decoder's earlier tokens")
    parser.add_argument("--tokens", type=int, metavar="N", help="the decoder's new tokens")
    arguments = parser.parse_args()
    try:
        chosen = models(arguments.only, arguments.size, arguments.past, arguments.tokens)
    except ValueError as error:
        parser.error(str(error))
    write_models(chosen, arguments)


if __name__ == "__main__":
    main()
