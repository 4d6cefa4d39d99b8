"""Packages that are written for ONNX Runtime give the same results on corf, which takes its place
in them (corf.replace_onnxruntime). Prints the times of both.

Needs build/venv-programs, which scripts/setup_programs makes.
"""

import json
import pathlib
import subprocess
import unittest

REPOSITORY = pathlib.Path(__file__).parents[2]
PYTHON = REPOSITORY / "build" / "venv-programs" / "bin" / "python"


def run(engine, program):
    result = subprocess.run([PYTHON, "-W", "ignore", pathlib.Path(__file__).parent / "programs.py",
                             engine, program], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


class ProgramsTest(unittest.TestCase):
    def check(self, program, most_apart, at_least):
        """`most_apart`: of probabilities, after softmax or sigmoid of float32 sums in other orders."""
        theirs, ours = run("onnxruntime", program), run("corf", program)
        for engine, times in (("onnxruntime", theirs), ("corf", ours)):
            print(f"{program:<9} {engine:<12} start {times['start_s']:6.3f} s, first pass "
                  f"{times['first_s']:6.3f} s, later ones {times['again_s'] * 1e3:8.2f} ms")
        self.assertGreaterEqual(len(theirs["numbers"]), at_least)
        self.assertEqual(ours["words"], theirs["words"])
        self.assertEqual(len(ours["numbers"]), len(theirs["numbers"]))
        for one, other in zip(ours["numbers"], theirs["numbers"]):
            self.assertAlmostEqual(one, other, delta=most_apart)

    def test_magika(self):
        self.check("magika", 1e-3, 40)

    def test_rapidocr(self):
        self.check("rapidocr", 1e-3, 7)

    def test_silero(self):
        self.check("silero", 1e-5, 900)


if __name__ == "__main__":
    unittest.main()
