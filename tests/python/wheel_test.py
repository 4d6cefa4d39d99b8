"""An installed wheel is complete, and needs of the machine what every Linux has."""

import importlib.metadata
import pathlib
import re
import shutil
import unittest

import corf

PACKAGE = pathlib.Path(corf.__file__).parent


class WheelTest(unittest.TestCase):
    def test_is_what_is_installed(self):
        self.assertIn("site-packages", PACKAGE.parts)
        self.assertEqual(importlib.metadata.version("corf"), corf.__version__)
        tag = importlib.metadata.distribution("corf").read_text("WHEEL")
        self.assertIn("Tag: cp39-abi3-manylinux_2_34_x86_64", tag)
        for compiler in ("gcc", "g++", "cc", "clang", "ld"):
            self.assertIsNone(shutil.which(compiler))

    def test_libraries(self):
        mapped = pathlib.Path("/proc/self/maps").read_text(encoding="utf-8")
        libraries = {pathlib.Path(path) for path in re.findall(r"(/\S+\.so\S*)$", mapped,
                                                               re.MULTILINE)}
        ours = {path for path in libraries if path.is_relative_to(PACKAGE.parent)}
        self.assertGreaterEqual({path.name for path in ours}, {"libcorf.so.0", "_corf.abi3.so"})
        for name in ("libprotobuf-lite", "libfmt", "libzstd"):
            found = [path for path in libraries if path.name.startswith(name)]
            self.assertTrue(found and all(path in ours for path in found), found)

    def test_has_its_types_and_licences(self):
        files = {str(path) for path in importlib.metadata.files("corf")}
        self.assertLessEqual({"corf/py.typed", "corf/_corf.pyi", "corf/licenses/llvm-22-dev.txt"},
                             {re.sub(r"llvm-\d+", "llvm-22", name) for name in files})
        self.assertTrue(any(name.endswith("licenses/LICENSE") for name in files))


if __name__ == "__main__":
    unittest.main()
