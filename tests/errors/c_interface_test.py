"""Every function of corf.h refuses null where it needs a pointer, and arguments that make no sense.

The functions and their parameters are read from the header, so that a new one is tested as well.
"""

import ctypes
import faulthandler
import os
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "command"))
from corf_command import linear_model

HEADER = pathlib.Path(__file__).parents[2] / "include" / "corf" / "corf.h"
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
FUNCTION = re.compile(r"CORF_API\s+([^;(]+?)(\w+)\(((?:[^()]|\([^()]*\))*)\);")
INVALID_ARGUMENT = 3
# What the header says may be null.
MAY_BE_NULL = {"cancellation", "context", "directory", "progress"}
MAY_BE_NULL_IN = {("corf_session_load", "options"), ("corf_session_load_bytes", "options"),
                  ("corf_machine_create", "isa"), ("corf_value_of_strings", "extents")}
# Objects whose functions answer with a struct, which ctypes has to be told of.
STRUCTS = {"corf_tensor"}


class Tensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_int), ("rank", ctypes.c_size_t),
                ("extents", ctypes.POINTER(ctypes.c_int64)), ("data", ctypes.c_void_p)]


class Shape(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("rank", ctypes.c_size_t),
                ("extents", ctypes.POINTER(ctypes.c_int64))]


class Parameter:
    def __init__(self, text):
        text = " ".join(text.split())
        function = re.match(r".*\(\*(\w+)\)\(.*\)$", text)
        self.name = function[1] if function else re.search(r"(\w+)$", text)[1]
        self.type = "function*" if function else text[:-len(self.name)].strip()
        self.is_pointer = self.type.endswith("*")


class Function:
    def __init__(self, result, name, parameters):
        self.result, self.name = result.strip(), name
        self.parameters = [Parameter(text) for text in split_at_commas(parameters)
                           if text.strip() not in ("", "void")]
        self.can_fail = self.result.startswith("corf_error*")

    def needed(self):
        """Positions of the pointers that may not be null."""
        return [i for i, parameter in enumerate(self.parameters)
                if parameter.is_pointer and parameter.name not in MAY_BE_NULL
                and (self.name, parameter.name) not in MAY_BE_NULL_IN]


def split_at_commas(text):
    """At commas outside of parentheses."""
    return re.split(r",(?![^()]*\))", text)


def functions():
    text = COMMENT.sub("", HEADER.read_text(encoding="utf-8"))
    return [Function(*match.groups()) for match in FUNCTION.finditer(text)]


class Library:
    def __init__(self, path):
        self.dll = ctypes.CDLL(path)
        for function in functions():
            if not hasattr(self.dll, function.name):
                continue
            entry = getattr(self.dll, function.name)
            if function.result in STRUCTS:
                entry.restype = Tensor
            elif function.result == "const char*":
                entry.restype = ctypes.c_char_p
            elif function.result.endswith("*"):
                entry.restype = ctypes.c_void_p
            elif function.result in ("size_t", "int64_t"):
                entry.restype = ctypes.c_int64
            entry.argtypes = [argument_type(parameter) for parameter in function.parameters]

    def has(self, name):
        return hasattr(self.dll, name)

    def call(self, name, *arguments):
        """(code, message) of the error; (0, "") if there is none."""
        error = getattr(self.dll, name)(*arguments)
        if not error:
            return 0, ""
        result = (self.dll.corf_error_code(error),
                  self.dll.corf_error_message(error).decode("utf-8"))
        self.dll.corf_error_free(error)
        return result

    def make(self, name, *arguments):
        """The object that a function hands out through its last parameter."""
        made = ctypes.c_void_p()
        code, message = self.call(name, *arguments, ctypes.addressof(made))
        assert code == 0, message
        return made.value


def argument_type(parameter):
    if parameter.is_pointer:
        return ctypes.c_void_p
    if parameter.type == "double":
        return ctypes.c_double
    return ctypes.c_int if parameter.type in ("int", "corf_dtype", "corf_reference") \
        else ctypes.c_size_t


class World:
    """A library with one object of each kind, and a valid argument for each parameter."""

    def __init__(self, library, folder):
        self.library = library
        model = folder / "model.onnx"
        model.write_bytes(linear_model(batch=2))
        self.kept = []
        self.data = (ctypes.c_float * 6)(*range(6))
        self.room = (ctypes.c_float * 4)()
        self.inputs = self.array(b"x", [2, 3], self.data)
        self.outputs = self.array(b"y", [2, 2], self.room)
        self.options = library.make("corf_options_create")
        if library.has("corf_session_inspect"):
            self.path = str(model).encode()
        else:
            self.path = os.environ["CORF_TEST_COMPILED"].encode()
        self.texts, self.sizes = (ctypes.c_char_p * 1)(b"a"), (ctypes.c_size_t * 1)(1)
        self.value = library.make("corf_value_of_strings", 0, None, ctypes.addressof(self.texts),
                                  ctypes.addressof(self.sizes), 1)
        self.session = library.make("corf_session_load", self.path, None)
        self.executable = library.make("corf_session_compile", self.session, None, 0)
        self.profile = library.make("corf_executable_run_profiled", self.executable,
                                    self.address(self.inputs), 1, self.address(self.outputs), 1)
        if library.has("corf_session_inspect"):
            self.array_object = library.make("corf_array_parse_onnx", b"\x08\x01\x10\x01\x22\x04" +
                                             bytes(4), 10)
            self.explanation = library.make("corf_session_explain", self.session, None, 0)
            self.comparison = library.make("corf_session_compare", self.session, 0,
                                           self.address(self.inputs), 1)
        _, _, self.error = 0, 0, library.dll.corf_session_load(b"/none", None, self.scratch())

    def array(self, name, extents, data):
        shape = (ctypes.c_int64 * len(extents))(*extents)
        self.kept.append(shape)
        return Tensor(name, 11, len(extents), shape, ctypes.addressof(data))

    @staticmethod
    def address(struct):
        return ctypes.addressof(struct)

    def scratch(self):
        """Room for whatever a function writes."""
        room = ctypes.create_string_buffer(256)
        self.kept.append(room)
        return ctypes.addressof(room)

    def text(self, content):
        room = ctypes.create_string_buffer(content)
        self.kept.append(room)
        return ctypes.addressof(room)

    def argument(self, function, parameter):
        name = parameter.name
        if parameter.type in ("corf_array*", "const corf_array*"):
            return self.array_object
        if parameter.type in (f"corf_{name}*", f"const corf_{name}*") and hasattr(self, name):
            return getattr(self, name)
        if name in ("inputs", "outputs"):
            return self.address(getattr(self, name))
        if name == "shapes":
            self.shape = Shape(b"x", 2, self.inputs.extents)
            return self.address(self.shape)
        texts = {"path": self.path, "stage": b"graph", "key": b"threads", "value": b"1"}
        if parameter.type == "const char*" and name in texts:
            content = b"/dev/null" if function.name == "corf_executable_write" else texts[name]
            return self.text(content)
        if name == "bytes":
            return self.text(linear_model(batch=2))
        if parameter.is_pointer:
            return None if name in MAY_BE_NULL else self.scratch()
        if name.startswith("num_"):
            return 1
        if name.endswith("_size_bytes"):
            return 8
        return {"size_bytes": len(linear_model(batch=2)), "time_limit_s": 0.01}.get(name, 0)

    def arguments(self, function):
        return [self.argument(function, parameter) for parameter in function.parameters]


LIBRARIES = [name for name in ("CORF_LIBRARY", "CORF_RUNTIME_LIBRARY") if name in os.environ]


class CInterfaceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        faulthandler.enable()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        os.environ["XDG_CACHE_HOME"] = cls.folder.name
        folder = pathlib.Path(cls.folder.name)
        cls.worlds = []
        for name in LIBRARIES:
            world = World(Library(os.environ[name]), folder)
            cls.worlds.append(world)
            if world.library.has("corf_session_inspect"):
                compiled = str(folder / "model.corf")
                world.library.call("corf_executable_write", world.executable, compiled.encode())
                os.environ["CORF_TEST_COMPILED"] = compiled

    def cases(self):
        for world in self.worlds:
            for function in functions():
                if world.library.has(function.name):
                    yield world, function

    def test_the_header_is_understood(self):
        self.assertGreater(len(functions()), 40)
        self.assertEqual({f.name for f in functions()} - set(re.findall(
            r"\bcorf_\w+(?=\()", HEADER.read_text(encoding="utf-8"))), set())

    def test_null_is_refused(self):
        num_tested = 0
        for world, function in self.cases():
            if function.name.endswith("_free"):
                getattr(world.library.dll, function.name)(None)
                continue
            for position in function.needed():
                arguments = world.arguments(function)
                arguments[position] = None
                name = function.parameters[position].name
                with self.subTest(function=function.name, null=name):
                    num_tested += 1
                    if function.can_fail:
                        code, message = world.library.call(function.name, *arguments)
                        self.assertEqual(code, INVALID_ARGUMENT, message)
                        self.assertEqual(message, f"the argument {name} is null")
                    else:
                        result = getattr(world.library.dll, function.name)(*arguments)
                        answer = result.data if isinstance(result, Tensor) else result
                        self.assertIn(answer, (None, 0, b""))
        self.assertGreater(num_tested, 60)

    def test_positions_beyond_the_last(self):
        for world, function in self.cases():
            places = [i for i, parameter in enumerate(function.parameters)
                      if parameter.name in ("position", "group") and not parameter.is_pointer]
            for place in places:
                arguments = world.arguments(function)
                arguments[place] = 2 ** 64 - 1
                with self.subTest(function=function.name):
                    code, message = world.library.call(function.name, *arguments)
                    self.assertEqual(code, INVALID_ARGUMENT)
                    self.assertRegex(message, "there is no .* number")

    def check_run(self, pattern, **changes):
        for world in self.worlds:
            for function in ("corf_session_run", "corf_executable_run"):
                tensor = world.array(b"x", [2, 3], world.data)
                for field, content in changes.items():
                    setattr(tensor, field, content)
                subject = world.session if "session" in function else world.executable
                code, message = world.library.call(
                    function, subject, ctypes.addressof(tensor), 1,
                    ctypes.addressof(world.outputs), 1)
                with self.subTest(function=function, changes=changes):
                    self.assertEqual(code, INVALID_ARGUMENT, message)
                    self.assertRegex(message, pattern)

    def test_arrays_that_make_no_sense(self):
        self.check_run("'x'.*no element type", dtype=-1)
        self.check_run("'x'.*no element type", dtype=1 << 30)
        self.check_run("'x'.*given as i64", dtype=7)
        self.check_run("'x'.*its extents are null", extents=None)
        self.check_run("'x'.*is no number of dimensions", rank=2 ** 63)
        self.check_run("'x'.*its data is null", data=None)
        self.check_run("no input 'nobody'", name=b"nobody")
        negative = (ctypes.c_int64 * 2)(-2, -3)
        self.check_run("'x'.*no shape", extents=negative)
        large = (ctypes.c_int64 * 2)(2 ** 62, 2 ** 62)
        self.check_run("'x'.*no shape", extents=large)

    def test_a_misaligned_array(self):
        self.check_run("misaligned", data=ctypes.addressof(self.worlds[0].data) + 1)

    def test_options(self):
        for world in self.worlds:
            for key, content, pattern in (
                    (b"none", b"1", "unknown option 'none'"), (b"threads", b"-1", "whole number"),
                    (b"threads", b"99999999999999999999", "whole number"),
                    (b"threads", b"", "whole number"), (b"isa", b"sse9", "not one of"),
                    (b"plan", b"fast", "not one of"), (b"constant", b"x", "NAME=VALUE"),
                    (b"cache_size", b"0", "whole number"), (b"winograd", b"2", "whole number"),
                    (b"\x1b[2J", b"1", r"unknown option '\\x1b\[2J'")):
                code, message = world.library.call("corf_options_set", world.options,
                                                   world.text(key), world.text(content))
                with self.subTest(key=key, value=content):
                    self.assertEqual(code, INVALID_ARGUMENT)
                    self.assertRegex(message, pattern)

    def test_a_reference_that_is_none(self):
        for world in self.worlds:
            if world.library.has("corf_session_compare"):
                code, message = world.library.call(
                    "corf_session_compare", world.session, 77, ctypes.addressof(world.inputs), 1,
                    world.scratch())
                self.assertEqual((code, message), (INVALID_ARGUMENT, "77 is no reference"))


if __name__ == "__main__":
    unittest.main()
