"""Runs the command under test and makes small models for it."""

import contextlib
import fcntl
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import unittest

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CORF = os.environ.get("CORF_COMMAND", "build/corf")


def corf(*arguments, stdin=None, timeout=120):
    """The finished process of `corf ARGUMENTS`, with text in stdout and stderr."""
    return subprocess.run([CORF, *map(str, arguments)], capture_output=True, text=True,
                          errors="replace", input=stdin, timeout=timeout, check=False)


class Terminal:
    """A process on a terminal of `columns` characters a line, and all that it writes there."""

    def __init__(self, arguments, environment=None, columns=80):
        self.own, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen([*map(str, arguments)], stdin=side, stdout=side,
                                        stderr=side, env=environment, start_new_session=True)
        os.close(side)
        self.text = ""

    def read(self):
        """What has been written since, waited for a tenth of a second at most."""
        if not select.select([self.own], [], [], 0.1)[0]:
            return
        with contextlib.suppress(OSError):  # the process has closed the terminal
            self.text += os.read(self.own, 65536).decode(errors="replace")

    def interrupt_when(self, is_time):
        while self.process.poll() is None and not is_time():
            self.read()
        self.process.send_signal(signal.SIGINT)

    def wait(self):
        """Exit status and text."""
        while self.process.poll() is None:
            self.read()
        self.read()
        os.close(self.own)
        return self.process.returncode, self.text.replace("\r\n", "\n")


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def make_model(nodes, inputs, outputs, constants=(), opset=13, metadata=None):
    """The bytes of a model."""
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    helper.set_model_props(model, metadata or {})
    return model.SerializeToString()


def linear_model(batch="batch", **options):
    """y = relu(x w + b): x f32 [batch, 3], w [[1, 2], [3, 4], [5, 6]], b [0.5, -100]."""
    return make_model(
        [helper.make_node("MatMul", ["x", "w"], ["xw"], name="product"),
         helper.make_node("Add", ["xw", "b"], ["sum"], name="shift"),
         helper.make_node("Relu", ["sum"], ["y"], name="clip")],
        [value("x", [batch, 3])], [value("y", [batch, 2])],
        [constant("w", np.array([[1, 2], [3, 4], [5, 6]], np.float32)),
         constant("b", np.array([0.5, -100], np.float32))], **options)


class CommandTest(unittest.TestCase):
    """A folder of its own for each test, and what the command's contract says of failures."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, content):
        path = self.folder / name
        if isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(content)
        return path

    def check_succeeds(self, *arguments, **options):
        result = corf(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def check_fails(self, *arguments, says=(), **options):
        """Exit status 1, nothing on stdout, one message that holds each word of `says`."""
        result = corf(*arguments, **options)
        self.assertEqual(result.returncode, 1, f"{arguments}: {result}")
        self.assertEqual(result.stdout, "")
        self.assertEqual(result.stderr.count("error:"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("corf: error: "), result.stderr)
        self.assertNotIn("internal", result.stderr)
        for word in says:
            self.assertIn(word, result.stderr)
        return result.stderr
