"""Bad inputs of every kind end with exit status 1 or 2 and one message that names what is wrong,
within two seconds of CPU time and 256 MB of memory.

Usage: bad_inputs_test.py [PATTERN]   only cases whose name matches; prints each message
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "command"))
import bad_inputs
from corf_command import CORF, linear_model

AT_ONCE = 2
CPU_SECONDS = 2
MEMORY_KB = 256 << 10
LEAST_CASES = 400
WAIT_SECONDS = 60
# What must not reach a terminal: control characters but line breaks, bytes that are not UTF-8, and
# characters that turn the direction of writing.
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
# Sanitizers make everything slow and large.
LIMITED = os.environ.get("CORF_SANITIZED", "0") != "1"

Ended = collections.namedtuple("Ended", "status out err cpu_s memory_kb")


def run(arguments, folder):
    """Runs the command and measures what it takes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with subprocess.Popen([os.path.abspath(CORF), *arguments], stdin=subprocess.DEVNULL,
                              stdout=out, stderr=err, cwd=folder) as process:
            deadline = time.monotonic() + WAIT_SECONDS
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                if time.monotonic() > deadline:
                    process.kill()
                time.sleep(0.002)
            process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
    return Ended(process.returncode, *texts, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def faults(case, ended):
    """What is wrong with how a case ended, in words."""
    if ended.status != case.status:
        yield f"exit status {ended.status} instead of {case.status}"
    try:
        message = ended.err.decode("utf-8")
        ended.out.decode("utf-8")
    except UnicodeDecodeError:
        yield "the output is not UTF-8"
        message = ended.err.decode("utf-8", "replace")
    if HARMFUL.search(message):
        yield "the message holds characters that are not to reach a terminal"
    if ended.status == bad_inputs.FAILED:
        lines = message.splitlines()
        if not message.startswith("corf: error: ") or any(
                not line.startswith("  ") for line in lines[1:]):
            yield "there is not one message"
        if ended.out:
            yield "there is output beside the error"
    if len(message) > 10000:
        yield f"the message has {len(message)} characters"
    if "internal" in message or "unexpected exception" in message:
        yield "the message speaks of a fault of corf's own"
    if not re.search(case.says, message):
        yield f"the message does not match /{case.says}/"
    if LIMITED and ended.cpu_s > CPU_SECONDS:
        yield f"{ended.cpu_s:.1f} s of CPU time"
    if LIMITED and ended.memory_kb > MEMORY_KB:
        yield f"{ended.memory_kb >> 10} MB of memory"


def successful(*arguments):
    return subprocess.run([CORF, *arguments], check=True, capture_output=True).stdout


def sound_inputs(folder):
    """A compiled file and the text of a plan."""
    model = folder / "model.onnx"
    model.write_bytes(linear_model(batch=2))
    compiled = folder / "model.corf"
    successful("compile", model, "-o", compiled)
    return compiled.read_bytes(), successful("inspect", model, "--stage", "plan").decode()


def sound_faults(folder):
    """Nodes that faults are derived from and that are refused themselves."""
    for operator, content in bad_inputs.sound_operators():
        model = folder / f"{operator}.onnx"
        model.write_bytes(content)
        ended = run(["inspect", model, "--stage", "graph"], folder)
        if ended.status != 0:
            yield f"sound {operator}: {ended.err.decode('utf-8', 'replace')[:300]}"


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = str(pathlib.Path(name) / "cache")
        folder = pathlib.Path(name)
        cases = bad_inputs.cases(folder, *sound_inputs(folder))
        if pattern:
            cases = [case for case in cases if re.search(pattern, case.name)]
        failed = 0
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            ends = pool.map(lambda case: run(case.arguments, folder), cases)
            for case, ended in zip(cases, ends):
                found = list(faults(case, ended))
                failed += bool(found)
                if found or pattern:
                    message = ended.err.decode("utf-8", "replace").strip()
                    print(f"{case.name}: {'; '.join(found) or 'ok'}\n    {message[:400]}")
        unsound = [] if pattern else list(sound_faults(folder))
        for fault in unsound:
            print(fault)
    print(f"{len(cases) - failed} of {len(cases)} bad inputs end as they should")
    if failed or unsound or (not pattern and len(cases) < LEAST_CASES):
        sys.exit(1)


if __name__ == "__main__":
    main()
