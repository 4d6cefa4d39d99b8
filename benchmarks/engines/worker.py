"""One engine in a process of its own, for contest.py.

Usage: worker.py ENGINE MODEL INPUTS.npz OUTPUTS.npz THREADS. Loads the model, runs it once and
writes its outputs, then speaks as `corf bench --serve` does: a line of JSON when it is ready, then
one for each line "measure SECONDS" on stdin. MODEL is what contest.py gives the engine: an ONNX
file, for ncnn a .param file beside its .bin, for TVM an ONNX file beside its tuning records.
"""

import json
import pathlib
import sys
import time

import numpy as np

FEWEST_RUNS = 3


def onnxruntime_runner(model, inputs, threads):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    try:
        for _ in range(2):  # the second time outputs are bound
            session.run_with_iobinding(binding)
    except RuntimeError:  # bound outputs have to be of the rank that the model declares
        results = []

        def run_unbound():
            results[:] = session.run(None, inputs)

        return onnxruntime.__version__, run_unbound, lambda: results

    def run():
        session.run_with_iobinding(binding)

    return onnxruntime.__version__, run, binding.copy_outputs_to_cpu


def openvino_runner(model, inputs, threads):
    import openvino
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({name: list(array.shape) for name, array in inputs.items()})
    # Without the first it computes in bfloat16 where the machine can.
    compiled = core.compile_model(network, "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1})
    request = compiled.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def outputs():
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return openvino.__version__, request.infer, outputs


def ncnn_runner(model, inputs, threads):
    import ncnn
    net = ncnn.Net()
    for option in dir(net.opt):
        # Its defaults store and compute in half precision where the machine can.
        if "fp16" in option or "bf16" in option:
            setattr(net.opt, option, False)
    net.opt.use_winograd_convolution = True
    net.opt.use_packing_layout = True
    net.opt.num_threads = threads
    ncnn.set_omp_num_threads(threads)
    for load, suffix in ((net.load_param, ".param"), (net.load_model, ".bin")):
        if load(str(pathlib.Path(model).with_suffix(suffix))) != 0:
            raise RuntimeError(f"cannot load the model's {suffix}")
    mats = [ncnn.Mat(ncnn_view(array)).clone() for array in inputs.values()]
    names = [f"out{i}" for i in range(len(net.output_names()))]
    results = {}

    def run():
        extractor = net.create_extractor()
        for i, mat in enumerate(mats):
            extractor.input(f"in{i}", mat)
        for name in names:
            status, results[name] = extractor.extract(name)
            if status != 0:
                raise RuntimeError(f"cannot compute {name}: {status}")

    return ncnn.__version__, run, lambda: [np.array(results[name]) for name in names]


def tvm_runner(model, inputs, threads):
    from tvm_tuning import load
    machine, weights = load(model, inputs, threads)
    import tvm
    arrays = [tvm.runtime.tensor(array) for array in inputs.values()]
    machine.set_input("main", *arrays, *weights)

    def outputs():
        results = machine.get_outputs("main")
        results = results if isinstance(results, (list, tuple)) else [results]
        return [result.numpy() for result in results]

    return tvm.__version__, lambda: machine.invoke_stateful("main"), outputs


def ncnn_view(array):
    """The array as ncnn takes it: no batch axis, 32-bit integers."""
    if np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.int32)
    return array[0] if array.ndim > 2 and array.shape[0] == 1 else array


RUNNERS = {"onnxruntime": onnxruntime_runner, "openvino": openvino_runner, "ncnn": ncnn_runner,
           "tvm": tvm_runner}


def measure(run, seconds):
    """Times in ms of at least FEWEST_RUNS runs over at least `seconds`."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < FEWEST_RUNS or time.perf_counter() < end:
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def main():
    engine, model, inputs_path, outputs_path, threads = sys.argv[1:]
    inputs = {name: np.ascontiguousarray(array) for name, array in np.load(inputs_path).items()}
    start = time.perf_counter()
    version, run, outputs = RUNNERS[engine](model, inputs, int(threads))
    run()
    load_ms = (time.perf_counter() - start) * 1e3
    np.savez(outputs_path, *outputs())
    print(json.dumps({"version": version, "load_ms": load_ms}), flush=True)
    for line in sys.stdin:
        times = measure(run, float(line.removeprefix("measure ")))
        print(json.dumps({"median_ms": float(np.median(times)), "min_ms": min(times)}), flush=True)


if __name__ == "__main__":
    main()
