"""Runs a package that is written for ONNX Runtime, on it or on corf.

Usage: programs.py onnxruntime|corf magika|rapidocr|silero

Prints JSON: the program's results, and the seconds of its start, of its first pass over the inputs
and, as a median, of those after it. scripts/setup_programs installs the packages.
"""

import importlib.util
import json
import pathlib
import statistics
import sys
import time

REPOSITORY = pathlib.Path(__file__).parents[2]


def magika():
    """Kinds of the repository's files, by the package's own class."""
    from magika import Magika
    session = Magika()
    paths = [*sorted((REPOSITORY / "src").glob("*/*.h"))[:24],
             *sorted((REPOSITORY / "scripts").iterdir()),
             *sorted((REPOSITORY / "tests").glob("*/*.py"))[:12],
             *sorted((REPOSITORY / "docs").iterdir()), REPOSITORY / "examples/read_text/line.png"]

    def identify():
        results = [session.identify_path(path) for path in paths]
        return [[str(result.output.label) for result in results],
                [float(result.score) for result in results]]

    return identify


def rapidocr():
    """Texts of a picture and of a drawn page, by the package's own class."""
    import cv2
    import numpy as np
    from rapidocr_onnxruntime import RapidOCR
    read = RapidOCR()
    page = np.full((480, 640, 3), 255, np.uint8)
    for i, text in enumerate(["Each element is produced once", "Rings never leave the caches",
                              "1234567890", "A page with four lines"]):
        cv2.putText(page, text, (20, 80 + 100 * i), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (0, 0, 0), 2,
                    cv2.LINE_AA)
    pictures = [cv2.imread(str(REPOSITORY / "examples/read_text/line.png")), page]

    def read_all():
        lines = [line for picture in pictures for line in read(picture)[0]]
        return [[line[1] for line in lines], [float(line[2]) for line in lines]]

    return read_all


def silero():
    """Probabilities of speech in ten seconds of sound, as the package's OnnxWrapper computes them
    with PyTorch's tensors: chunks of 32 ms, with the state of the one before."""
    import numpy as np
    import onnxruntime
    # Importing the package would need PyTorch.
    folder = pathlib.Path(importlib.util.find_spec("silero_vad").origin).parent
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "data" / "silero_vad.onnx"),
                                           providers=["CPUExecutionProvider"],
                                           sess_options=options)
    times = np.arange(160000) / 16000
    noise = np.random.default_rng(0).standard_normal(times.size)
    tone = np.sin(2 * np.pi * (120 + 20 * np.sin(3 * times)) * times)
    sound = (0.3 * tone * (np.sin(2 * np.pi * 2 * times) > 0) + 0.02 * noise).astype(np.float32)

    def listen():
        probabilities = []
        for rate, chunk, before in ((16000, 512, 64), (8000, 256, 32)):
            state = np.zeros((2, 1, 128), np.float32)
            context = np.zeros((1, before), np.float32)
            for start in range(0, sound.size - chunk, chunk):
                x = np.concatenate([context, sound[None, start:start + chunk]], axis=1)
                probability, state = session.run(
                    None, {"input": x, "state": state, "sr": np.array(rate, dtype="int64")})
                context = x[:, -before:]
                probabilities.append(float(probability[0, 0]))
        return [[], probabilities]

    return listen


def main():
    engine, program = sys.argv[1:]
    if engine == "corf":
        import corf
        corf.replace_onnxruntime()
    seconds = [time.perf_counter()]
    call = {"magika": magika, "rapidocr": rapidocr, "silero": silero}[program]()
    seconds.append(time.perf_counter())
    for _ in range(8):
        words, numbers = call()
        seconds.append(time.perf_counter())
    passes = [after - before for before, after in zip(seconds, seconds[1:])]
    print(json.dumps({"words": words, "numbers": numbers, "start_s": passes[0],
                      "first_s": passes[1], "again_s": statistics.median(passes[2:])}))


if __name__ == "__main__":
    main()
