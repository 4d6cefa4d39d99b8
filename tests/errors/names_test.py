"""Sound models with names that would harm a terminal: they run, and nothing shows the names raw."""

import json
import pathlib
import re
import subprocess
import sys
import unittest

import numpy as np
from onnx import helper

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "command"))
from bad_files import own_device
from corf_command import CORF, CommandTest, constant, make_model, value

HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
INPUT, OUTPUT, NODE = "x\x1b[2J", "../y\u202e\n", "n\x07\"\\\n"


def model():
    return make_model(
        [helper.make_node("MatMul", [INPUT, "w\x1b"], ["h\r"], name=NODE),
         helper.make_node("Softmax", ["h\r"], [OUTPUT], name="s\u2066", axis=1)],
        [value(INPUT, [2, 3])], [value(OUTPUT, [2, 2])],
        [constant("w\x1b", np.ones((3, 2), np.float32))], metadata={"k\x1b": "v\x1b[31m\nmore"})


class NamesTest(CommandTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("model.onnx", model())

    def output(self, *arguments):
        """What the command prints; valid UTF-8 without what harms."""
        result = subprocess.run([CORF, *map(str, arguments)], capture_output=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        text = (result.stdout + result.stderr).decode("utf-8")
        self.assertIsNone(HARMFUL.search(text), f"{arguments}: {text!r}")
        return result.stdout.decode("utf-8")

    def test_texts(self):
        self.assertIn(r"x\x1b[2J", self.output("inspect", self.model))
        self.assertIn(r"k\x1b = v\x1b[31m...", self.output("inspect", self.model))
        self.assertIn(r"../y\u202e\n", self.output("run", self.model))
        self.assertIn(r"n\x07", self.output("explain", self.model, "--no-measure"))
        self.output("compare", self.model)
        self.output("bench", self.model, "--min-time", "0", "--profile")

    def test_stages(self):
        for stage in ("graph", "mapping", "plan", "loop", "llvm", "asm"):
            with self.subTest(stage=stage):
                self.output("inspect", self.model, "--stage", stage)

    def test_a_printed_plan_is_read_back(self):
        text = self.output("inspect", self.model, "--stage", "plan")
        plan = self.write("plan.txt", text.encode())
        self.output("run", self.model, "--force-plan", plan)

    def test_json_keeps_the_names(self):
        overview = json.loads(self.output("inspect", self.model, "--json"))
        self.assertEqual(overview["inputs"][0]["name"], INPUT)
        self.assertEqual(overview["outputs"][0]["name"], OUTPUT)

    def test_pages(self):
        page, graph = self.folder / "plan.html", self.folder / "plan.dot"
        self.output("explain", self.model, "--no-measure", "--html", page, "--dot", graph)
        for path in (page, graph):
            self.assertIsNone(HARMFUL.search(path.read_bytes().decode("utf-8")))

    def test_names_of_output_files(self):
        out = self.folder / "out"
        self.output("run", self.model, "--output-dir", out)
        [path] = out.iterdir()
        self.assertEqual(path.parent, out)
        self.assertRegex(path.name, r"^_[-A-Za-z0-9_.]*\.npy$")
        np.testing.assert_allclose(np.load(path).sum(axis=1), [1, 1], rtol=1e-5)

    def test_a_long_name_of_an_output(self):
        name = "\u4e2d" * 500
        long = self.write("long.onnx", make_model([helper.make_node("Relu", ["x"], [name])],
                                                  [value("x", [2])], [value(name, [2])]))
        self.output("run", long, "--output-dir", self.folder / "out")
        [path] = (self.folder / "out").iterdir()
        self.assertLessEqual(len(path.name.encode()), 255)


class OutputTest(CommandTest):
    """Where a command writes to what is no regular file."""

    def setUp(self):
        super().setUp()
        self.model = self.write("model.onnx", model())

    def test_standard_output(self):
        compiled = self.folder / "model.corf"
        with open(compiled, "wb") as file:
            result = subprocess.run([CORF, "compile", self.model, "-o", "/dev/stdout"], stdout=file,
                                    stderr=subprocess.PIPE, check=True)
        self.assertIn(b"compiled in", result.stderr)
        self.check_succeeds("run", compiled)
        piped = subprocess.run([CORF, "compile", self.model, "-o", "/dev/stdout"],
                               capture_output=True, check=True)
        self.assertTrue(piped.stdout.startswith(b"corf\r\n"))
        self.check_succeeds("run", self.write("piped.corf", piped.stdout))
        page = subprocess.run(
            [CORF, "explain", self.model, "--no-measure", "--html", "/dev/stdout"],
            capture_output=True, check=True)
        self.assertTrue(page.stdout.endswith(b"</html>\n"))

    def test_null_device(self):
        null = own_device(self.folder / "null", 3)
        self.assertIn("null: ", self.check_succeeds("compile", self.model, "-o", null))
        self.assertTrue(null.is_char_device())

    def test_nothing_is_left_over(self):
        out = self.folder / "out"
        out.mkdir()
        self.check_succeeds("compile", self.model, "-o", out / "a.corf")
        self.check_succeeds("compile", self.model, "-o", out / "a.corf")
        self.assertEqual([path.name for path in out.iterdir()], ["a.corf"])


if __name__ == "__main__":
    unittest.main()
