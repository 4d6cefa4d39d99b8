"""Writes the model zoo: python -m zoo --out DIR [--only NAME...] [--force], from benchmarks/."""

import argparse
import pathlib
import sys
import time

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from zoo import (densenet, efficientnet, mobilenet, resnet, shufflenet, squeezenet,  # noqa: E402
                 transformer, vgg)
from zoo.builder import write_model  # noqa: E402

MODELS = {
    "mobilenet_v1": mobilenet.mobilenet_v1,
    "mobilenet_v2": mobilenet.mobilenet_v2,
    "mobilenet_v3_large": mobilenet.mobilenet_v3_large,
    "resnet18": resnet.resnet18,
    "resnet50": resnet.resnet50,
    "squeezenet1_1": squeezenet.squeezenet1_1,
    "efficientnet_b0": efficientnet.efficientnet_b0,
    "shufflenet_v2_1_0": shufflenet.shufflenet_v2_1_0,
    "vgg16": vgg.vgg16,
    "densenet121": densenet.densenet121,
    "bert_base": transformer.bert_base,
    "vit_tiny": transformer.vit_tiny,
}


def main():
    parser = argparse.ArgumentParser(prog="zoo", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=sorted(MODELS), metavar="NAME",
                        help="some of: " + ", ".join(sorted(MODELS)))
    parser.add_argument("--force", action="store_true", help="write files that exist already too")
    arguments = parser.parse_args()
    for name in arguments.only or MODELS:
        path = arguments.out / f"{name}.onnx"
        if path.exists() and not arguments.force:
            print(f"{path}: exists", file=sys.stderr)
            continue
        start = time.monotonic()
        write_model(MODELS[name](), path)
        print(f"{path}: {path.stat().st_size / 2**20:.0f} MiB in "
              f"{time.monotonic() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
