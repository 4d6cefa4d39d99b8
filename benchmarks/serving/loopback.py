"""MLServer on loopback, and requests to it as clients send them."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
from mlserver.grpc import dataplane_pb2, dataplane_pb2_grpc

HERE = pathlib.Path(__file__).resolve().parent
CORF = "corf.mlserver.CorfRuntime"
ONNXRUNTIME = "onnxruntime_runtime.OnnxRuntime"
DATATYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "uint8": "UINT8"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server(contextlib.AbstractContextManager):
    """Serves the model under each name of `implementations` with that runtime."""

    def __init__(self, model, implementations, **extra):
        self._folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self._folder.name)
        self._rest, self._grpc = free_port(), free_port()
        (folder / "settings.json").write_text(json.dumps(
            {"host": "127.0.0.1", "http_port": self._rest, "grpc_port": self._grpc,
             "metrics_port": free_port(), "parallel_workers": 0, "debug": False}))
        for name, implementation in implementations.items():
            (folder / name).mkdir()
            shutil.copy(model, folder / name / "model.onnx")
            (folder / name / "model-settings.json").write_text(json.dumps(
                {"name": name, "implementation": implementation,
                 "parameters": {"uri": "./model.onnx", "extra": extra}}))
        path = os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        self._log = open(folder / "log", "w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [pathlib.Path(sys.executable).with_name("mlserver"), "start", folder],
            stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path})
        try:
            self._wait(implementations)
        except BaseException:
            self.__exit__()
            raise
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._grpc}")
        self._stub = dataplane_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def _wait(self, names, timeout_s=120):
        deadline = time.monotonic() + timeout_s
        for name in names:
            while True:
                with contextlib.suppress(OSError):
                    self.get(f"v2/models/{name}/ready")
                    break
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._log.seek(0)
                    raise RuntimeError(f"MLServer does not serve {name}:\n{self._log.read()}")
                time.sleep(0.2)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self._rest}/{path}", timeout=10) as answer:
            return answer.read()

    def rest(self, name, feed):
        """Status and the answer's object."""
        body = {"inputs": [{"name": key, "shape": array.shape, "data": array.ravel().tolist(),
                            "datatype": DATATYPES[array.dtype.name]}
                           for key, array in feed.items()]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._rest}/v2/models/{name}/infer",
            json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def binary(self, name, feed):
        """The outputs by name; arrays travel as their bytes."""
        request = dataplane_pb2.ModelInferRequest(model_name=name)
        for key, array in feed.items():
            request.inputs.add(name=key, shape=array.shape, datatype=DATATYPES[array.dtype.name])
            request.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
        answer = self._stub.ModelInfer(request, timeout=60)
        return {one.name: np.frombuffer(raw, np.float32).reshape(one.shape)
                for one, raw in zip(answer.outputs, answer.raw_output_contents)}

    def __exit__(self, *_):
        if hasattr(self, "_channel"):
            self._channel.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()
