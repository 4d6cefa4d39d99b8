"""Models cut off or with changed bytes: refused with a message or run, never a crash."""

import pathlib
import random
import sys
import unittest

import numpy as np
from onnx import helper

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "command"))
from corf_command import CommandTest, constant, corf, make_model, value

NUM_CUTS = 40
NUM_CHANGES = 120


def conv_model():
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return make_model(
        [helper.make_node("Conv", ["x", "w"], ["c"], name="filter", pads=[1, 1, 1, 1]),
         helper.make_node("Relu", ["c"], ["r"], name="clip"),
         helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
         helper.make_node("Reshape", ["p", "shape"], ["y"], name="flat")],
        [value("x", [1, 3, 6, 6])], [value("y", [1, 4])],
        [constant("w", weights), constant("shape", np.array([1, -1], np.int64))])


class DamagedModelTest(CommandTest):
    def test_cut_off(self):
        content = conv_model()
        for i in range(NUM_CUTS):
            size = i * len(content) // NUM_CUTS
            with self.subTest(size=size):
                self.check_fails("run", self.write("model.onnx", content[:size]))

    def test_changed_bytes(self):
        content = conv_model()
        numbers = random.Random(0)
        for i in range(NUM_CHANGES):
            changed = bytearray(content)
            for _ in range(numbers.randint(1, 3)):
                changed[numbers.randrange(len(changed))] = numbers.randrange(256)
            result = corf("run", self.write("model.onnx", bytes(changed)))
            with self.subTest(change=i):
                self.assertIn(result.returncode, (0, 1), result)
                self.assertNotIn("internal", result.stderr)
                if result.returncode == 1:
                    self.assertEqual(result.stderr.count("error:"), 1, result.stderr)


if __name__ == "__main__":
    unittest.main()
