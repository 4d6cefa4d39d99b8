"""Hook of MkDocs (mkdocs.yml): pages that the command writes, and the version."""

import os
import subprocess

from mkdocs.structure.files import File

OPERATORS = """# Supported operators

Written by `corf operators --markdown` from the table that the importer looks operators up in. An operator counts in the
opsets of its own domain; `13-` means 13 and every newer one that is known. Inputs are given by the element types that
they may have (*float*: 16, 32 and 64 bits, bfloat16; *index*: 32- and 64-bit integers; *byte*: 8-bit integers); those
with the same letter have the same type. `corf inspect MODEL` lists each node of a model that is not supported, with the
reason.

"""


def corf(*arguments):
    command = os.environ.get("CORF_COMMAND", "build/corf")
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=True).stdout


def on_config(config):
    config.copyright = f"corf {corf('--version').strip()}, Apache License 2.0"


def on_files(files, config):
    text = OPERATORS + corf("operators", "--markdown")
    files.append(File.generated(config, "operators.md", content=text))
    return files
