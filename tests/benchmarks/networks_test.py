"""The networks for images and the small ones with branches: valid, and computed alike by corf."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import onnx

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from models.measure import model_files  # noqa: E402
from zoo import graphs  # noqa: E402
from zoo.builder import write_model  # noqa: E402
from zoo.images import NETWORKS  # noqa: E402

COMPARED = ["fsrcnn", "edsr8", "yolov8n"]  # these have operators that the zoo's networks lack


class Networks(unittest.TestCase):
    def check(self, model, compared):
        onnx.checker.check_model(model, full_check=True)  # the outputs' shapes too
        if not compared:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "model.onnx")
            write_model(model, path)
            result = subprocess.run([os.environ["CORF_COMMAND"], "compare", str(path)],
                                    capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_for_images(self):
        for name, network in NETWORKS.items():
            with self.subTest(name):
                self.check(network.make(32, 64), name in COMPARED)

    def test_with_branches(self):
        names = [*graphs.IMAGE_GRAPHS, *graphs.DECODERS]
        for name, make in graphs.models(names, size=14, past=9, tokens=5).items():
            with self.subTest(name):
                self.check(make(), True)

    def test_other_sizes_are_in_the_names_and_fit_the_network(self):
        self.assertEqual(list(graphs.models(["c2f", "decoder_prefill"])),
                         ["c2f", "decoder_prefill"])
        self.assertEqual(list(graphs.models(["c2f", "decoder_prefill"], size=40, tokens=8)),
                         ["c2f_40", "decoder_prefill_64_8"])
        with self.assertRaises(ValueError):
            graphs.models(["swin_window"], size=50)

    def test_a_folder_stands_for_the_models_in_it(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for file in ("b.onnx", "a.onnx", "a.txt"):
                (folder / file).touch()
            self.assertEqual(model_files([folder, pathlib.Path("c.onnx")]),
                             [folder / "a.onnx", folder / "b.onnx", pathlib.Path("c.onnx")])


if __name__ == "__main__":
    unittest.main()
