"""Checks how the sources are written.

Usage: check_style.py text|format|tidy REPOSITORY [--build FOLDER]
  text    names and lengths of files, spaces at the ends of lines, marks of unfinished merges
  format  clang-format-22 would change nothing
  tidy    clang-tidy-22 finds nothing; needs a configured build
Exits with 77 where the tool is not installed.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

ROOTS = ("src", "include", "tools", "tests", "examples", "benchmarks", "python")
MOST_LINES = 500
# A longer file says why, in a comment with these words.
LONG_FILE_REASON = "Longer than 500 lines because"
FORBIDDEN_IN_NAMES = ("util", "helper", "manager", "process", "handle")
SKIPPED = 77


def files(repository, *suffixes):
    return sorted(path for root in ROOTS for path in (repository / root).rglob("*")
                  if path.suffix in suffixes and "__pycache__" not in path.parts)


def check_text(repository):
    faults = []
    for path in files(repository, ".cpp", ".h", ".hpp", ".py", ".proto"):
        where = path.relative_to(repository)
        text = path.read_text(encoding="utf-8")
        lines = text.split("\n")
        if len(lines) > MOST_LINES and LONG_FILE_REASON not in text:
            faults.append(f"{where}: {len(lines)} lines; split it, or say why: "
                          f"'{LONG_FILE_REASON} ...'")
        for number, line in enumerate(lines, 1):
            if line != line.rstrip():
                faults.append(f"{where}:{number}: space at the end of the line")
            if "\t" in line:
                faults.append(f"{where}:{number}: tab")
        if text and not text.endswith("\n"):
            faults.append(f"{where}: no newline at the end")
        for word in FORBIDDEN_IN_NAMES:
            if word in path.stem.split("_") or f"{word}s" in path.stem.split("_"):
                faults.append(f"{where}: '{word}' says nothing about what the file holds")
    return faults


def check_merges(repository):
    """No file holds the marks that git puts around what it could not merge."""
    folders = [repository / name for name in (*ROOTS, "docs", "scripts", "cmake", ".ci")]
    paths = [path for folder in folders for path in folder.rglob("*")] + list(repository.glob("*"))
    faults = []
    for path in sorted(path for path in paths if path.is_file()):
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if line.startswith((b"<<<<<<< ", b">>>>>>> ")):
                faults.append(f"{path.relative_to(repository)}:{number}: an unfinished merge")
    return faults


def find_tool(name):
    tool = shutil.which(name)
    if tool is None:
        print(f"{name} is not installed: skipped")
        sys.exit(SKIPPED)
    return tool


def check_format(repository):
    tool = find_tool("clang-format-22")
    paths = [str(path) for path in files(repository, ".cpp", ".h", ".hpp")]
    result = subprocess.run([tool, "--dry-run", "-Werror", "--style=file", *paths],
                            capture_output=True, text=True, check=False)
    return result.stderr.splitlines() if result.returncode != 0 else []


def check_tidy(repository, build):
    tool = find_tool("clang-tidy-22")

    def check_file(path):
        # libstdc++ 12 uses what it deprecates itself, in std::stable_sort.
        result = subprocess.run([tool, "--quiet", "--extra-arg=-Wno-unknown-warning-option",
                                 "--extra-arg=-Wno-deprecated-declarations", "-p", str(build),
                                 str(path)],
                                capture_output=True, text=True, check=False)
        return result.stdout.splitlines() if result.returncode != 0 else []

    paths = [path for root in ("src", "tools") for path in (repository / root).rglob("*.cpp")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor:
        return [fault for found in executor.map(check_file, sorted(paths)) for fault in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["text", "format", "tidy"])
    parser.add_argument("repository", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.what == "text":
        faults = check_text(arguments.repository) + check_merges(arguments.repository)
    elif arguments.what == "format":
        faults = check_format(arguments.repository)
    else:
        faults = check_tidy(arguments.repository, arguments.build)
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
