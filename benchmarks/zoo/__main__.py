"""Writes the model zoo: python -m zoo --out DIR [--only NAME...] [--force], from benchmarks/."""

import pathlib
import sys

if not __package__:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from zoo import (densenet, efficientnet, mobilenet, resnet, shufflenet, squeezenet,  # noqa: E402
                 transformer, vgg)
from zoo.command import make_parser, write_models  # noqa: E402

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
    arguments = make_parser("zoo", __doc__.splitlines()[0], MODELS).parse_args()
    write_models({name: MODELS[name] for name in arguments.only}, arguments)


if __name__ == "__main__":
    main()
