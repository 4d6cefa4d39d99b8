"""Draws line.png, a line of text as a scanner might see it: uneven paper, blur, tilt, noise.

Needs Pillow, numpy and the DejaVu fonts (Debian: fonts-dejavu-core).
"""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"
TEXT = "Each element is produced exactly once."
HEIGHT = 48
OVERSAMPLING = 4


def draw_line(text, seed):
    """An RGB image HEIGHT pixels high, as wide as the text needs."""
    font = ImageFont.truetype(FONT, 25 * OVERSAMPLING)
    width = int(font.getlength(text)) // OVERSAMPLING + 12
    size = (width * OVERSAMPLING, HEIGHT * OVERSAMPLING)
    ink = Image.new("L", size)
    ImageDraw.Draw(ink).text((6 * OVERSAMPLING, size[1] // 2), text, fill=255, font=font,
                             anchor="lm")
    ink = ink.rotate(0.25, resample=Image.Resampling.BICUBIC)
    ink = ink.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    ink = ink.filter(ImageFilter.GaussianBlur(0.5))

    random = np.random.default_rng(seed)
    paper = np.array([236.0, 229.0, 212.0]) + np.linspace(-12, 8, width)[None, :, None]
    coverage = np.asarray(ink, dtype=np.float64)[:, :, None] / 255 * 0.88
    pixels = paper * (1 - coverage) + np.array([38.0, 40.0, 58.0]) * coverage
    pixels = pixels + random.normal(0, 5, pixels.shape)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), "RGB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).with_name("line.png"))
    arguments = parser.parse_args()
    draw_line(arguments.text, seed=1).save(arguments.out)


if __name__ == "__main__":
    main()
