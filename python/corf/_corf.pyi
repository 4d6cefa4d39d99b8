from typing import Any, Callable, Mapping, Sequence

import numpy as np

library_path: str

class Runner:
    address: int
    def __init__(
        self,
        address: int,
        dtypes: Sequence[np.dtype],
        empty: Callable[..., np.ndarray],
        make_error: Callable[[int, str], Exception],
        constants: tuple[tuple[str, int, tuple[int, ...], bytes], ...],
    ) -> None: ...
    def run(self, feed: Mapping[str, Any]) -> list[np.ndarray] | None: ...
    def run_into(self, feed: Mapping[str, Any], outputs: tuple[Any, ...]) -> bool: ...
