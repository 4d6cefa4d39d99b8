"""libcorf_runtime runs compiled files as libcorf does, and needs neither LLVM nor protobuf."""

import os
import re
import subprocess
import unittest

import numpy as np

from corf_command import CommandTest, constant, make_model, value
from onnx import helper

RUNTIME = os.environ["CORF_RUNTIME_LIBRARY"]
LIBRARY = os.environ["CORF_LIBRARY"]
RUN_WITH_RUNTIME = os.environ["RUN_WITH_RUNTIME"]
RUN_WITH_LIBRARY = os.environ["RUN_WITH_LIBRARY"]
COMPILER = re.compile("llvm|protobuf", re.IGNORECASE)


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def exported(library):
    """Names of the functions that a shared library offers."""
    lines = output_of("nm", "--dynamic", "--defined-only", library).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines if " T " in line}


def instruction_sets():
    """Those that code can be generated for and run on this machine."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = set(re.search("^flags.*", file.read(), re.MULTILINE)[0].split())
    needed = {"sse2": {"sse2"}, "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512vl"},
              "avx2vnni": {"avx2", "fma", "avx_vnni"},
              "avx512vnni": {"avx512f", "avx512vl", "avx512_vnni"},
              "avx512bf16": {"avx512f", "avx512_vnni", "avx512_bf16", "avx512vbmi"},
              "amx": {"amx_tile", "amx_bf16"}}
    return [isa for isa, needs in needed.items() if needs <= flags]


def network():
    """Convolution, activation, a routine (TopK) and a matrix product."""
    random = np.random.default_rng(3)
    weights = random.standard_normal((8, 3, 3, 3)).astype(np.float32)
    matrix = random.standard_normal((5, 4)).astype(np.float32)
    return make_model(
        [helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
         helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
         helper.make_node("TopK", ["s", "k"], ["t", "places"], name="top", axis=3),
         helper.make_node("MatMul", ["t", "m"], ["y"], name="product")],
        [value("x", [1, 3, 12, 9])], [value("y", [1, 8, 12, 4]), value("s", [1, 8, 12, 9])],
        [constant("w", weights), constant("m", matrix), constant("k", np.array([5], np.int64))],
        metadata={"author": "test", "labels": "a\nb"})


class RuntimeLibraryTest(CommandTest):
    def test_needs_no_compiler(self):
        self.assertNotRegex(output_of("ldd", RUNTIME), COMPILER)
        self.assertNotRegex(output_of("nm", "--demangle", RUNTIME), COMPILER)
        self.assertRegex(output_of("nm", "--demangle", LIBRARY), COMPILER)
        self.assertLess(os.path.getsize(RUNTIME), os.path.getsize(LIBRARY) / 5)

    def test_exports_part_of_the_interface(self):
        functions = exported(RUNTIME)
        self.assertTrue(all(name.startswith("corf_") for name in functions), functions)
        self.assertLess(functions, exported(LIBRARY))
        compiling = {"corf_session_load_bytes", "corf_session_inspect", "corf_session_tune",
                     "corf_session_deciding_inputs", "corf_session_refused_operators",
                     "corf_session_support", "corf_value_parse_onnx",
                     "corf_string_free", "corf_executable_cache_folder",
                     "corf_executable_cache_contents", "corf_executable_cache_clear",
                     "corf_array_parse_onnx", "corf_array_free", "corf_array_tensor",
                     "corf_num_operators", "corf_operator_at", "corf_session_reduce",
                     "corf_compiler_version"}
        missing = exported(LIBRARY) - functions
        judging = re.compile("compar|expla")
        self.assertEqual({name for name in missing if not judging.search(name)}, compiling)

    def test_same_bits(self):
        model = self.write("network.onnx", network())
        for isa in instruction_sets():
            compiled = self.folder / f"{isa}.corf"
            self.check_succeeds("compile", model, "-o", compiled, "--isa", isa)
            with self.subTest(isa=isa):
                results = [subprocess.run([program, compiled], capture_output=True, check=True)
                           for program in (RUN_WITH_RUNTIME, RUN_WITH_LIBRARY)]
                self.assertEqual(len(results[0].stdout), 4 * 8 * 12 * (4 + 9))
                self.assertGreater(len(set(results[0].stdout)), 100)
                self.assertEqual(results[0].stdout, results[1].stdout)
                self.assertEqual(results[0].stderr, b"author = test\nlabels = a\nb\n")

    def test_program_is_linked_with_the_runtime_only(self):
        needed = output_of("ldd", RUN_WITH_RUNTIME)
        self.assertIn("libcorf_runtime.so", needed)
        self.assertNotIn("libcorf.so", needed)

    def test_refuses_what_is_not_compiled(self):
        model = self.write("network.onnx", network())
        result = subprocess.run([RUN_WITH_RUNTIME, model], capture_output=True, text=True,
                                check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("network.onnx", result.stderr)
        self.assertIn("not a compiled corf model", result.stderr)


if __name__ == "__main__":
    unittest.main()
