"""What `cmake --install` lays out is all that programs outside need: they are built against it.

Environment: CORF_BUILD (the build folder), CORF_CMAKE, CORF_VERSION, CORF_CXX and CORF_CC, and
CORF_COMMAND, as of every test of the command.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from corf_command import linear_model

BUILD = os.environ["CORF_BUILD"]
CMAKE = os.environ["CORF_CMAKE"]
VERSION = os.environ["CORF_VERSION"]
C_COMPILER, CXX_COMPILER = os.environ["CORF_CC"], os.environ["CORF_CXX"]
PROGRAMS = pathlib.Path(__file__).parent / "programs"
ANSWER = f"{VERSION}: 22.5 0\n"


def run(*command, check=True, **environment):
    """What a command prints; its errors are those of the test."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                            env={**os.environ, **environment})
    if check and result.returncode != 0:
        raise AssertionError(f"{command}: {result.stdout}{result.stderr}")
    return result.stdout


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        # Where it is used is not where it was laid out: nothing may name the first place.
        first = cls.folder / "first"
        run(CMAKE, "--install", BUILD, "--prefix", first)
        cls.prefix = cls.folder / "moved"
        first.rename(cls.prefix)
        cls.libraries = next(path.parent for path in cls.prefix.rglob("libcorf.so"))
        cls.model = cls.folder / "linear.onnx"
        cls.model.write_bytes(linear_model())

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def configure(self, wanted, check=True):
        return run(CMAKE, "-S", PROGRAMS, "-B", self.folder / "outside", "-G", "Ninja",
                   f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCORF_WANTED={wanted}",
                   f"-DCMAKE_C_COMPILER={C_COMPILER}", f"-DCMAKE_CXX_COMPILER={CXX_COMPILER}",
                   check=check)

    def test_find_package(self):
        self.configure(VERSION)
        run(CMAKE, "--build", self.folder / "outside")
        self.assertEqual(run(self.folder / "outside/with_c", self.model), ANSWER)
        self.assertEqual(run(self.folder / "outside/with_cpp", self.model), ANSWER)
        compiled = self.folder / "linear.corf"
        run(self.prefix / "bin/corf", "compile", self.model, "--shape", "batch=1", "-o", compiled)
        self.assertEqual(run(self.folder / "outside/with_runtime", compiled), ANSWER)

    def test_find_package_of_another_version(self):
        major, minor, _ = VERSION.split(".")
        self.assertNotIn("outside/with_c", self.configure(f"{major}.{int(minor) + 1}", check=False))
        result = subprocess.run(
            [CMAKE, "-S", PROGRAMS, "-B", self.folder / "refused", "-G", "Ninja",
             f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCORF_WANTED={int(major) + 1}"],
            capture_output=True, text=True, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(f"version: {VERSION}", result.stderr)

    @unittest.skipUnless(shutil.which("pkg-config"), "pkg-config is not installed")
    def test_pkg_config(self):
        for package, source, compiler in (("corf", "run.c", [C_COMPILER, "-std=c99", "-pedantic"]),
                                          ("corf", "run.cpp", [CXX_COMPILER, "-std=c++17"]),
                                          ("corf_runtime", "run.cpp", [CXX_COMPILER])):
            with self.subTest(package=package, source=source):
                places = {"PKG_CONFIG_PATH": str(self.libraries / "pkgconfig")}
                self.assertEqual(run("pkg-config", "--modversion", package, **places),
                                 VERSION + "\n")
                flags = run("pkg-config", "--cflags", "--libs", package, **places).split()
                program = self.folder / f"{package}_{source}.out"
                run(*compiler, "-Wall", "-Werror", PROGRAMS / source, "-o", program, *flags)
                model = self.model
                if package == "corf_runtime":
                    model = self.folder / "linear_pc.corf"
                    run(self.prefix / "bin/corf", "compile", self.model, "--shape", "batch=1",
                        "-o", model)
                self.assertEqual(run(program, model, LD_LIBRARY_PATH=str(self.libraries)), ANSWER)

    def test_names_and_versions_of_the_libraries(self):
        for name in ("libcorf.so", "libcorf_runtime.so"):
            library = self.libraries / name
            self.assertEqual(library.resolve().name, f"{name}.{VERSION}")
            dynamic = run("readelf", "--dynamic", "--wide", library)
            self.assertIn(f"soname: [{name}.{VERSION.split('.', maxsplit=1)[0]}]", dynamic)
            symbols = run("nm", "--dynamic", "--defined-only", library)
            self.assertIn(" corf_session_run@@CORF_1\n", symbols)

    def test_the_command_finds_its_library(self):
        self.assertEqual(run(self.prefix / "bin/corf", "--version"), VERSION + "\n")
        found = re.search(r"libcorf\.so\S* => (\S+)", run("ldd", self.prefix / "bin/corf"))[1]
        self.assertTrue(pathlib.Path(found).samefile(self.libraries / "libcorf.so"), found)

    def test_nothing_of_the_build_is_named(self):
        for path in self.prefix.rglob("*"):
            if path.suffix in (".cmake", ".pc", ".h", ".hpp", ".1"):
                text = path.read_text(encoding="utf-8")
                self.assertNotIn(BUILD, text, path)
                self.assertNotIn(str(self.folder), text, path)

    def test_manual_pages_have_each_option(self):
        top = run(self.prefix / "bin/corf", "--help")
        commands = re.findall(r"^  ([a-z]+) {4,}", top.split("Subcommands:")[1], re.MULTILINE)
        self.assertGreater(len(commands), 8)
        pages = self.prefix / "share/man/man1"
        self.assertEqual({path.name for path in pages.iterdir()},
                         {"corf.1", *(f"corf-{command}.1" for command in commands)})
        for command in commands:
            listed = re.findall("^  (-[a-z,-]+)", run(self.prefix / "bin/corf", command, "--help"),
                                re.MULTILINE)
            page = (pages / f"corf-{command}.1").read_text().replace("\\-", "-")
            for option in ",".join(listed).split(","):
                self.assertIn(f"\\fB{option}\\fR", page, command)
        if shutil.which("man"):
            for page in pages.iterdir():
                shown = subprocess.run(["man", "--warnings", "--local-file", page], check=True,
                                       capture_output=True, text=True)
                self.assertEqual(shown.stderr, "", page)
                self.assertIn("SYNOPSIS", shown.stdout)

    def complete(self, *words):
        """What bash offers after these words, the last of which is being written."""
        script = ("source {}; COMP_WORDS=({}); COMP_CWORD={}; _corf; printf '%s\\n' "
                  "\"${{COMPREPLY[@]}}\"")
        quoted = " ".join(f"'{word}'" for word in words)
        source = self.prefix / "share/bash-completion/completions/corf"
        return run("bash", "-c", script.format(source, quoted, len(words) - 1)).split()

    def test_bash_completion(self):
        self.assertEqual(self.complete("corf", "com"), ["compare", "compile"])
        sets = ["avx2", "avx2vnni", "avx512", "avx512vnni", "avx512bf16"]
        self.assertEqual(self.complete("corf", "run", "--isa", "av"), sets)
        self.assertEqual(self.complete("corf", "run", "--isa", "=", "av"), sets)
        self.assertEqual(len(self.complete("corf", "run", "--isa", "=")), 7)
        self.assertEqual(self.complete("corf", "bench", "--prof"), ["--profile"])
        self.assertEqual(self.complete("corf", "run", "--prof"), [])
        self.assertEqual(self.complete("corf", "compare", "--reference", ""),
                         ["evaluate", "unfused"])
        # Names of files, which the shell adds itself.
        self.assertEqual(self.complete("corf", "run", "mod"), [])
        self.assertEqual(self.complete("corf", "compile", "-o", "av"), [])

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_completion(self):
        script = self.prefix / "share/zsh/site-functions/_corf"
        run("zsh", "-n", script)
        # Without compinit, _arguments is what is defined here.
        options = run("zsh", "-fc", "_arguments() { print -rl -- \"$@\"; state=arguments; }; "
                      f"words=(run); source {script}")
        self.assertIn("--isa=[Instruction set instead of the machine's widest]"
                      ":TEXT:(sse2 avx2 avx2vnni avx512 avx512vnni avx512bf16 amx)\n", options)


if __name__ == "__main__":
    unittest.main()
