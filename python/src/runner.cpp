// The part of the Python package that each run goes through: finds the caller's arrays, makes the
// results' and calls the library, with the interpreter's lock released. All else is Python on top
// of ctypes (corf/_library.py).
//
// Written in the stable subset of CPython's interface from 3.9 on, so that one file serves every
// version; that subset has no buffer protocol before 3.11, so arrays come by NumPy's
// `__array_struct__`, which is as fast. What has none is turned into an array by the caller.
#define Py_LIMITED_API 0x03090000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <corf/corf.h>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <vector>

namespace {

/// A reference of our own.
struct Release {
  void operator()(PyObject* object) const { Py_XDECREF(object); }
};
using Owned = std::unique_ptr<PyObject, Release>;

/// What `__array_struct__` points to.
/// Source: "The array interface protocol" of NumPy's manual.
struct ArrayInterface {
  int two;
  int rank;
  char kind;
  int item_bytes;
  int flags;
  Py_ssize_t* extents;
  Py_ssize_t* strides;
  void* data;
  PyObject* description;
};
enum ArrayFlags { kContiguous = 0x1, kAligned = 0x100, kNativeOrder = 0x200, kWritable = 0x400 };

/// An input or output as the executable wants it.
struct Slot {
  Owned name;
  corf_dtype dtype = CORF_F32;
  char kind = 'f';
  int item_bytes = 4;
  std::vector<int64_t> extents;
  int64_t size_bytes = 0;
  bool is_constant = false;  // compiled in: its values must be `constant`
  std::string constant;
  Owned numpy_shape, numpy_dtype;  // of outputs
};

/// An array that the caller or we hold on to; its memory lives as long as `capsule`.
struct View {
  Owned capsule;
  void* data = nullptr;
};

struct Runner {
  PyObject_HEAD corf_executable* executable;
  std::vector<Slot>* inputs;
  std::vector<Slot>* outputs;
  PyObject* empty;       // numpy.empty
  PyObject* make_error;  // (code, message) to an exception
};

PyObject* array_struct_name = nullptr;  // "__array_struct__"

/// The array's memory, if it is as the slot wants it: false, and no Python error, otherwise.
bool view(PyObject* object, const Slot& slot, int flags, View& result) {
  result.capsule.reset(PyObject_GetAttr(object, array_struct_name));
  const auto* array =
      result.capsule
          ? static_cast<const ArrayInterface*>(PyCapsule_GetPointer(result.capsule.get(), nullptr))
          : nullptr;
  if (array == nullptr) {
    PyErr_Clear();
    return false;
  }
  if (array->two != 2 || (array->flags & flags) != flags || array->kind != slot.kind ||
      array->item_bytes != slot.item_bytes ||
      static_cast<size_t>(array->rank) != slot.extents.size()) {
    return false;
  }
  for (size_t i = 0; i < slot.extents.size(); ++i) {
    if (array->extents[i] != slot.extents[i]) return false;
  }
  result.data = array->data;
  return true;
}

PyObject* raise(const Runner* self, corf_error* error) {
  const Owned exception(PyObject_CallFunction(
      self->make_error, "is", static_cast<int>(corf_error_code(error)), corf_error_message(error)));
  corf_error_free(error);
  if (exception) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  }
  return nullptr;
}

corf_tensor tensor(const Slot& slot, void* data) {
  return {nullptr, slot.dtype, slot.extents.size(), slot.extents.data(), data};
}

/// The inputs that are not compiled in, in order; false where `feed` has others than the slots.
bool match_inputs(const Runner* self, PyObject* feed, std::vector<View>& views,
                  std::vector<corf_tensor>& tensors) {
  if (!PyDict_Check(feed) || static_cast<size_t>(PyDict_Size(feed)) != self->inputs->size()) {
    return false;
  }
  for (const Slot& slot : *self->inputs) {
    PyObject* value = PyDict_GetItemWithError(feed, slot.name.get());
    View& input = views.emplace_back();
    if (value == nullptr || !view(value, slot, kContiguous | kAligned | kNativeOrder, input)) {
      PyErr_Clear();
      return false;
    }
    if (!slot.is_constant) {
      tensors.push_back(tensor(slot, input.data));
    } else if (std::memcmp(input.data, slot.constant.data(), slot.constant.size()) != 0) {
      return false;
    }
  }
  return true;
}

/// Whether two arrays share memory.
bool overlap(const corf_tensor& a, int64_t a_bytes, const corf_tensor& b, int64_t b_bytes) {
  const auto* a_data = static_cast<const char*>(a.data);
  const auto* b_data = static_cast<const char*>(b.data);
  return a_data < b_data + b_bytes && b_data < a_data + a_bytes;
}

int64_t size_bytes(const corf_tensor& tensor) {
  int64_t bytes = static_cast<int64_t>(corf_dtype_size_bytes(tensor.dtype));
  for (size_t i = 0; i < tensor.rank; ++i) bytes *= tensor.extents[i];
  return bytes;
}

corf_error* run_unlocked(const Runner* self, const std::vector<corf_tensor>& inputs,
                         const std::vector<corf_tensor>& outputs) {
  PyThreadState* state = PyEval_SaveThread();
  corf_error* error = corf_executable_run(self->executable, inputs.data(), inputs.size(),
                                          outputs.data(), outputs.size());
  PyEval_RestoreThread(state);
  return error;
}

/// Owns what it is called with until the run is over: `self` and the feed's arrays, by the caller
/// and their capsules.
PyObject* run(PyObject* object, PyObject* feed) {
  auto* self = reinterpret_cast<Runner*>(object);
  std::vector<View> views;
  std::vector<corf_tensor> inputs, outputs;
  views.reserve(self->inputs->size() + self->outputs->size());
  inputs.reserve(self->inputs->size());
  outputs.reserve(self->outputs->size());
  if (!match_inputs(self, feed, views, inputs)) Py_RETURN_NONE;
  Owned results(PyList_New(static_cast<Py_ssize_t>(self->outputs->size())));
  if (!results) return nullptr;
  for (size_t i = 0; i < self->outputs->size(); ++i) {
    const Slot& slot = (*self->outputs)[i];
    PyObject* array = PyObject_CallFunctionObjArgs(self->empty, slot.numpy_shape.get(),
                                                   slot.numpy_dtype.get(), nullptr);
    if (array == nullptr) return nullptr;
    PyList_SetItem(results.get(), static_cast<Py_ssize_t>(i), array);  // takes the reference
    View& output = views.emplace_back();
    if (!view(array, slot, kContiguous | kAligned | kWritable, output)) {
      PyErr_SetString(PyExc_SystemError, "numpy.empty made another array than it was asked for");
      return nullptr;
    }
    outputs.push_back(tensor(slot, output.data));
  }
  corf_error* error = run_unlocked(self, inputs, outputs);
  return error == nullptr ? results.release() : raise(self, error);
}

PyObject* run_into(PyObject* object, PyObject* arguments) {
  auto* self = reinterpret_cast<Runner*>(object);
  PyObject *feed = nullptr, *arrays = nullptr;
  if (!PyArg_ParseTuple(arguments, "OO", &feed, &arrays)) return nullptr;
  std::vector<View> views;
  std::vector<corf_tensor> inputs, outputs;
  if (!match_inputs(self, feed, views, inputs)) Py_RETURN_FALSE;
  if (!PyTuple_Check(arrays) ||
      static_cast<size_t>(PyTuple_Size(arrays)) != self->outputs->size()) {
    PyErr_SetString(PyExc_TypeError, "a tuple with an array for each output is needed");
    return nullptr;
  }
  for (size_t i = 0; i < self->outputs->size(); ++i) {
    const Slot& slot = (*self->outputs)[i];
    View& output = views.emplace_back();
    if (!view(PyTuple_GetItem(arrays, static_cast<Py_ssize_t>(i)), slot,
              kContiguous | kAligned | kNativeOrder | kWritable, output)) {
      PyErr_Format(PyExc_ValueError,
                   "output %R must be a writable C-contiguous array of the output's shape and type",
                   slot.name.get());
      return nullptr;
    }
    const corf_tensor one = tensor(slot, output.data);
    for (const std::vector<corf_tensor>* others : {&inputs, &outputs}) {
      for (const corf_tensor& other : *others) {
        if (overlap(one, slot.size_bytes, other, size_bytes(other))) {
          PyErr_Format(PyExc_ValueError, "output %R shares memory with another array",
                       slot.name.get());
          return nullptr;
        }
      }
    }
    outputs.push_back(one);
  }
  corf_error* error = run_unlocked(self, inputs, outputs);
  if (error != nullptr) return raise(self, error);
  Py_RETURN_TRUE;
}

PyObject* address(PyObject* object, void*) {
  return PyLong_FromVoidPtr(reinterpret_cast<Runner*>(object)->executable);
}

/// `dtypes`: NumPy's types by the library's numbers.
bool fill_slot(Slot& slot, PyObject* dtypes) {
  slot.numpy_dtype.reset(PySequence_GetItem(dtypes, slot.dtype));
  if (!slot.numpy_dtype) return false;
  const Owned kind(PyObject_GetAttrString(slot.numpy_dtype.get(), "kind"));
  const Owned code(kind ? PyUnicode_AsLatin1String(kind.get()) : nullptr);
  const char* text = code ? PyBytes_AsString(code.get()) : nullptr;
  if (text == nullptr) return false;
  slot.kind = text[0];
  slot.item_bytes = static_cast<int>(corf_dtype_size_bytes(slot.dtype));
  slot.numpy_shape.reset(PyTuple_New(static_cast<Py_ssize_t>(slot.extents.size())));
  if (!slot.numpy_shape) return false;
  slot.size_bytes = slot.item_bytes;
  for (size_t i = 0; i < slot.extents.size(); ++i) {
    slot.size_bytes *= slot.extents[i];
    PyTuple_SetItem(slot.numpy_shape.get(), static_cast<Py_ssize_t>(i),
                    PyLong_FromLongLong(slot.extents[i]));
  }
  return true;
}

bool fill_slot(Slot& slot, const corf_tensor_info& info, PyObject* dtypes) {
  slot.name.reset(PyUnicode_DecodeUTF8(info.name, static_cast<Py_ssize_t>(std::strlen(info.name)),
                                       "surrogateescape"));
  slot.dtype = info.dtype;
  slot.extents.assign(info.extents, info.extents + info.rank);
  return slot.name != nullptr && fill_slot(slot, dtypes);
}

/// An input (name, dtype, extents, values) that is compiled in.
bool fill_slot(Slot& slot, PyObject* constant, PyObject* dtypes) {
  PyObject *name = nullptr, *extents = nullptr;
  const char* values = nullptr;
  Py_ssize_t length = 0;
  int dtype = 0;
  if (!PyArg_ParseTuple(constant, "OiOy#", &name, &dtype, &extents, &values, &length)) return false;
  Py_INCREF(name);
  slot.name.reset(name);
  slot.dtype = static_cast<corf_dtype>(dtype);
  slot.is_constant = true;
  slot.constant.assign(values, static_cast<size_t>(length));
  for (Py_ssize_t i = 0; i < PyTuple_Size(extents); ++i) {
    slot.extents.push_back(PyLong_AsLongLong(PyTuple_GetItem(extents, i)));
  }
  return PyErr_Occurred() == nullptr && fill_slot(slot, dtypes) &&
         slot.size_bytes == static_cast<int64_t>(length);
}

PyObject* create(PyTypeObject* type, PyObject* arguments, PyObject*) {
  PyObject *location = nullptr, *dtypes = nullptr, *empty = nullptr, *make_error = nullptr,
           *constants = nullptr;
  if (!PyArg_ParseTuple(arguments, "OOOOO!", &location, &dtypes, &empty, &make_error, &PyTuple_Type,
                        &constants)) {
    return nullptr;
  }
  auto* executable = static_cast<corf_executable*>(PyLong_AsVoidPtr(location));
  if (executable == nullptr) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_ValueError, "no executable");
    return nullptr;
  }
  const auto allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
  auto* self = reinterpret_cast<Runner*>(allocate(type, 0));
  if (self == nullptr) return nullptr;
  Owned owned(reinterpret_cast<PyObject*>(self));
  self->executable = executable;
  self->inputs = new std::vector<Slot>(corf_executable_num_inputs(executable));
  self->outputs = new std::vector<Slot>(corf_executable_num_outputs(executable));
  Py_INCREF(empty);
  self->empty = empty;
  Py_INCREF(make_error);
  self->make_error = make_error;
  corf_tensor_info info;
  for (size_t i = 0; i < self->inputs->size(); ++i) {
    if (corf_error* error = corf_executable_input(executable, i, &info)) return raise(self, error);
    if (!fill_slot((*self->inputs)[i], info, dtypes)) return nullptr;
  }
  for (size_t i = 0; i < self->outputs->size(); ++i) {
    if (corf_error* error = corf_executable_output(executable, i, &info)) return raise(self, error);
    if (!fill_slot((*self->outputs)[i], info, dtypes)) return nullptr;
  }
  for (Py_ssize_t i = 0; i < PyTuple_Size(constants); ++i) {
    if (!fill_slot(self->inputs->emplace_back(), PyTuple_GetItem(constants, i), dtypes)) {
      if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_ValueError, "a constant of no size");
      return nullptr;
    }
  }
  return owned.release();
}

void destroy(PyObject* object) {
  auto* self = reinterpret_cast<Runner*>(object);
  PyTypeObject* type = Py_TYPE(object);
  corf_executable_free(self->executable);
  delete self->inputs;
  delete self->outputs;
  Py_XDECREF(self->empty);
  Py_XDECREF(self->make_error);
  reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(object);
  Py_DECREF(type);
}

PyMethodDef runner_methods[] = {
    {"run", run, METH_O,
     "run(feed): the results of a dict of arrays; None where it has others than the executable's "
     "inputs, or one that is not a C-contiguous array of the right type and shape."},
    {"run_into", run_into, METH_VARARGS,
     "run_into(feed, outputs): as run, into a tuple of arrays; whether `feed` fits."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef runner_attributes[] = {
    {"address", address, nullptr, "Of the corf_executable.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot runner_slots[] = {
    {Py_tp_doc,
     const_cast<char*>("Runner(address, dtypes, empty, make_error, constants): runs an executable, "
                       "which it frees.")},
    {Py_tp_new, reinterpret_cast<void*>(create)},
    {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
    {Py_tp_methods, runner_methods},
    {Py_tp_getset, runner_attributes},
    {0, nullptr}};

PyType_Spec runner_spec = {"corf._corf.Runner", sizeof(Runner), 0, Py_TPFLAGS_DEFAULT,
                           runner_slots};

PyModuleDef module_definition = {PyModuleDef_HEAD_INIT,
                                 "_corf",
                                 "Runs executables of libcorf.",
                                 -1,
                                 nullptr,
                                 nullptr,
                                 nullptr,
                                 nullptr,
                                 nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__corf() {
  array_struct_name = PyUnicode_InternFromString("__array_struct__");
  Owned module(PyModule_Create(&module_definition));
  PyObject* runner = PyType_FromSpec(&runner_spec);
  // The library that ctypes is to load: the one that is loaded already.
  Dl_info library = {};
  if (array_struct_name == nullptr || !module || runner == nullptr ||
      dladdr(reinterpret_cast<const void*>(&corf_version), &library) == 0 ||
      PyModule_AddObject(module.get(), "Runner", runner) != 0 ||
      PyModule_AddStringConstant(module.get(), "library_path", library.dli_fname) != 0) {
    return nullptr;
  }
  return module.release();
}
