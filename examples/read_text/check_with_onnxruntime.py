"""Reads a picture of a line of text with ONNX Runtime, to check what read_text should print.

Usage: check_with_onnxruntime.py [--model rec.onnx] [--expect TEXT] [PICTURE]
Needs Pillow, numpy and onnxruntime (scripts/setup_peers).
"""

import argparse
import pathlib
import sys

import numpy as np
import onnxruntime
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
HEIGHT = 48  # the recognition model's


def load_picture(path):
    """The model's input, float32 [1, 3, 48, width]: BGR planes scaled to [-1, 1]."""
    picture = Image.open(path).convert("RGB")
    if picture.height != HEIGHT:
        width = max(1, round(picture.width * HEIGHT / picture.height))
        picture = picture.resize((width, HEIGHT), Image.Resampling.BILINEAR)
    bgr = np.asarray(picture, dtype=np.float32)[:, :, ::-1]
    return np.ascontiguousarray((bgr / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]


def decode(probabilities, characters):
    """Greedy CTC: the best class of each step, repeats merged, blanks (class 0) dropped.

    probabilities: [steps, classes]. Returns the text and the mean probability of what was kept.
    """
    best = probabilities.argmax(axis=1)
    kept = [i for i, label in enumerate(best)
            if label != 0 and (i == 0 or label != best[i - 1])]
    text = "".join(characters[best[i]] for i in kept)
    return text, float(np.mean([probabilities[i, best[i]] for i in kept])) if kept else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", type=pathlib.Path, default=HERE / "line.png")
    parser.add_argument("--model", type=pathlib.Path,
                        default=HERE.parents[1] / "build" / "models" / "ppocr" / "rec.onnx")
    parser.add_argument("--expect", help="exit 1 where another text is read")
    arguments = parser.parse_args()
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    listed = session.get_modelmeta().custom_metadata_map["character"].split("\n")
    characters = ["", *listed, " "]  # class 0 is CTC's blank, the last class the space
    picture = load_picture(arguments.picture)
    [probabilities] = session.run(None, {session.get_inputs()[0].name: picture})
    text, confidence = decode(probabilities[0], characters)
    print(f"{text}    (confidence {confidence:.3f}, input {picture.shape})")
    if arguments.expect is not None and text != arguments.expect:
        sys.exit(f"error: expected {arguments.expect!r}")


if __name__ == "__main__":
    main()
