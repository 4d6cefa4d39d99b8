"""What one process compiles the next one finds, and nothing that others may have written."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper

import corf
import small_models
from corf_command import constant, corf as command, make_model, value

X = np.array([[1, 2, 3], [-1, 0, 40]], np.float32)
# Prints what the model gives; whether it was compiled is read off the cache.
PROGRAM = """
import json, sys, corf, numpy
session = corf.InferenceSession(sys.argv[1])
x = numpy.array(json.loads(sys.argv[2]), numpy.float32)
print(json.dumps(session.run(None, {"x": x})[0].tolist()))
"""


class CacheTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """What the machine's measurements come to, by the file that keeps them. A measurement that
        was disturbed is taken again a minute later, and what was compiled by it then counts no
        more: here they are kept as they are."""
        cls.measured = {}
        with tempfile.TemporaryDirectory() as home:
            data = pathlib.Path(home) / "linear.onnx"
            data.write_bytes(small_models.linear_model())
            subprocess.run([sys.executable, "-c", PROGRAM, data, json.dumps(X.tolist())], check=True,
                           stdout=subprocess.DEVNULL, env={**os.environ, "XDG_CACHE_HOME": home})
            for file in (pathlib.Path(home) / "corf").glob("calibration-*.json"):
                content = json.loads(file.read_text())
                cls.measured[file.name] = json.dumps({**content, "settled": True})

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = pathlib.Path(temporary.name)
        self.folder = self.home / "corf" / "executables"
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(self.home)}
        self.folder.parent.mkdir()
        for name, text in self.measured.items():
            (self.folder.parent / name).write_text(text)
        self.model = self.home / "linear.onnx"
        self.model.write_bytes(small_models.linear_model())

    def run_program(self, x=X):
        result = subprocess.run([sys.executable, "-c", PROGRAM, self.model, json.dumps(x.tolist())],
                                capture_output=True, text=True, check=False, env=self.environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        return np.array(json.loads(result.stdout), np.float32), result.stderr

    def bytes_read(self, x):
        """By a process that opens the model and runs it, Python's own reading apart."""
        program = PROGRAM.replace("session =", "before = read()\nsession =", 1) + "print(read() - before)"
        program = ("def read(): return int(open('/proc/self/io').readline().split()[1])\n" + program)
        result = subprocess.run([sys.executable, "-c", program, self.model, json.dumps(x.tolist())],
                                capture_output=True, text=True, check=True, env=self.environment)
        return int(result.stdout.splitlines()[-1])

    def entries(self):
        return sorted(self.folder.glob("*.corf"))

    def check(self, num_entries, x=X):
        y, _ = self.run_program(x)
        np.testing.assert_array_equal(y, small_models.linear(x))
        self.assertEqual(len(self.entries()), num_entries)

    def test_the_next_process_finds_it(self):
        self.check(1)
        entry = self.entries()[0]
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual(entry.stat().st_mode & 0o777, 0o600)
        before = entry.stat().st_ino
        self.check(1)
        self.assertEqual(entry.stat().st_ino, before)  # not written again
        self.check(2, X[:1])

    def test_another_model_is_another_entry(self):
        self.check(1)
        weights = small_models.WEIGHTS * 2
        self.model.write_bytes(make_model(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["batch", 3])],
            [value("y", ["batch", 2])], [constant("w", weights)]))
        y, _ = self.run_program()
        np.testing.assert_array_equal(y, X @ weights)
        self.assertEqual(len(self.entries()), 2)

    def test_options_and_constants_are_part_of_it(self):
        data = small_models.branch_by_input()
        x = np.arange(4, dtype=np.float32)
        for rate, want in ((16000, x + 1), (8000, x[:2]), (16000, x + 1)):
            model = corf.compile(data, constants={"rate": rate}, executable_cache=self.folder)
            np.testing.assert_array_equal(model(x), want)
        self.assertEqual(len(self.entries()), 2)
        for options in ({"isa": "sse2"}, {"plan": "unfused"}, {"threads": 1}):
            before = len(self.entries())
            corf.compile(data, constants={"rate": 8000}, executable_cache=self.folder, **options)
            if options != {"threads": 1} or os.cpu_count() > 1:
                self.assertEqual(len(self.entries()), before + 1, options)

    def test_weights_of_all_shapes_are_one_file(self):
        self.check(1)
        self.check(2, X[:1])
        files = sorted(self.folder.glob("*.constants"))
        self.assertEqual([file.stat().st_mode & 0o777 for file in files], [0o600])

    def test_weights_cut_short_are_not_used(self):
        self.check(1)
        [weights] = self.folder.glob("*.constants")
        whole = weights.read_bytes()
        for left in (0, 1, len(whole) - 1):
            os.truncate(weights, left)
            self.check(1)
            self.assertEqual(weights.read_bytes(), whole)
        weights.unlink()
        self.check(1)
        weights.chmod(0o620)
        self.check(1)

    def test_what_is_known_of_a_model_is_not_read_again(self):
        large = onnx.load_from_string(small_models.linear_model())
        large.doc_string = "-" * 4_000_000
        self.model.write_bytes(large.SerializeToString())
        self.check(1)
        noted = list(self.folder.glob("*.note"))
        if time.time() - self.model.stat().st_ctime < 2:
            self.assertFalse(noted)  # written to moments ago
        time.sleep(2.1)
        self.check(1)
        self.assertEqual(len(list(self.folder.glob("*.note"))), 1)
        self.assertLess(self.bytes_read(X), 3_000_000)
        self.check(2, X[:1])  # read now, for it has to be compiled
        # The same length and time of writing, but other weights.
        before = self.model.stat()
        weights = large.graph.initializer[0]
        numbers = onnx.numpy_helper.to_array(weights)
        weights.CopyFrom(onnx.numpy_helper.from_array(numbers + 1, weights.name))
        content = large.SerializeToString()
        self.assertEqual(len(content), before.st_size)
        self.model.write_bytes(content)
        os.utime(self.model, ns=(before.st_atime_ns, before.st_mtime_ns))
        y, _ = self.run_program()
        shifted = X @ (small_models.WEIGHTS + 1) + small_models.SHIFT
        np.testing.assert_array_equal(y, np.maximum(shifted, 0))

    def test_a_model_that_is_written_to_behind_an_open_session_is_an_error(self):
        time.sleep(2.1)
        options = corf.SessionOptions()
        options.add_session_config_entry("corf.executable_cache", str(self.folder))
        corf.InferenceSession(self.model, options).run(None, {"x": X})
        opened = corf.InferenceSession(self.model, options)  # does not read it
        content = self.model.read_bytes()
        self.model.write_bytes(content)
        self.assertEqual(opened.run(None, {"x": X})[0].tolist(), small_models.linear(X).tolist())
        with self.assertRaisesRegex(corf.IoError, "written to after a session had opened it"):
            opened.run(None, {"x": X[:1]})
        # A file that has lost its name is as good as it was.
        opened = corf.InferenceSession(self.model, options)
        self.model.unlink()
        for x in (X, X[:1]):
            self.assertEqual(opened.run(None, {"x": x})[0].tolist(),
                             small_models.linear(x).tolist())

    def test_it_can_be_switched_off(self):
        corf.compile(small_models.linear_model(), {"batch": 2}, executable_cache="")
        self.environment["XDG_CACHE_HOME"] = ""
        self.environment["HOME"] = ""
        y, _ = self.run_program()
        np.testing.assert_array_equal(y, small_models.linear(X))
        self.assertFalse(self.folder.exists())

    def test_what_others_may_have_written_is_left_aside(self):
        self.check(1)
        entry = self.entries()[0]
        for path, mode in ((self.folder, 0o770), (self.folder, 0o705), (entry, 0o620),
                           (entry, 0o602)):
            kept = path.stat().st_mode
            path.chmod(mode)
            with self.subTest(path=path.name, mode=oct(mode)):
                y, says = self.run_program()
                np.testing.assert_array_equal(y, small_models.linear(X))
                self.assertIn("left aside", says)
            path.chmod(kept)
            if path == entry:
                self.assertEqual(self.run_program()[1], "")  # written anew
                entry = self.entries()[0]
        second_name = self.home / "second.corf"
        os.link(entry, second_name)
        self.assertIn("left aside", self.run_program()[1])
        second_name.unlink(missing_ok=True)
        # A link to what compiling gives is no better.
        entry = self.entries()[0]
        moved = self.home / "moved.corf"
        entry.rename(moved)
        entry.symlink_to(moved)
        y, _ = self.run_program()
        np.testing.assert_array_equal(y, small_models.linear(X))
        shutil.rmtree(self.folder)
        elsewhere = self.home / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        self.folder.symlink_to(elsewhere)
        y, _ = self.run_program()
        np.testing.assert_array_equal(y, small_models.linear(X))
        self.assertEqual(list(elsewhere.iterdir()), [])

    @unittest.skipUnless(os.geteuid() == 0, "only the superuser can give files away")
    def test_what_belongs_to_others_is_left_aside(self):
        self.check(1)
        nobody = 65534
        for path in (self.folder, self.entries()[0]):
            os.chown(path, nobody, nobody)
            y, says = self.run_program()
            np.testing.assert_array_equal(y, small_models.linear(X))
            self.assertIn("left aside", says)
            if path.exists():
                os.chown(path, 0, 0)

    def test_damaged_entries_are_compiled_anew(self):
        self.check(1)
        entry = self.entries()[0]
        whole = entry.read_bytes()
        for damaged in (whole[:100], b"", whole[:4100] + b"\xff" + whole[4101:]):
            entry.write_bytes(damaged)
            self.check(1)
            self.assertEqual(entry.read_bytes(), whole)

    def test_external_data_is_not_kept(self):
        tensor = constant("w", small_models.WEIGHTS)
        (self.home / "weights.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
        self.model.write_bytes(make_model(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["batch", 3])],
            [value("y", ["batch", 2])], [tensor]))
        for factor in (1, 2):
            weights = small_models.WEIGHTS * factor
            (self.home / "weights.bin").write_bytes(weights.tobytes())
            y, _ = self.run_program()
            np.testing.assert_array_equal(y, X @ weights)
        self.assertEqual(self.entries(), [])

    def test_many_processes_at_once(self):
        """What they may note of the model, once that has not changed for two seconds, apart."""
        processes = [subprocess.Popen([sys.executable, "-c", PROGRAM, self.model,
                                       json.dumps(X[:1 + i % 2].tolist())],
                                      stdout=subprocess.PIPE, env=self.environment)
                     for i in range(8)]
        for i, process in enumerate(processes):
            output, _ = process.communicate(timeout=120)
            np.testing.assert_array_equal(json.loads(output), small_models.linear(X[:1 + i % 2]))
        self.assertEqual(len(self.entries()), 2)
        self.assertEqual(len(list(self.folder.glob("*.constants"))), 1)
        self.assertEqual(list(self.folder.glob("*.unfinished")) + list(self.folder.glob(".*")), [])

    def test_its_size_is_limited(self):
        weights = np.zeros((512, 512), np.float32)  # a MiB each
        for i in range(4):
            weights[0, 0] = i
            model = make_model([helper.make_node("MatMul", ["x", "w"], ["y"])],
                               [value("x", [1, 512])], [value("y", [1, 512])],
                               [constant("w", weights)])
            compiled = corf.compile(model, executable_cache=self.folder,
                                    executable_cache_limit=3)
            self.assertEqual(compiled(np.ones((1, 512), np.float32))[0, 0], i)
        self.assertEqual(len(self.entries()), 2)
        self.assertLess(sum(file.stat().st_size for file in self.folder.iterdir()), 3 << 20)
        self.assertEqual(len(list(self.folder.glob("*.constants"))), 2)

    def test_the_command_shows_and_clears_it(self):
        self.check(1)
        os.environ["XDG_CACHE_HOME"], before = str(self.home), os.environ.get("XDG_CACHE_HOME")
        try:
            size = sum(file.stat().st_size for file in self.folder.iterdir())
            shown = json.loads(command("cache", "show", "--json").stdout)
            self.assertEqual(shown, {"folder": str(self.folder), "num_entries": 1,
                                     "size_bytes": size})
            self.assertEqual(json.loads(command("cache", "clear", "--json").stdout)["num_removed"],
                             1)
            self.assertEqual(self.entries(), [])
            self.assertIn("0 compiled models", command("cache", "show").stdout)
            result = command("run", self.model, "--shape", "batch=2", "--cache")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(len(self.entries()), 1)
            self.folder.chmod(0o777)
            result = command("cache", "clear")
            self.assertEqual(result.returncode, 1)
            self.assertIn("others may use it", result.stderr)
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


if __name__ == "__main__":
    unittest.main()
