"""Writes networks for wide images: denoising, super-resolution, segmentation, detection.

python -m zoo.images --out DIR [--only NAME...] [--size HEIGHTxWIDTH] [--force], from benchmarks/.
DnCNN (arXiv 1608.03981), EDSR (1707.02921), SRVGG as in Real-ESRGAN's small models (2107.10833),
FSRCNN (1608.00367), U-Net (1505.04597, padded and half as wide), YOLOv8n without its decoding.
"""

import argparse
import functools
import pathlib
import sys
import typing

import numpy as np

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from zoo.builder import Builder  # noqa: E402
from zoo.command import make_parser, write_models  # noqa: E402


def conv_act(b, x, channels, kernel, name, activation, stride=1):
    """Convolution with bias, and its activation."""
    x = b.conv(x, channels, kernel, name, stride, bias=True)
    return b.activation(x, activation, f"{name}/act")


# -- denoising and super-resolution ----------------------------------------------------------


def dncnn(height, width, layers=17, channels=64):
    """The noise in a grey picture, taken from the picture."""
    b = Builder("dncnn")
    image = x = b.add_input("input", [1, 1, height, width])
    for i in range(layers - 1):
        x = conv_act(b, x, channels, 3, f"layer{i}", "relu")
    x = b.conv(x, 1, 3, f"layer{layers - 1}", bias=True)
    b.add_output(b.op("Sub", [image, x], "/Sub"), "output", [1, 1, height, width])
    return b.model()


def edsr(height, width, blocks=8, channels=64, scale=2):
    """Residual blocks, all added to the first convolution's result, then more pixels."""
    b = Builder("edsr")
    x = head = b.conv(b.add_input("input", [1, 3, height, width]), channels, 3, "head", bias=True)
    for i in range(blocks):
        y = conv_act(b, x, channels, 3, f"body.{i}.0", "relu")
        # Half the weight: a sum over many blocks would grow with their number.
        y = b.conv(y, channels, 3, f"body.{i}.1", bias=True, gain=0.5)
        x = b.add(x, y, f"body.{i}")
    x = b.add(b.conv(x, channels, 3, "body.last", bias=True), head, "body")
    x = more_pixels(b, b.conv(x, channels * scale**2, 3, "tail.0", bias=True), scale, "tail.1")
    x = b.conv(x, 3, 3, "tail.2", bias=True)
    b.add_output(x, "output", [1, 3, height * scale, width * scale])
    return b.model()


def srvgg(height, width, layers=16, channels=64, scale=2):
    """A plain stack of convolutions, added to the image with its pixels repeated."""
    b = Builder("srvgg")
    image = b.add_input("input", [1, 3, height, width])
    x = conv_act(b, image, channels, 3, "body.0", "prelu")
    for i in range(layers):
        x = conv_act(b, x, channels, 3, f"body.{i + 1}", "prelu")
    x = b.conv(x, 3 * scale**2, 3, f"body.{layers + 1}", bias=True)
    x = more_pixels(b, x, scale, "upsampler")
    factors = b.constant("/base/Constant", [1, 1, scale, scale])
    base = b.op("Resize", [image, "", factors], "/base/Resize", mode="nearest")
    b.add_output(b.add(x, base, "sum"), "output", [1, 3, height * scale, width * scale])
    return b.model()


def fsrcnn(height, width, features=56, shrunk=12, mappings=4, scale=2):
    """Few channels between two wide layers; a transposed convolution makes the pixels."""
    b = Builder("fsrcnn")
    x = conv_act(b, b.add_input("input", [1, 1, height, width]), features, 5, "feature", "prelu")
    x = conv_act(b, x, shrunk, 1, "shrink", "prelu")
    for i in range(mappings):
        x = conv_act(b, x, shrunk, 3, f"map.{i}", "prelu")
    x = conv_act(b, x, features, 1, "expand", "prelu")
    x = b.conv_transpose(x, 1, 9, scale, "deconv", padding=4, output_padding=scale - 1)
    b.add_output(x, "output", [1, 1, height * scale, width * scale])
    return b.model()


def more_pixels(b, x, scale, name):
    """Each group of scale * scale channels becomes the pixels of a square, as PixelShuffle."""
    output = b.op("DepthToSpace", [x], f"/{name}/DepthToSpace", blocksize=scale, mode="CRD")
    b.channels[output] = b.channels[x] // scale**2
    return output


# -- segmentation ----------------------------------------------------------------------------


def unet(height, width, channels=32, depth=4, classes=2):
    b = Builder("unet")
    x = b.add_input("input", [1, 3, height, width])
    skips = []
    for i in range(depth):
        x = double_conv(b, x, channels << i, f"down.{i}")
        skips.append(x)
        x = b.pool(x, "Max", 2, 2, f"down.{i}.pool")
    x = double_conv(b, x, channels << depth, "middle")
    for i, skip in reversed(list(enumerate(skips))):
        x = b.conv_transpose(x, b.channels[skip], 2, 2, f"up.{i}.deconv")
        x = double_conv(b, b.concat([skip, x], f"up.{i}"), b.channels[skip], f"up.{i}.conv")
    x = b.conv(x, classes, 1, "classes", bias=True)
    b.add_output(x, "output", [1, classes, height, width])
    return b.model()


def double_conv(b, x, channels, name):
    x = conv_act(b, x, channels, 3, f"{name}.0", "relu")
    return conv_act(b, x, channels, 3, f"{name}.1", "relu")


# -- detection -------------------------------------------------------------------------------

BOX_VALUES, CLASSES = 64, 80  # of each place: four sides of 16 bins, and the classes


def yolov8n(height, width):
    """Backbone, two-way pyramid and heads of three scales; boxes stay as they are predicted."""
    b = Builder("yolov8n")
    x = b.add_input("input", [1, 3, height, width])
    scales = []
    # (channels, repeats of the C2f block behind the convolution of stride 2; 0: no such block).
    for i, (channels, repeats) in enumerate([(16, 0), (32, 1), (64, 2), (128, 2), (256, 1)]):
        x = conv_act(b, x, channels, 3, f"backbone.{i}.conv", "silu", stride=2)
        x = c2f(b, x, channels, repeats, True, f"backbone.{i}.c2f") if repeats else x
        scales.append(x)
    fine, middle = scales[2], scales[3]
    coarse = _pooled_pyramid(b, x, 256, "backbone.sppf")
    middle = c2f(b, b.concat([_twice_as_large(b, coarse, "up.0"), middle], "up.0"), 128, 1, False,
                 "up.0.c2f")
    fine = c2f(b, b.concat([_twice_as_large(b, middle, "up.1"), fine], "up.1"), 64, 1, False,
               "up.1.c2f")
    smaller = conv_act(b, fine, 64, 3, "down.0.conv", "silu", stride=2)
    middle = c2f(b, b.concat([smaller, middle], "down.0"), 128, 1, False, "down.0.c2f")
    smaller = conv_act(b, middle, 128, 3, "down.1.conv", "silu", stride=2)
    coarse = c2f(b, b.concat([smaller, coarse], "down.1"), 256, 1, False, "down.1.c2f")
    heads = [_detect(b, x, f"head.{i}") for i, x in enumerate([fine, middle, coarse])]
    places = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    b.add_output(b.op("Concat", heads, "/head/Concat", axis=2), "output",
                 [1, BOX_VALUES + CLASSES, places])
    return b.model()


def c2f(b, x, channels, repeats, residual, name):
    """Half the channels go through a row of blocks; both halves and every block's result meet."""
    half = channels // 2
    x = conv_act(b, x, channels, 1, f"{name}.cv1", "silu")
    sizes = b.constant(f"/{name}/Constant", [half, half], np.int64)
    parts = b.op("Split", [x, sizes], f"/{name}/Split", num_outputs=2, axis=1)
    b.channels.update(dict.fromkeys(parts, half))
    for i in range(repeats):
        y = conv_act(b, parts[-1], half, 3, f"{name}.m.{i}.cv1", "silu")
        y = conv_act(b, y, half, 3, f"{name}.m.{i}.cv2", "silu")
        parts.append(b.add(parts[-1], y, f"{name}.m.{i}") if residual else y)
    return conv_act(b, b.concat(parts, name), channels, 1, f"{name}.cv2", "silu")


def _pooled_pyramid(b, x, channels, name):
    """The largest values of windows of 5, 9 and 13 pixels beside the values (SPPF)."""
    levels = [conv_act(b, x, channels // 2, 1, f"{name}.cv1", "silu")]
    for i in range(3):
        levels.append(b.pool(levels[-1], "Max", 5, 1, f"{name}.pool{i}", padding=2))
    return conv_act(b, b.concat(levels, name), channels, 1, f"{name}.cv2", "silu")


def _twice_as_large(b, x, name):
    factors = b.constant(f"/{name}/Constant", [1, 1, 2, 2])
    return b.op("Resize", [x, "", factors], f"/{name}/Resize", mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def _detect(b, x, name):
    """Values of the box and of the classes of every place, [1, values, places]."""
    branches = []
    for branch, channels, values in (("box", 64, BOX_VALUES), ("class", 80, CLASSES)):
        y = conv_act(b, x, channels, 3, f"{name}.{branch}.0", "silu")
        y = conv_act(b, y, channels, 3, f"{name}.{branch}.1", "silu")
        branches.append(b.conv(y, values, 1, f"{name}.{branch}.2", bias=True))
    return b.reshape(b.concat(branches, name), [1, BOX_VALUES + CLASSES, -1], name)


# -- the command -----------------------------------------------------------------------------


class Network(typing.NamedTuple):
    make: typing.Callable
    size: tuple[int, int]  # height, width
    multiple: int = 1  # both are multiples of it


NETWORKS = {
    "dncnn17": Network(dncnn, (480, 480)),
    "edsr8": Network(edsr, (180, 320)),
    "srvgg16": Network(srvgg, (270, 480)),
    "fsrcnn": Network(fsrcnn, (540, 960)),
    "unet32": Network(unet, (384, 384), 16),
    "yolov8n": Network(yolov8n, (640, 640), 32),
}


def parse_size(text):
    """(270, 480) from "270x480"."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text}: not of the form HEIGHTxWIDTH")
    return int(height), int(width)


def main():
    parser = make_parser("zoo.images", __doc__.splitlines()[0], NETWORKS)
    parser.add_argument("--size", type=parse_size, metavar="HEIGHTxWIDTH",
                        help="of the image, in place of each network's own")
    arguments = parser.parse_args()
    models = {}
    for name in arguments.only:
        network = NETWORKS[name]
        height, width = arguments.size or network.size
        if height % network.multiple or width % network.multiple:
            parser.error(f"{name}: height and width must be multiples of {network.multiple}")
        models[f"{name}_{height}x{width}"] = functools.partial(network.make, height, width)
    write_models(models, arguments)


if __name__ == "__main__":
    main()
