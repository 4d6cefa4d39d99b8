"""torch.compile(module, backend="corf"): what PyTorch hands over is exported to ONNX and compiled.

Parameters are compiled in; where a module's have changed since, it is compiled again. What cannot be
exported or is not supported runs as it would without a backend, with a warning, and so do graphs
that need gradients or have symbolic sizes (torch.compile(..., dynamic=False) avoids these).
"""

from __future__ import annotations

import warnings
from typing import Any, Callable, Sequence

import numpy as np
import torch

from corf._errors import Error
from corf._session import InferenceSession

Run = Callable[..., Sequence[torch.Tensor]]


def compile_graph(module: torch.fx.GraphModule, examples: Sequence[Any]) -> Run:
    """A backend as torch.compile takes it (entry point group torch_dynamo_backends)."""
    why_not = _why_not(module, examples)
    if why_not:
        return _as_without(module, why_not)
    try:
        return _Compiled(module, examples)
    except (Error, torch.onnx.errors.OnnxExporterError) as error:
        return _as_without(module, str(error).splitlines()[0])


def _as_without(module: torch.fx.GraphModule, why: str) -> Run:
    warnings.warn(f"corf does not compile this graph: {why}", stacklevel=3)
    return module.forward


def _why_not(module: torch.fx.GraphModule, examples: Sequence[Any]) -> str:
    if torch.is_grad_enabled() and any(isinstance(one, torch.Tensor) and one.requires_grad
                                       for one in examples):
        return "it needs gradients; use torch.inference_mode() or torch.no_grad()"
    if not all(isinstance(one, torch.Tensor) for one in examples):
        return "it has symbolic sizes; use torch.compile(..., dynamic=False)"
    if any(one.device.type != "cpu" for one in examples):
        return "its tensors are not on the CPU"
    [results] = next(node for node in module.graph.nodes if node.op == "output").args
    if not all(isinstance(one, torch.fx.Node) for one in results):
        return "it returns what is no tensor"
    return ""


def _is_parameter(placeholder: torch.fx.Node) -> bool:
    """Of a module's parameters and buffers, which are handed over in each call. Dynamo marks them."""
    return "_dynamo_static_input_type" in placeholder.meta.get("tensor_dict", {})


class _Compiled:
    """The graph as a session, in which its parameters are constants."""

    def __init__(self, module: torch.fx.GraphModule, examples: Sequence[torch.Tensor]) -> None:
        self._module = module
        self._is_parameter = [_is_parameter(node) or isinstance(one, torch.nn.Parameter)
                              for node, one in zip(module.graph.find_nodes(op="placeholder"),
                                                   examples)]
        self._compile(examples)

    def _compile(self, arguments: Sequence[torch.Tensor]) -> None:
        self._versions = self._parameter_versions(arguments)
        inputs = tuple(one.detach().clone() for one, is_parameter
                       in zip(arguments, self._is_parameter) if not is_parameter)
        module = _WithParameters(self._module, self._is_parameter, arguments).eval()
        with torch.no_grad():
            program = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
        self._session = InferenceSession(program.model_proto)
        self._names = [one.name for one in self._session.get_inputs()]

    def _parameter_versions(self, arguments: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
        """Change with the parameters' values."""
        return [(one.data_ptr(), 0 if one.is_inference() else one._version)
                for one, is_parameter in zip(arguments, self._is_parameter) if is_parameter]

    def __call__(self, *arguments: torch.Tensor) -> list[torch.Tensor]:
        if self._parameter_versions(arguments) != self._versions:
            self._compile(arguments)
        arrays = (np.ascontiguousarray(one.detach().numpy()) for one, is_parameter
                  in zip(arguments, self._is_parameter) if not is_parameter)
        return [torch.from_numpy(one)
                for one in self._session.run(None, dict(zip(self._names, arrays)))]


class _WithParameters(torch.nn.Module):
    """The graph as a function of what is no parameter."""

    def __init__(self, module: torch.fx.GraphModule, is_parameter: Sequence[bool],
                 arguments: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._graph, self._is_parameter = module, list(is_parameter)
        for i, one in enumerate(arguments):
            if is_parameter[i]:
                self.register_buffer(f"constant_{i}", one.detach())

    def forward(self, *inputs: torch.Tensor) -> Any:
        constants, others = iter(self.buffers(recurse=False)), iter(inputs)
        return self._graph(*(next(constants if fixed else others) for fixed in self._is_parameter))
