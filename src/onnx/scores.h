#pragma once
#include <string>

#include "onnx/compose.h"

/// What the operators of ai.onnx.ml share: scores of classes or targets, and what becomes of them.
namespace corf::onnx {

/// x as [rows, features]: a vector is one row. Integers become float32.
/// Errors: kInvalidModel for other ranks.
Result<ValueId> feature_rows(NodeImport& node, ValueId x);

/// `kind`: NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO (of what is not zero) or PROBIT.
/// Errors: kInvalidModel for another one.
Result<ValueId> transformed_scores(NodeImport& node, const std::string& name, ValueId scores,
                                   const std::string& kind);

/// Scores of both classes where the model has one score for them. LOGISTIC is the function of -s
/// and s, whatever it is else.
enum class SecondClass : uint8_t {
  kComplement,  // 1 - s, s
  kNegative,    // -s, s
};
Result<ValueId> both_scores(NodeImport& node, const std::string& name, ValueId score,
                            SecondClass how, const std::string& kind);

/// The labels of classes, attributes classlabels_int64s or classlabels_strings.
struct ClassLabels {
  std::vector<int64_t> numbers;  // empty: they are strings
  int64_t count = 0;
};
ClassLabels read_labels(NodeImport& node, const std::string& numbers, const std::string& strings);
/// Output 0: the label at each row's class [rows], where labels are numbers.
void set_labels(NodeImport& node, const ClassLabels& labels, ValueId classes);
/// The first class of the largest score, i64 [rows].
ValueId best_class(NodeImport& node, ValueId scores);
/// Class 1 where the score exceeds the threshold, else 0; [rows] from [rows, 1].
ValueId class_above(NodeImport& node, ValueId score, double threshold);

}  // namespace corf::onnx
