#ifndef CORF_CORF_H
#define CORF_CORF_H
/*
 * corf's C interface: compiles a trained network (.onnx) for this machine's CPU and runs it.
 *
 * A session is a loaded model with its options and workers. It compiles for the shapes that it is
 * run with and keeps the last few executables. An executable is the model compiled for one set of
 * shapes.
 *
 * Every function that can fail returns a corf_error: NULL on success, else the fault in words,
 * which the caller frees with corf_error_free. Out-parameters are written on success only. No
 * exception crosses this interface. Where a pointer is needed, null gives CORF_INVALID_ARGUMENT, or
 * 0, NULL or "" from a function that cannot fail; an array of no elements may be null. All strings
 * end with a zero byte. Messages are UTF-8 of bounded length without control characters but line
 * breaks, whatever the names in them; names are as the model has them. Strings and
 * arrays reached through an object live as long as the object, unless a function's comment says
 * otherwise.
 *
 * Sessions and executables may be used from several threads at once; options may not.
 *
 * Longer than 500 lines because programs include one header, which is the reference as well.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CORF_API __attribute__((visibility("default")))
#else
#define CORF_API
#endif

/* Grows when functions are added. Functions are never changed nor taken away within a major version
 * of the library. */
#define CORF_API_VERSION 1
CORF_API int corf_api_version(void);
/* "MAJOR.MINOR.PATCH" */
CORF_API const char* corf_version(void);

/* ---- errors ---- */

typedef enum corf_code {
  CORF_INVALID_MODEL = 1,    /* not a model that the ONNX specification allows */
  CORF_UNSUPPORTED = 2,      /* a valid model that corf cannot compile */
  CORF_INVALID_ARGUMENT = 3, /* a wrong name, shape, element type or option */
  CORF_IO = 4,               /* a file cannot be read or written */
  CORF_OUT_OF_MEMORY = 5,
  CORF_INTERNAL = 6,   /* a fault of corf's own */
  CORF_OVER_LIMIT = 7, /* more work, memory or nodes than the options "limits.*" allow */
  CORF_CANCELLED = 8   /* by corf_cancellation_cancel */
} corf_code;

typedef struct corf_error corf_error;
CORF_API corf_code corf_error_code(const corf_error* error);
CORF_API const char* corf_error_message(const corf_error* error);
CORF_API void corf_error_free(corf_error* error); /* NULL is allowed, here and in all _free */

/* Frees text that a function handed out through a `char**`. */
CORF_API void corf_string_free(char* text);

/* ---- tensors ---- */

typedef enum corf_dtype {
  CORF_BOOL = 0, /* one byte, 0 or 1 */
  CORF_I8 = 1,
  CORF_U8 = 2,
  CORF_I16 = 3,
  CORF_U16 = 4,
  CORF_I32 = 5,
  CORF_U32 = 6,
  CORF_I64 = 7,
  CORF_U64 = 8,
  CORF_F16 = 9,
  CORF_BF16 = 10,
  CORF_F32 = 11,
  CORF_F64 = 12,
  CORF_DTYPE_RANGE = 0x7fffffff /* no element type: makes every int a valid corf_dtype */
} corf_dtype;

/* 0 for a number that is no corf_dtype. */
CORF_API size_t corf_dtype_size_bytes(corf_dtype dtype);
/* "f32"; "unknown" for a number that is no corf_dtype. */
CORF_API const char* corf_dtype_name(corf_dtype dtype);

/* What a model or executable declares of an input or output. */
typedef struct corf_tensor_info {
  const char* name;
  corf_dtype dtype;
  size_t rank;
  const int64_t* extents;     /* outermost first; -1 where symbolic */
  const char* const* symbols; /* by dimension: the symbol's name ("?" if it has none), or "" */
  int has_shape;              /* 0: the model declares no shape, not even the rank */
} corf_tensor_info;

/* A dense row-major array of the caller's. */
typedef struct corf_tensor {
  const char* name; /* of the input or output; NULL: the one at this position */
  corf_dtype dtype;
  size_t rank;
  const int64_t* extents;
  void* data; /* size of `dtype` times the product of `extents`; not written for inputs */
} corf_tensor;

/* An array of the library's. */
typedef struct corf_array corf_array;
/* A TensorProto, as ONNX's backend tests keep inputs and outputs in .pb files; its values are in it
 * and not in another file. */
CORF_API corf_error* corf_array_parse_onnx(const void* bytes, size_t size_bytes,
                                           corf_array** array);
CORF_API void corf_array_free(corf_array* array);
/* Valid as long as the array. */
CORF_API corf_tensor corf_array_tensor(const corf_array* array);

/* What a value is, or is declared to be. */
typedef enum corf_kind {
  CORF_NOTHING = 0, /* an optional without an element */
  CORF_TENSOR = 1,
  CORF_STRINGS = 2, /* a tensor of strings */
  CORF_SEQUENCE = 3,
  CORF_OPTIONAL = 4, /* declared so; its values are of the other kinds */
  CORF_NARROW = 5,   /* a tensor of elements of 8 bits or less that corf does not compute in */
  CORF_KIND_RANGE = 0x7fffffff
} corf_kind;

/* A tensor, strings, a sequence of values, or nothing. Nobody changes what it holds. */
typedef struct corf_value corf_value;
/* Nothing. */
CORF_API corf_error* corf_value_create(corf_value** value);
/* A copy; the name does not count. */
CORF_API corf_error* corf_value_of_tensor(const corf_tensor* tensor, corf_value** value);
/* Copies of texts, row by row, of `sizes_bytes[i]` bytes each. */
CORF_API corf_error* corf_value_of_strings(size_t rank, const int64_t* extents,
                                           const char* const* texts, const size_t* sizes_bytes,
                                           size_t num_texts, corf_value** value);
/* Of items that it shares; they may be freed. */
CORF_API corf_error* corf_value_of_sequence(const corf_value* const* items, size_t num_items,
                                            corf_value** value);
/* A message as ONNX's backend tests keep them in .pb files: of a tensor (CORF_TENSOR or
 * CORF_STRINGS), a sequence or an optional. */
CORF_API corf_error* corf_value_parse_onnx(const void* bytes, size_t size_bytes, corf_kind kind,
                                           corf_value** value);
CORF_API void corf_value_free(corf_value* value);
CORF_API corf_kind corf_value_kind(const corf_value* value);
/* A tensor, or extents without data of strings; of CORF_NARROW a byte for each element, CORF_U8,
 * with the element's bits in the lowest. Valid as long as the value. */
CORF_API corf_error* corf_value_tensor(const corf_value* value, corf_tensor* tensor);
/* Of CORF_NARROW: the element type as TensorProto.data_type numbers it; 0 for another kind. */
CORF_API int corf_value_narrow_type(const corf_value* value);
/* Items of a sequence, or strings. 0 for a value of another kind. */
CORF_API size_t corf_value_num_items(const corf_value* value);
/* A new value. Errors: CORF_INVALID_ARGUMENT where there is no such item. */
CORF_API corf_error* corf_value_item(const corf_value* value, size_t position, corf_value** item);
/* A string of `*size_bytes`, with a zero byte behind; valid as long as the value. */
CORF_API corf_error* corf_value_string(const corf_value* value, size_t position, const char** text,
                                       size_t* size_bytes);

/* Extents of the input `name`; or, with rank 1, the value of the symbolic dimension `name`. */
typedef struct corf_shape {
  const char* name;
  size_t rank;
  const int64_t* extents;
} corf_shape;

/* ---- options ---- */

typedef struct corf_options corf_options;
CORF_API corf_error* corf_options_create(corf_options** options);
CORF_API void corf_options_free(corf_options* options);
/*
 * key           value                             default
 * "threads"     workers of a run, 1 to 1024; 0: as many as the CPUs that the process may use,
 *               shared out evenly among the streams
 *                                                 "0"
 * "streams"     runs side by side of what several threads run at once. auto: as many as there are
 *               callers and CPUs; one that is alone has all workers, several share them. A number:
 *               so many, each with all its workers; others wait. latency: 1. throughput: one for
 *               each CPU, on one worker, for which the model is compiled
 *                                                 "auto"
 * "workers"     shared: those that the sessions of the process have together, one for each CPU;
 *               own: the session's, as always where it asks for more than there are CPUs
 *                                                 "shared"
 * "isa"         sse2, avx2, avx2vnni, avx512,     the widest of the machine
 *               avx512vnni, avx512bf16, amx
 * "plan"        auto: what corf_session_tune has found, else by prediction; unfused: every operator
 *               alone; fused: all in one kernel that can be, be it slower (to test fusion)
 * "plan_cache"  folder of tuned plans; empty: none are looked for
 * "tune_anew"   0 or 1: corf_session_tune leaves what earlier calls have measured aside, and
 *               replaces it                       "0"
 * "force_plan"  the text of a plan to carry out, as corf_inspect gives it for stage plan
 *                                                 "auto"
 * "constant"    NAME=VALUE: compiles in the value of an input, which the session then no longer
 *               has; VALUE: a number for all elements, or one for each, separated by commas.
 *               Set once for each such input
 * "winograd"    0 or 1: compute 3x3 convolutions by Winograd's method where it is faster; its
 *               rounding errors are larger       "1"
 * "precision"   f32, or bf16: factors of convolutions and products of matrices with constant
 * weights are rounded to bfloat16 and their products added up in f32; all else stays f32 "f32"
 * "random_seed" 0 to 2^63 - 1: of the operators that draw random numbers and have no seed of their
 *               own; each run then draws the same ones. Empty: each run draws others   ""
 * "cache_size"  executables kept by a session, at least 1
 *                                                 "8"
 * "executable_cache"
 *               folder of compiled models, where a process finds what an earlier one compiled for
 *               the same model, shapes, options and machine with this very library; "default":
 *               $XDG_CACHE_HOME/corf/executables or $HOME/.cache/corf/executables; empty: none.
 *               It is made where it is missing. It holds machine code: a folder that others may
 *               use, or a file that others may have written, is left aside. Models with external
 *               data are not kept        ""
 * "executable_cache_limit"
 *               MiB; what was not used for longest is removed beyond that
 *                                                 "1024"
 * "limits.compile_seconds", "limits.memory", "limits.constants", "limits.nodes"
 *               what one compilation may take: seconds of CPU time, all threads together; MiB of
 *               tensors at one time; MiB of the compiled model's constants, packed weights among
 *               them; nodes, after functions are inlined. 0: what the model's size allows, which
 *               only a model reaches that unfolds out of proportion ("limits.constants": any)
 *                                                 "0"
 * "verify_each" 0 or 1: check each stage's rules after every pass
 *                                                 "0"
 * "time_passes" 0 or 1: log the time of each pass "0"
 * "dump_dir"    folder that receives one numbered file for each pass that changed something
 *                                                 the environment's CORF_DUMP_DIR
 * Errors: CORF_INVALID_ARGUMENT for an unknown key or a value that it does not take.
 */
CORF_API corf_error* corf_options_set(corf_options* options, const char* key, const char* value);

/*
 * Ends compilations, tunings and comparisons from another thread: those of sessions that were
 * loaded with the options that hold it. They fail with CORF_CANCELLED at their next look, which
 * code generation takes once a kernel; so do all later ones. Runs are not ended. Sessions keep what
 * they need of it, so it may be freed before them.
 */
typedef struct corf_cancellation corf_cancellation;
CORF_API corf_error* corf_cancellation_create(corf_cancellation** cancellation);
/* May be called from any thread, also while others use the sessions. */
CORF_API void corf_cancellation_cancel(corf_cancellation* cancellation);
CORF_API void corf_cancellation_free(corf_cancellation* cancellation);
/* NULL: none, the default. */
CORF_API corf_error* corf_options_set_cancellation(corf_options* options,
                                                   const corf_cancellation* cancellation);

/* ---- operators ---- */

/* An operator that models may have. Fields are only ever added at the end. */
typedef struct corf_operator_info {
  const char* name;     /* "domain.Name" outside of ONNX's default domain */
  int64_t since, until; /* opsets of its domain, both included */
  const char* inputs;   /* element types in words, one for each input: "float", or "T:float T" where
                           they agree */
} corf_operator_info;
/* Ordered by name and opset; texts live as long as the process. */
CORF_API size_t corf_num_operators(void);
CORF_API corf_error* corf_operator_at(size_t position, corf_operator_info* info,
                                      size_t info_size_bytes);

/* ---- sessions ---- */

typedef struct corf_session corf_session;
typedef struct corf_executable corf_executable;

/*
 * `path`: an .onnx model, or what corf_executable_write wrote, which has fixed shapes and cannot be
 * inspected or compared; it holds machine code, so load only what you would run. Initializers are
 * read by the end of the call, whatever happens to their files afterwards. External data must lie
 * in the model's folder, in a regular file without other hard links. `options` may be NULL (the
 * defaults) and is not needed after the call.
 */
CORF_API corf_error* corf_session_load(const char* path, const corf_options* options,
                                       corf_session** session);
/* External data is looked for in `directory` (NULL or "": the current one) and nowhere else. */
CORF_API corf_error* corf_session_load_bytes(const void* bytes, size_t size_bytes,
                                             const char* directory, const corf_options* options,
                                             corf_session** session);
CORF_API void corf_session_free(corf_session* session);

CORF_API size_t corf_session_num_inputs(const corf_session* session);
CORF_API size_t corf_session_num_outputs(const corf_session* session);
CORF_API corf_error* corf_session_input(const corf_session* session, size_t position,
                                        corf_tensor_info* info);
CORF_API corf_error* corf_session_output(const corf_session* session, size_t position,
                                         corf_tensor_info* info);

/* The model's own notes (metadata_props), ordered by key. */
CORF_API size_t corf_session_num_metadata(const corf_session* session);
CORF_API corf_error* corf_session_metadata_at(const corf_session* session, size_t position,
                                              const char** key, const char** value);
/* NULL where the model has no such key. */
CORF_API const char* corf_session_metadata(const corf_session* session, const char* key);

/* Version of ONNX's default operator set that the model is written in. */
CORF_API int64_t corf_session_opset(const corf_session* session);
/* How often each operator occurs, ordered by name; "domain.Name" outside of ONNX's default domain.
 */
CORF_API size_t corf_session_num_operators(const corf_session* session);
CORF_API corf_error* corf_session_operator_at(const corf_session* session, size_t position,
                                              const char** name, int64_t* count);

/* Workers of a run at most. */
CORF_API int corf_session_threads(const corf_session* session);

/*
 * The shape that tensor `position` of the model's inputs has with `shapes`, which need not name
 * inputs without symbolic dimensions: its rank, and its extents as far as there is room for them.
 * Errors: CORF_INVALID_ARGUMENT as of corf_session_compile, and for an input that is no tensor.
 */
CORF_API corf_error* corf_session_input_extents(const corf_session* session,
                                                const corf_shape* shapes, size_t num_shapes,
                                                size_t position, int64_t* extents,
                                                size_t most_extents, size_t* rank);

/*
 * The model compiled for these shapes, from the session's cache where it is there. Inputs without
 * symbolic dimensions need no shape.
 * Errors: CORF_UNSUPPORTED naming every unsupported node at once; CORF_INVALID_ARGUMENT if a
 * dimension is left open or contradicts the model.
 */
CORF_API corf_error* corf_session_compile(corf_session* session, const corf_shape* shapes,
                                          size_t num_shapes, corf_executable** executable);

/*
 * As corf_session_compile for the shapes of `inputs`. Where the value of a scalar or a short list
 * decides shapes or branches (axes, sizes, a number of steps), it is compiled in: such an input is
 * none of the executable's, and there is an executable for each of its values.
 * Errors: as of corf_session_compile; CORF_INVALID_ARGUMENT too where a node does not admit a
 * value.
 */
CORF_API corf_error* corf_session_compile_for(corf_session* session, const corf_tensor* inputs,
                                              size_t num_inputs, corf_executable** executable);

/* The inputs whose values would have to be known to compile for `shapes`, a name on each line; ""
 * if there are none. What these values decide may make others matter. */
CORF_API corf_error* corf_session_deciding_inputs(corf_session* session, const corf_shape* shapes,
                                                  size_t num_shapes, char** names);

/*
 * Compiles for `inputs`, as corf_session_compile_for does, where that has not been done, and runs.
 * `outputs` are the caller's arrays; corf_executable_output tells the shapes that they must have.
 * Errors: CORF_INVALID_ARGUMENT naming the input or output and what it should be.
 */
CORF_API corf_error* corf_session_run(corf_session* session, const corf_tensor* inputs,
                                      size_t num_inputs, const corf_tensor* outputs,
                                      size_t num_outputs);

/* The operators that no shapes and no values would make the session run, with the reason, their
 * number and the remedy; "" if there are none. */
CORF_API corf_error* corf_session_refused_operators(corf_session* session, char** lines);

/* How a model is run. */
typedef enum corf_support {
  CORF_SUPPORT_WHOLE = 0,      /* compiled as a whole for the inputs' shapes */
  CORF_SUPPORT_FOR_VALUES = 1, /* and for the values of inputs (corf_session_deciding_inputs) */
  CORF_SUPPORT_IN_PIECES = 2,  /* by corf_session_run_values: there is no executable */
  CORF_SUPPORT_NONE = 3        /* some of its nodes are refused */
} corf_support;

/*
 * How the model is run with inputs of these shapes, as far as can be said without a run: of nodes
 * behind a value whose shape depends on data only the operators are known to be there.
 * `reasons` (corf_string_free): why it is not compiled as a whole; of CORF_SUPPORT_NONE all nodes
 * that are refused, by operator, with their number and the remedy.
 * Errors: CORF_INVALID_ARGUMENT where shapes are left open, unless operators are refused anyway;
 * CORF_INVALID_MODEL; CORF_UNSUPPORTED for a compiled file.
 */
CORF_API corf_error* corf_session_support(corf_session* session, const corf_shape* shapes,
                                          size_t num_shapes, corf_support* support, char** reasons);

/* CORF_TENSOR for most models' inputs and outputs; 0 where there is none. */
CORF_API corf_kind corf_session_input_kind(const corf_session* session, size_t place);
CORF_API corf_kind corf_session_output_kind(const corf_session* session, size_t place);

/*
 * As corf_session_run for any model: one whose shapes depend on data, or whose values are not
 * tensors, is run piece by piece. `inputs` are in the model's order; `outputs` receives as many new
 * values as the model has outputs, which the caller frees.
 * Errors: as of corf_session_run; CORF_INVALID_ARGUMENT too naming a node that does not admit a
 * value.
 */
CORF_API corf_error* corf_session_run_values(corf_session* session, const corf_value* const* inputs,
                                             size_t num_inputs, corf_value** outputs,
                                             size_t num_outputs);
/* 1 once the model has been run piece by piece: there is no executable for its shapes. */
CORF_API int corf_session_runs_in_pieces(const corf_session* session);

/* The pipeline up to `stage` as text: graph, mapping, plan, costs, loop, llvm or asm.
 * Errors: CORF_UNSUPPORTED as of corf_session_compile; with dimensions left open, for the nodes
 * that no shapes would make fit. */
CORF_API corf_error* corf_session_inspect(corf_session* session, const char* stage,
                                          const corf_shape* shapes, size_t num_shapes, char** text);

/* ---- measured plans ---- */

/* What a search with measured times came to. Fields are only ever added at the end. */
typedef struct corf_tuning {
  size_t num_measured; /* kernels that were compiled and timed */
  int out_of_time;     /* the rest was decided by prediction */
  size_t num_known;    /* kernels that an earlier tuning has timed */
} corf_tuning;

/* How far such a search is. Fields are only ever added at the end. */
typedef struct corf_tuning_progress {
  double share;      /* of the time limit that has passed */
  const char* group; /* names of the model's nodes of what is timed now; valid during the call */
  size_t num_measured, num_known; /* as of corf_tuning, so far */
} corf_tuning_progress;

/*
 * Searches for the fastest plan for these shapes by measuring its parts, and keeps it in the plan
 * cache ($XDG_CACHE_HOME/corf or $HOME/.cache/corf): sessions that compile the same model with plan
 * "auto" on such a machine find it there; this session forgets what it had compiled. Each time is
 * kept there as soon as it is measured, by what the kernel does: a tuning that was ended, be it by
 * a signal, goes on where it was, and one of a model with other weights finds most of them. One
 * that is cancelled (corf_options_set_cancellation) measures no further kernel and keeps the faster
 * of the predicted plan and the one that the times so far lead to, which takes some seconds; then
 * it is CORF_CANCELLED.
 * `progress`, if not null, is called on this thread with `context` before each kernel.
 * `tuning_size_bytes` is the caller's sizeof(*tuning). Errors: CORF_INVALID_ARGUMENT for a
 * time limit that is not positive, CORF_IO if the cache cannot be written, and those of
 * corf_session_compile.
 */
CORF_API corf_error* corf_session_tune(
    corf_session* session, const corf_shape* shapes, size_t num_shapes, double time_limit_s,
    void (*progress)(const corf_tuning_progress* progress, void* context), void* context,
    corf_tuning* tuning, size_t tuning_size_bytes);

/* ---- explanation of a plan ---- */

/* How a value gets from one operator to another. Fields are only ever added at the end. */
typedef struct corf_explained_link {
  const char* producer; /* names of the model's nodes */
  const char* consumer;
  const char* mapping;  /* one-to-one, one-to-many, many-to-one, many-to-many, reorganising: of the
                           producer's elements to the consumer's */
  const char* strategy; /* inline, scatter, stream, recompute, materialise */
  const char* why;
} corf_explained_link;

/* What runs as one kernel (a copy perhaps as several). Fields are only ever added at the end. */
typedef struct corf_explained_group {
  size_t num_nodes;
  const char* const* nodes; /* names */
  double predicted_ms;      /* 0 for copies and routines, and where the machine was not measured */
  size_t num_steps;         /* of corf_profile, in order */
  size_t num_links;         /* that end at its nodes */
} corf_explained_group;

typedef struct corf_explanation corf_explanation;
/* Of the plan that corf_session_compile carries out for these shapes. */
CORF_API corf_error* corf_session_explain(corf_session* session, const corf_shape* shapes,
                                          size_t num_shapes, corf_explanation** explanation);
CORF_API void corf_explanation_free(corf_explanation* explanation);
CORF_API size_t corf_explanation_num_groups(const corf_explanation* explanation);
/* `group_size_bytes` and `link_size_bytes` are the caller's sizeof of what is written. */
CORF_API corf_error* corf_explanation_group(const corf_explanation* explanation, size_t position,
                                            corf_explained_group* group, size_t group_size_bytes);
CORF_API corf_error* corf_explanation_link(const corf_explanation* explanation, size_t group,
                                           size_t position, corf_explained_link* link,
                                           size_t link_size_bytes);

/* ---- executables ---- */

/* An executable stays usable after its session is freed. */
CORF_API void corf_executable_free(corf_executable* executable);

CORF_API size_t corf_executable_num_inputs(const corf_executable* executable);
CORF_API size_t corf_executable_num_outputs(const corf_executable* executable);
/* All extents are numbers here. */
CORF_API corf_error* corf_executable_input(const corf_executable* executable, size_t position,
                                           corf_tensor_info* info);
CORF_API corf_error* corf_executable_output(const corf_executable* executable, size_t position,
                                            corf_tensor_info* info);

/* As corf_session_run, for the executable's shapes. */
CORF_API corf_error* corf_executable_run(corf_executable* executable, const corf_tensor* inputs,
                                         size_t num_inputs, const corf_tensor* outputs,
                                         size_t num_outputs);

/*
 * Writes the executable to a file that corf_session_load takes in the model's place, whole or not
 * at all. It runs on machines that have its instruction set. A device or a FIFO is written to as it
 * stands; a symbolic link to a file is refused.
 */
CORF_API corf_error* corf_executable_write(const corf_executable* executable, const char* path);

/* Fields are only ever added at the end. */
typedef struct corf_executable_info {
  const char* plan_hash;
  const char* isa;
  int64_t threads;
  double compile_ms;        /* what compiling took when it was done */
  int64_t work_flops;       /* of one run, counted as direct convolutions */
  int64_t executed_flops;   /* with Winograd counted as executed */
  int64_t compulsory_bytes; /* model inputs, outputs and constants, each once */
  int64_t arena_bytes;      /* intermediates of one run */
  int64_t constant_bytes;
  int64_t code_bytes;
} corf_executable_info;
/* `info_size_bytes` is the caller's sizeof(corf_executable_info). */
CORF_API corf_error* corf_executable_describe(const corf_executable* executable,
                                              corf_executable_info* info, size_t info_size_bytes);

/*
 * The least time in which this machine could run the executable: the larger of its executed FLOPs
 * over the measured peak and its compulsory bytes over the measured memory bandwidth. The machine
 * is measured on the first call (some seconds), later ones find the figures in a file.
 */
CORF_API corf_error* corf_executable_limit_ms(const corf_executable* executable, double* limit_ms);

/* One step (a kernel or a routine) of a profiled run. Fields are only ever added at the end. */
typedef struct corf_step_profile {
  const char* label; /* names of the model's nodes that it computes */
  double start_ms;   /* from the start of the run */
  double time_ms;    /* until the slowest worker is done */
  int64_t work_flops;
  int64_t executed_flops;
  int64_t compulsory_bytes; /* each operand once */
  double limit_ms;          /* as corf_executable_limit_ms; 0 for a routine */
} corf_step_profile;

typedef struct corf_profile corf_profile;
/* As corf_executable_run, with the time of each step. */
CORF_API corf_error* corf_executable_run_profiled(corf_executable* executable,
                                                  const corf_tensor* inputs, size_t num_inputs,
                                                  const corf_tensor* outputs, size_t num_outputs,
                                                  corf_profile** profile);
CORF_API void corf_profile_free(corf_profile* profile);
CORF_API size_t corf_profile_num_steps(const corf_profile* profile);
/* `step_size_bytes` is the caller's sizeof(corf_step_profile). */
CORF_API corf_error* corf_profile_step(const corf_profile* profile, size_t position,
                                       corf_step_profile* step, size_t step_size_bytes);

CORF_API size_t corf_profile_num_workers(const corf_profile* profile);
/* Milliseconds that a worker was at work on a step, from the step's start on: the rest of the step
 * it waited for the others. */
CORF_API corf_error* corf_profile_busy_ms(const corf_profile* profile, size_t step, size_t worker,
                                          double* busy_ms);

/* ---- the machine ---- */

/* What plans are made for. Fields are only ever added at the end. Figures that could not be
 * measured are 0; GB/s are of reading. */
typedef struct corf_machine_info {
  const char* cpu;
  const char* isa;
  const char* calibration_file;           /* where the figures are kept; "" if nowhere */
  int64_t threads;                        /* that the figures are of: no more than there are CPUs */
  int64_t cpus;                           /* that the process may use */
  int64_t l1_bytes, l2_bytes;             /* of a core */
  int64_t l3_bytes;                       /* shared */
  double fma_gflops_core, fma_gflops_all; /* float32 multiply-adds, each two FLOPs */
  double l1_gbps_core, l2_gbps_core, l3_gbps_core, memory_gbps_all;
  double barrier_ns; /* in which all threads meet */
} corf_machine_info;

typedef struct corf_machine corf_machine;
/*
 * This machine with measured figures: taken in some seconds by the first process that asks, then
 * found in a file. `threads`: 0 for as many as the CPUs; `isa`: as option "isa" takes it, NULL or
 * "" for the widest. Errors: CORF_INVALID_ARGUMENT.
 */
CORF_API corf_error* corf_machine_create(int threads, const char* isa, corf_machine** machine);
CORF_API void corf_machine_free(corf_machine* machine);
/* `info_size_bytes` is the caller's sizeof(corf_machine_info). */
CORF_API corf_error* corf_machine_describe(const corf_machine* machine, corf_machine_info* info,
                                           size_t info_size_bytes);
/* What generates code: "LLVM 22.1.0". */
CORF_API const char* corf_compiler_version(void);

/* ---- compiled models of earlier processes ---- */

/* What the folder of option "executable_cache" holds. Fields are only ever added at the end. */
typedef struct corf_cache_contents {
  size_t num_entries;
  int64_t size_bytes;
} corf_cache_contents;
/* The folder that "default" stands for; "" if neither variable of the environment is set. */
CORF_API corf_error* corf_executable_cache_folder(char** folder);
/* `folder`: as the option takes it. `contents_size_bytes` and `removed_size_bytes` are the caller's
 * sizeof(corf_cache_contents). Errors: CORF_IO for a folder that is not used, as others may. */
CORF_API corf_error* corf_executable_cache_contents(const char* folder,
                                                    corf_cache_contents* contents,
                                                    size_t contents_size_bytes);
/* Removes all entries. */
CORF_API corf_error* corf_executable_cache_clear(const char* folder, corf_cache_contents* removed,
                                                 size_t removed_size_bytes);

/* ---- comparison with the reference ---- */

typedef enum corf_reference {
  CORF_REFERENCE_EVALUATE = 0, /* float64 */
  CORF_REFERENCE_UNFUSED = 1,  /* every operator compiled alone */
  CORF_REFERENCE_RANGE = 0x7fffffff
} corf_reference;

/* Fields are only ever added at the end. */
typedef struct corf_compared_value {
  const char* name;
  const char* nodes; /* names of the model's nodes of the group that computes it, comma-separated */
  double relative_l2; /* |y - reference| / |reference| */
  double max_abs;     /* largest |y - reference| */
  int within_bounds;  /* 1 or 0 */
  /* Of an output of a quantised model that is off because of ties alone: how many bytes inside of
   * the model were rounded to the other side of a tie than the reference's, while each operator by
   * itself gives what it should (within_bounds is 1); 0 otherwise. */
  int64_t ties;
} corf_compared_value;

typedef struct corf_comparison corf_comparison;
/* Runs the compiled model and the reference on the same inputs, which also give the shapes. */
CORF_API corf_error* corf_session_compare(corf_session* session, corf_reference reference,
                                          const corf_tensor* inputs, size_t num_inputs,
                                          corf_comparison** comparison);
/*
 * As corf_session_compare for a model that is run in pieces (corf_session_run_values): each segment
 * is compared, on the values that a run gives it, the first time that it meets their shapes. The
 * outputs of the comparison are those of the segments.
 */
CORF_API corf_error* corf_session_compare_values(corf_session* session, corf_reference reference,
                                                 const corf_value* const* inputs, size_t num_inputs,
                                                 corf_comparison** comparison);
CORF_API void corf_comparison_free(corf_comparison* comparison);
CORF_API size_t corf_comparison_num_outputs(const corf_comparison* comparison);
/* `value_size_bytes` is the caller's sizeof(corf_compared_value). */
CORF_API corf_error* corf_comparison_output(const corf_comparison* comparison, size_t position,
                                            corf_compared_value* value, size_t value_size_bytes);
/* The first group whose result is off; *found is 0 and `value` is left alone if there is none. */
CORF_API corf_error* corf_comparison_first_wrong_group(const corf_comparison* comparison,
                                                       int* found, corf_compared_value* value,
                                                       size_t value_size_bytes);

/*
 * Writes the smallest part of the model that is found to give results that are off against the
 * float64 reference, on these inputs, as a folder of ONNX's backend tests: model.onnx,
 * test_data_set_0/input_0.pb, ..., output_0.pb, ..., of which the outputs are what they should be.
 * *num_nodes: of the part; 0, and nothing is written, if the model's results are right. Compiles
 * parts of the model many times. Errors: as corf_session_compare; CORF_IO.
 */
CORF_API corf_error* corf_session_reduce(corf_session* session, const corf_tensor* inputs,
                                         size_t num_inputs, const char* folder, size_t* num_nodes);

#ifdef __cplusplus
}
#endif
#endif /* CORF_CORF_H */
