"""Whether the documents are true: commands and options exist, and programs in them run."""

import contextlib
import functools
import importlib.util
import io
import os
import pathlib
import re
import shlex
import unittest

import numpy as np

from corf_command import CommandTest, constant, corf, make_model, value
from onnx import helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
# A line of a block, or between backticks; it ends with a comment, a pipe or a second command.
COMMAND = re.compile(r"^(?:build/)?corf ([a-z]+\b[^`|#&;\\\n]*)|`(?:build/)?corf ([a-z]+\b[^`|#&;\\]*)",
                     re.MULTILINE)
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"^# needs: (.*)$", re.MULTILINE)
OTHERS = {"supported", "compiles", "plans", "is", "has", "and", "generates", "in", "in-process"}


@functools.cache
def options_of(command):
    """The names of the command's options, as its help has them; None if there is no such command."""
    done = corf(command, "--help")
    return set(re.findall(r"--?[a-z][\w-]*", done.stdout)) if done.returncode == 0 else None


def image_model():
    """y = the mean of x f32 [1, 3, 224, 224]."""
    return make_model([helper.make_node("GlobalAveragePool", ["x"], ["p"]),
                       helper.make_node("Conv", ["p", "w"], ["y"])],
                      [value("x", [1, 3, 224, 224])], [value("y", [1, 4, 1, 1])],
                      [constant("w", np.ones((4, 3, 1, 1), np.float32))])


class DocumentsTest(CommandTest):
    def test_commands_and_options_exist(self):
        count = 0
        for document in DOCUMENTS:
            text = document.read_text().replace("\\\n", " ")
            for line in map("".join, COMMAND.findall(text)):
                words = shlex.split(line.replace("\n", " ").replace("'", ""))
                name = words[0]
                if name in OTHERS:
                    continue
                options = options_of(name)
                self.assertIsNotNone(options, f"{document.name}: corf {line}")
                for word in words[1:]:
                    for option in re.findall(r"^\[?(--[a-z][\w-]*)", word):
                        self.assertIn(option, options, f"{document.name}: corf {line}")
                count += 1
        self.assertGreater(count, 40)

    def test_links_lead_somewhere(self):
        for document in DOCUMENTS:
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
                if not target.startswith("http") and target != "operators.md":
                    self.assertTrue((document.parent / target).exists(),
                                    f"{document.name}: {target}")

    def test_scripts_exist(self):
        for document in DOCUMENTS:
            for script in re.findall(r"\bscripts/[a-z_]+", document.read_text()):
                self.assertTrue((ROOT / script).exists() or (ROOT / (script + ".py")).exists(),
                                f"{document.name}: {script}")

    def test_programs_run(self):
        self.write("mobilenet.onnx", image_model())
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        for document in (ROOT / "docs/start_python.md", ROOT / "README.md"):
            names = {"image": np.ones((1, 3, 224, 224), np.float32)}
            for program in PROGRAM.findall(document.read_text()):
                needs = NEEDS.search(program)
                if needs and not all(map(importlib.util.find_spec, needs[1].split(", "))):
                    continue  # tests/python/torch_test.py runs it where that is installed
                with self.subTest(document=document.name, program=program):
                    with contextlib.redirect_stdout(io.StringIO()):
                        exec(compile(program, document.name, "exec"), names)
            np.testing.assert_array_equal(names["y"].shape, (1, 4, 1, 1))


if __name__ == "__main__":
    unittest.main()
