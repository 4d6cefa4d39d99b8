"""Models compiled by Apache TVM with schedules that MetaSchedule finds by measuring.

Usage: tvm_tuning.py MODEL.onnx INPUTS.npz THREADS TRIALS. Tunes every task of the model, TRIALS
schedules each, and leaves the records beside the model. Runs in the Python that has TVM.
"""

import os
import pathlib
import sys

import numpy as np

MOST_TASKS = 10_000  # of a model; the trials of all together are not bounded otherwise


def load(model, inputs, threads, trials=0):
    """(virtual machine, weights in the layouts it wants), by the records beside the model.

    trials: of each task before that; 0 takes the records as they are.
    """
    os.environ["TVM_NUM_THREADS"] = str(threads)  # read once, when TVM makes its threads
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.target import codegen
    target = tvm.target.Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu(),
                                "num-cores": threads})
    shapes = {name: list(array.shape) for name, array in inputs.items()}
    module = from_onnx(onnx.load(model), shape_dict=shapes, keep_params_in_input=True)
    module, weights = relax.frontend.detach_params(module)
    module = relax.get_pipeline("static_shape_tuning", target=target, cpu_weight_prepack=True,
                                work_dir=str(pathlib.Path(model).parent),
                                total_trials=trials * MOST_TASKS,
                                max_trials_per_task=trials)(module)
    machine = relax.VirtualMachine(tvm.compile(module, target=target), tvm.cpu())
    return machine, machine["main_transform_params"](weights.get("main", []))


def main():
    model, inputs_path, threads, trials = sys.argv[1:]
    load(model, dict(np.load(inputs_path)), int(threads), int(trials))


if __name__ == "__main__":
    main()
