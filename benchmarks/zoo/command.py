"""The command line that writes models: --out DIR [--only NAME...] [--force]."""

import argparse
import pathlib
import sys
import time

from zoo.builder import write_model


def make_parser(program, about, names):
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=sorted(names), default=list(names),
                        metavar="NAME", help="some of: " + ", ".join(sorted(names)))
    parser.add_argument("--force", action="store_true", help="write files that exist already too")
    return parser


def write_models(models, arguments):
    """Writes {file's name without suffix: function without arguments that makes the model}."""
    for name, make in models.items():
        path = arguments.out / f"{name}.onnx"
        if path.exists() and not arguments.force:
            print(f"{path}: exists", file=sys.stderr)
            continue
        start = time.monotonic()
        write_model(make(), path)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB in "
              f"{time.monotonic() - start:.1f} s", file=sys.stderr)
