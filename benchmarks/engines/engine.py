"""One engine's process, which measures only during its turns."""

import json
import os
import signal
import subprocess
import tempfile

WARM_UP = 0.1  # of a turn: caches and clocks are another engine's when it begins


class EngineError(Exception):
    """An engine that cannot load or run the model; the message is its last line."""


class Engine:
    """A process that measures when it is asked to, stopped except during its turns."""

    def __init__(self, command):
        self.errors = tempfile.TemporaryFile()
        try:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=self.errors, text=True)
        except OSError as error:
            raise EngineError(str(error)) from error
        try:
            self.about = self._answer()
        except EngineError:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def turn(self, seconds):
        self._signal(signal.SIGCONT)
        self._measure(seconds * WARM_UP)
        answer = self._measure(seconds)
        self._signal(signal.SIGSTOP)
        return answer

    def close(self):
        self.child.kill()
        self.child.communicate()
        self.errors.close()

    def _measure(self, seconds):
        try:
            print(f"measure {seconds}", file=self.child.stdin, flush=True)
        except BrokenPipeError:
            pass  # it has ended; what it said last is read below
        return self._answer()

    def _answer(self):
        line = self.child.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise EngineError(last_line(self.errors.read().decode(errors="replace")))
        return json.loads(line)

    def _signal(self, number):
        if self.child.poll() is None:
            os.kill(self.child.pid, number)


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "ended without a word"
