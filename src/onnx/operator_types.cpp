#include "onnx/operator_types.h"

#include <algorithm>
#include <array>
#include <limits>

namespace corf::onnx {
namespace {

using Allowed = bool (*)(DType);

/// A set of element types by the name that messages and the table below give it.
struct TypeSet {
  std::string_view name;
  Allowed allows;
};

bool is_any(DType) { return true; }
bool is_bool(DType dtype) { return dtype == DType::kBool; }
bool is_number(DType dtype) { return dtype != DType::kBool; }
bool is_signed(DType dtype) { return is_float(dtype) || is_signed_integer(dtype); }
bool is_index(DType dtype) { return dtype == DType::kI32 || dtype == DType::kI64; }
bool is_i32(DType dtype) { return dtype == DType::kI32; }
bool is_f32(DType dtype) { return dtype == DType::kF32; }
bool is_byte(DType dtype) { return dtype == DType::kI8 || dtype == DType::kU8; }

constexpr std::array kTypeSets = {
    TypeSet{"any", is_any},     TypeSet{"bool", is_bool},       TypeSet{"number", is_number},
    TypeSet{"float", is_float}, TypeSet{"integer", is_integer}, TypeSet{"signed", is_signed},
    TypeSet{"index", is_index}, TypeSet{"i32", is_i32},         TypeSet{"f32", is_f32},
    TypeSet{"byte", is_byte},
};

/// One word for each input: a set of types, or a letter and a set ("T:float") where inputs share a
/// type that the set allows; the letter alone from its second use on. "..." at the end: the last
/// word holds for any number of inputs more.
struct Signature {
  std::string_view op, inputs;
  int64_t until = std::numeric_limits<int64_t>::max();  // the last opset whose text says so
};

constexpr Signature kSignatures[] = {
    {"Abs", "number"},
    {"Acos", "float"},
    {"Acosh", "float"},
    {"Add", "T:number T"},
    {"AffineGrid", "float index"},
    {"And", "T:bool T"},
    {"ArgMax", "number"},
    {"ArgMin", "number"},
    {"Asin", "float"},
    {"Asinh", "float"},
    {"Atan", "float"},
    {"Atanh", "float"},
    {"Attention", "T:float T V:float any T V index"},
    {"AveragePool", "float"},
    {"BatchNormalization", "float S:float S M:float M"},
    {"Bernoulli", "float"},
    {"BitCast", "any"},
    {"BitShift", "T:integer T"},
    {"BitwiseAnd", "T:integer T"},
    {"BitwiseNot", "integer"},
    {"BitwiseOr", "T:integer T"},
    {"BitwiseXor", "T:integer T"},
    {"BlackmanWindow", "index"},
    {"Cast", "any"},
    {"CastLike", "any any"},
    {"CausalConvWithState", "float float float float"},
    {"Ceil", "float"},
    {"Celu", "float"},
    {"CenterCropPad", "any index"},
    {"Clip", "T:number T T"},
    {"Col2Im", "number index index"},
    {"Compress", "any bool"},
    {"Concat", "T:any T ..."},
    {"Constant", ""},
    {"ConstantOfShape", "index"},
    {"Conv", "T:float T T"},
    {"ConvInteger", "X:byte W:byte X W"},
    {"ConvTranspose", "T:float T T"},
    {"Cos", "float"},
    {"Cosh", "float"},
    {"CumProd", "number index"},
    {"CumSum", "number index"},
    {"DFT", "float index index"},
    {"DeformConv", "T:float T T T T"},
    {"DepthToSpace", "any"},
    {"DequantizeLinear", "X:integer float X"},
    {"Det", "float"},
    {"Div", "T:number T"},
    {"Dropout", "float float bool"},
    {"DynamicQuantizeLinear", "float"},
    {"Einsum", "T:number T ..."},
    {"Elu", "float"},
    {"Equal", "T:any T"},
    {"Erf", "number"},
    {"Exp", "float"},
    {"Expand", "any index"},
    {"EyeLike", "any"},
    {"Flatten", "any"},
    {"Floor", "float"},
    {"GRU", "T:float T T T i32 T"},
    {"Gather", "any index"},
    {"GatherElements", "any index"},
    {"GatherND", "any index"},
    {"Gelu", "float"},
    {"Gemm", "T:number T T"},
    {"GlobalAveragePool", "float"},
    {"GlobalLpPool", "float"},
    {"GlobalMaxPool", "float"},
    {"Greater", "T:number T"},
    {"GreaterOrEqual", "T:number T"},
    {"GridSample", "any float"},
    {"GroupNormalization", "T:float T T"},
    {"HammingWindow", "index"},
    {"HannWindow", "index"},
    {"HardSigmoid", "float"},
    {"HardSwish", "float"},
    {"Hardmax", "float"},
    {"Identity", "any"},
    {"InstanceNormalization", "T:float T T"},
    {"IsInf", "float"},
    {"IsNaN", "float"},
    {"LRN", "float"},
    {"LSTM", "T:float T T T i32 T T T"},
    {"LayerNormalization", "T:float T T"},
    {"LeakyRelu", "float"},
    {"Less", "T:number T"},
    {"LessOrEqual", "T:number T"},
    {"LinearAttention", "any ..."},
    {"Log", "float"},
    {"LogSoftmax", "float"},
    {"Loop", "any ..."},
    {"LpNormalization", "float"},
    {"LpPool", "float"},
    {"MatMul", "T:number T"},
    {"MatMulInteger", "A:byte B:byte A B"},
    {"Max", "T:number T ..."},
    {"MaxPool", "number"},
    {"MaxUnpool", "float index index"},
    {"Mean", "T:float T ..."},
    {"MeanVarianceNormalization", "float"},
    {"MelWeightMatrix", "index index index float float"},
    {"Min", "T:number T ..."},
    {"Mish", "float"},
    {"Mod", "T:number T"},
    {"Mul", "T:number T"},
    {"Multinomial", "float"},
    {"Neg", "signed"},
    {"NegativeLogLikelihoodLoss", "T:float index T"},
    {"NonZero", "any"},
    {"Not", "bool"},
    {"OneHot", "number number any"},
    {"OptionalGetElement", "any"},
    {"OptionalHasElement", "any"},
    {"Or", "T:bool T"},
    {"PRelu", "T:number T"},
    {"Pad", "T:any index T index"},
    {"Pow", "number number"},
    {"QLinearConv", "X:byte f32 X W:byte f32 W f32 byte i32"},
    {"QLinearMatMul", "A:byte S:float A B:byte S B S byte"},
    {"QuantizeLinear", "number number integer"},
    {"RMSNormalization", "float float"},
    {"RNN", "T:float T T T i32 T"},
    {"RandomNormal", ""},
    {"RandomNormalLike", "any"},
    {"RandomUniform", ""},
    {"RandomUniformLike", "any"},
    {"Range", "T:number T T"},
    {"Reciprocal", "float"},
    {"ReduceL1", "number index"},
    {"ReduceL2", "number index"},
    {"ReduceLogSum", "number index"},
    {"ReduceLogSumExp", "number index"},
    {"ReduceMax", "any index"},
    {"ReduceMean", "number index"},
    {"ReduceMin", "any index"},
    {"ReduceProd", "number index"},
    {"ReduceSum", "number index"},
    {"ReduceSumSquare", "number index"},
    {"Relu", "number"},
    {"Reshape", "any index"},
    {"Resize", "any float float index"},
    {"ReverseSequence", "any index"},
    {"RoiAlign", "T:float T index"},
    {"RotaryEmbedding", "T:float T T index"},
    {"Round", "float"},
    {"STFT", "float index float index"},
    {"Scan", "any ..."},
    {"Scatter", "T:any index T"},
    {"ScatterElements", "T:any index T"},
    {"ScatterND", "T:any index T"},
    {"Selu", "float"},
    {"Shape", "any"},
    {"Shrink", "number"},
    {"Sigmoid", "float"},
    {"Sign", "number"},
    {"SimplifiedLayerNormalization", "float float"},
    {"Sin", "float"},
    {"Sinh", "float"},
    {"Size", "any"},
    {"Slice", "any index index index index"},
    {"Softmax", "float"},
    {"SoftmaxCrossEntropyLoss", "T:float index T"},
    {"Softplus", "float"},
    {"Softsign", "float"},
    {"SpaceToDepth", "any"},
    {"Split", "any index"},
    {"Sqrt", "float"},
    {"Squeeze", "any index"},
    {"Sub", "T:number T"},
    {"Sum", "T:number T ..."},
    {"SwiGLU", "float ..."},
    {"Swish", "float"},
    {"Tan", "float"},
    {"Tanh", "float"},
    {"TensorScatter", "T:any T index"},
    {"TfIdfVectorizer", "index"},
    {"ThresholdedRelu", "float"},
    {"Tile", "T:any R:number R", 5},
    {"Tile", "any index"},
    {"TopK", "number index"},
    {"Transpose", "any"},
    {"Trilu", "any index"},
    {"Unsqueeze", "any index"},
    {"Upsample", "any float"},
    {"Where", "bool T:any T"},
    {"Xor", "T:bool T"},
    {"ai.onnx.ml.ArrayFeatureExtractor", "any index"},
    {"ai.onnx.ml.Binarizer", "number"},
    {"ai.onnx.ml.FeatureVectorizer", "number ..."},
    {"ai.onnx.ml.Imputer", "number"},
    {"ai.onnx.ml.LabelEncoder", "any"},
    {"ai.onnx.ml.LinearClassifier", "number"},
    {"ai.onnx.ml.LinearRegressor", "number"},
    {"ai.onnx.ml.Normalizer", "number"},
    {"ai.onnx.ml.OneHotEncoder", "number"},
    {"ai.onnx.ml.SVMClassifier", "number"},
    {"ai.onnx.ml.SVMRegressor", "number"},
    {"ai.onnx.ml.Scaler", "number"},
    {"ai.onnx.ml.TreeEnsemble", "float"},
    {"ai.onnx.ml.TreeEnsembleClassifier", "number"},
    {"ai.onnx.ml.TreeEnsembleRegressor", "number"},
    {"ai.onnx.preview.FlexAttention", "any ..."},
    {"com.microsoft.Attention", "T:float T T i32 T T i32"},
    {"com.microsoft.BiasAdd", "T:float T T"},
    {"com.microsoft.BiasGelu", "T:float T"},
    {"com.microsoft.BiasSplitGelu", "T:float T"},
    {"com.microsoft.CDist", "T:float T"},
    {"com.microsoft.DequantizeLinear", "X:integer float X"},
    {"com.microsoft.DynamicQuantizeLSTM", "T:f32 W:byte R:byte T i32 T T T T W T R"},
    {"com.microsoft.DynamicQuantizeMatMul", "T:f32 B:byte T B T"},
    {"com.microsoft.EmbedLayerNormalization", "I:i32 I T:float T T T T I I"},
    {"com.microsoft.FastGelu", "T:float T"},
    {"com.microsoft.FusedConv", "T:float T T T"},
    {"com.microsoft.FusedGemm", "T:number T T"},
    {"com.microsoft.FusedMatMul", "T:float T"},
    {"com.microsoft.GatherBlockQuantized", "X:byte index S:float X"},
    {"com.microsoft.Gelu", "float"},
    {"com.microsoft.GroupNorm", "T:float M:float M"},
    {"com.microsoft.GroupQueryAttention", "T:float T T T T i32 i32 T T index T T f32 f32 T T"},
    {"com.microsoft.Inverse", "float"},
    {"com.microsoft.MatMulIntegerToFloat", "A:byte B:byte T:float T A B T"},
    {"com.microsoft.MatMulNBits", "T:float byte T any i32 T"},
    {"com.microsoft.MultiHeadAttention", "T:float T T T i32 T T T i32 i32"},
    {"com.microsoft.NhwcConv", "T:float T T"},
    {"com.microsoft.NhwcMaxPool", "byte"},
    {"com.microsoft.QAttention", "A:byte B:byte T:float T T i32 A B T"},
    {"com.microsoft.QGemm", "A:byte f32 A B:byte f32 B i32 f32 byte"},
    {"com.microsoft.QLinearAdd", "T:byte f32 T T f32 T f32 T"},
    {"com.microsoft.QLinearAveragePool", "T:byte f32 T f32 T"},
    {"com.microsoft.QLinearConcat", "f32 byte number ..."},
    {"com.microsoft.QLinearConv", "X:byte f32 X W:byte f32 W f32 byte i32"},
    {"com.microsoft.QLinearGlobalAveragePool", "T:byte f32 T f32 T"},
    {"com.microsoft.QLinearLeakyRelu", "T:byte f32 T f32 T"},
    {"com.microsoft.QLinearMul", "T:byte f32 T T f32 T f32 T"},
    {"com.microsoft.QLinearReduceMean", "T:byte f32 T f32 T"},
    {"com.microsoft.QLinearSigmoid", "T:byte f32 T f32 T"},
    {"com.microsoft.QLinearSoftmax", "T:byte f32 T f32 T"},
    {"com.microsoft.QLinearWhere", "bool T:byte f32 T T f32 T f32 T"},
    {"com.microsoft.QuantizeLinear", "number number integer"},
    {"com.microsoft.QuickGelu", "float"},
    {"com.microsoft.RotaryEmbedding", "T:float index T T"},
    {"com.microsoft.SkipGroupNorm", "T:float M:float M T T"},
    {"com.microsoft.SkipLayerNormalization", "T:float T T T T"},
    {"com.microsoft.SkipSimplifiedLayerNormalization", "T:float T T T"},
    {"com.microsoft.TransposeMatMul", "T:float T"},
    {"com.microsoft.Trilu", "any index"},
};

const Signature* find_signature(std::string_view op, int64_t opset) {
  auto found = std::lower_bound(
      std::begin(kSignatures), std::end(kSignatures), op,
      [](const Signature& entry, std::string_view wanted) { return entry.op < wanted; });
  while (found != std::end(kSignatures) && found->op == op && found->until < opset) ++found;
  return found != std::end(kSignatures) && found->op == op ? found : nullptr;
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t space = text.find(' ');
    words.push_back(text.substr(0, space));
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
  }
  return words;
}

/// The set that a word names itself; null for a letter alone.
const TypeSet* set_of(std::string_view word) {
  if (const size_t colon = word.find(':'); colon != std::string_view::npos) {
    word.remove_prefix(colon + 1);
  }
  for (const TypeSet& set : kTypeSets) {
    if (set.name == word) return &set;
  }
  return nullptr;
}

}  // namespace

bool has_input_types(std::string_view op) { return find_signature(op, 1) != nullptr; }

Status check_input_types(const NodeImport& node, std::string_view op) {
  const Signature* signature = find_signature(op, node.opset());
  if (signature == nullptr) return {};
  std::vector<std::string_view> words = split_words(signature->inputs);
  const bool is_variadic = !words.empty() && words.back() == "...";
  if (is_variadic) words.pop_back();
  const int most = static_cast<int>(words.size());
  int count = node.num_inputs();
  while (count > 0 && !node.has(count - 1)) --count;  // names left empty at the end
  if (count > most && !is_variadic) {
    return node.invalid("it has {} inputs and takes {} at most", count, most);
  }
  std::array<int, 128> first_with_letter;
  first_with_letter.fill(-1);
  for (int i = 0; i < count; ++i) {
    if (!node.has(i)) continue;
    const std::string_view word = words[std::min(i, most - 1)];
    const DType dtype = node.dtype(node.input(i));
    const TypeSet* set = set_of(word);
    if (set != nullptr && !set->allows(dtype)) {
      return node.invalid("its input {} has element type {}; {} is required", i, to_string(dtype),
                          set->name == "index"  ? "i32 or i64"
                          : set->name == "byte" ? "i8 or u8"
                                                : set->name);
    }
    const bool is_shared = set == nullptr || word.find(':') != std::string_view::npos;
    if (!is_shared) continue;
    int& first = first_with_letter[static_cast<unsigned char>(word[0])];
    if (first < 0) first = i;
    if (const DType other = node.dtype(node.input(first)); other != dtype) {
      return node.invalid("its inputs {} and {} have different element types, {} and {}", first, i,
                          to_string(other), to_string(dtype));
    }
  }
  return {};
}

std::string_view input_types_in_words(std::string_view op, int64_t opset) {
  const Signature* signature = find_signature(op, opset);
  return signature == nullptr ? "" : signature->inputs;
}

}  // namespace corf::onnx
