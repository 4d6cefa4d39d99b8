"""Options with ONNX Runtime's names. Those that have no meaning here are accepted and kept."""

from __future__ import annotations

import enum
from typing import Any

from corf._errors import InvalidArgument, Unsupported


class GraphOptimizationLevel(enum.IntEnum):
    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(enum.IntEnum):
    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


class SessionOptions:
    """`intra_op_num_threads` is the number of workers (0: the CPUs that the process may use).
    add_session_config_entry("corf.KEY", VALUE) sets the option KEY of corf_options_set. Models are
    always optimised, and errors are exceptions, so that levels of either have no effect."""

    def __init__(self) -> None:
        self.intra_op_num_threads = 0
        self.inter_op_num_threads = 0
        self.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
        self.execution_mode = ExecutionMode.ORT_SEQUENTIAL
        self.execution_order = ExecutionOrder.DEFAULT
        self.enable_profiling = False
        self.profile_file_prefix = "corf_profile_"
        self.optimized_model_filepath = ""
        self.enable_cpu_mem_arena = True
        self.enable_mem_pattern = True
        self.enable_mem_reuse = True
        self.use_deterministic_compute = True
        self.use_per_session_threads = True
        self.log_severity_level = -1
        self.log_verbosity_level = 0
        self.logid = ""
        self._entries: dict[str, str] = {}
        self._extents: dict[str, int] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        if key not in self._entries:
            raise InvalidArgument(f"the session options have no entry '{key}'")
        return self._entries[key]

    def has_session_config_entry(self, key: str) -> bool:
        return key in self._entries

    def add_free_dimension_override_by_name(self, name: str, extent: int) -> None:
        """The value of a symbolic dimension."""
        self._extents[name] = extent

    def add_free_dimension_override_by_denotation(self, denotation: str, extent: int) -> None:
        raise Unsupported("dimensions are bound by name, not by denotation")

    def add_initializer(self, name: str, value: Any) -> None:
        raise Unsupported("initializers cannot be replaced; make them inputs of the model")

    def register_custom_ops_library(self, path: str) -> None:
        raise Unsupported("there are no custom operators")

    def options(self) -> dict[str, Any]:
        """As corf.compile takes them."""
        result: dict[str, Any] = {"threads": self.intra_op_num_threads}
        for key, value in self._entries.items():
            if key.startswith("corf."):
                result[key[len("corf."):]] = value
        return result

    def extents(self) -> dict[str, int]:
        return dict(self._extents)


class RunOptions:
    """Accepted by runs, without effect."""

    def __init__(self) -> None:
        self.log_severity_level = -1
        self.log_verbosity_level = 0
        self.logid = ""
        self.terminate = False
        self.training_mode = False
        self.only_execute_path_to_fetches = False
        self._entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self._entries[key] = value

    def get_run_config_entry(self, key: str) -> str:
        return self._entries[key]
