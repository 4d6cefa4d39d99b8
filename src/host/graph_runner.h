#pragma once
#include <memory>
#include <mutex>

#include "host/program.h"
#include "host/scope.h"

namespace corf::host {

class Segment;

/// Runs a block on values: a model's graph, or a body.
class GraphRunner {
 public:
  GraphRunner(onnx::Block block, const OpenSegment& open_segment);
  ~GraphRunner();
  GraphRunner(const GraphRunner&) = delete;
  GraphRunner& operator=(const GraphRunner&) = delete;

  const onnx::Block& block() const { return named_.block; }
  /// `inputs`: one for each of the block's. `around`: null for a model's graph, of which `observe`
  /// sees all segments, those of bodies too.
  Result<std::vector<Value>> run(std::vector<Value> inputs, const Scope* around,
                                 const Scope::Observe* observe = nullptr);

 private:
  NamedBlock named_;
  std::unique_ptr<Segment> root_;
};

/// A node that the host carries out, with its bodies.
class HostNode {
 public:
  HostNode(const onnx::Block& block, const onnx::ModelNode& node, const OpenSegment& open_segment)
      : block_(block), node_(node), open_segment_(open_segment) {}

  Status run(Scope& scope);

 private:
  /// Of the graph in an attribute. Errors: kInvalidModel if there is none.
  Result<GraphRunner*> body(const std::string& attribute);
  Result<std::vector<Value>> run_body(const std::string& attribute, std::vector<Value> inputs,
                                      const Scope& scope);
  Result<std::vector<Value>> run_node(const std::vector<Value>& inputs, const Scope& scope);
  Result<std::vector<Value>> run_if(const std::vector<Value>& inputs, const Scope& scope);
  Result<std::vector<Value>> run_loop(const std::vector<Value>& inputs, const Scope& scope);
  Result<std::vector<Value>> run_scan(const std::vector<Value>& inputs, const Scope& scope);
  Result<std::vector<Value>> run_sequence_map(const std::vector<Value>& inputs, const Scope& scope);
  /// An operator that only moves elements, on strings, compiled for their positions, or on narrow
  /// ones, compiled for their bytes.
  Result<std::vector<Value>> run_on_positions(const std::vector<Value>& inputs);

  const onnx::Block& block_;
  const onnx::ModelNode node_;
  const OpenSegment& open_segment_;
  std::mutex mutex_;  // of what follows
  std::map<std::string, std::unique_ptr<GraphRunner>> bodies_;
  std::shared_ptr<session::Session> on_positions_;
};

/// Consecutive nodes of a block: one session, or else what they were cut into.
class Segment {
 public:
  /// Nodes [begin, end) of `named`. `outputs`: what is read of what they compute. `depth`: cuts
  /// that it comes from.
  Segment(const NamedBlock& named, const OpenSegment& open_segment, size_t begin, size_t end,
          std::unordered_set<std::string> outputs, int depth = 0);

  Status run(Scope& scope);

 private:
  struct Pieces {
    std::unique_ptr<Segment> before;
    std::unique_ptr<HostNode> node;  // null: the cut is between two segments
    std::unique_ptr<Segment> after;
  };
  struct SegmentModel {
    std::shared_ptr<const onnx::Model> model;
    std::shared_ptr<session::Session> session;
    std::vector<std::string> inputs, outputs;
  };

  const onnx::ModelNode& node(size_t position) const { return named_.block.nodes[position]; }
  /// The session, or the cut that is seen before compiling.
  Status prepare(const Scope& scope);
  Result<SegmentModel> make_segment_model(const Scope& scope) const;
  /// `on_host`: the node is carried out by the host, and begins no segment.
  Pieces cut(size_t position, bool on_host) const;
  /// Names that the nodes [begin, end) compute.
  std::unordered_set<std::string> defined_by(size_t begin, size_t end) const;
  /// All of it but what lies behind the first cut; null if there is none.
  Result<std::shared_ptr<const Pieces>> run_until_cut(Scope& scope);
  /// Null if it has run; else what it has been cut into.
  Result<std::shared_ptr<const Pieces>> run_model(const SegmentModel& model, Scope& scope);
  /// After an error of compiling: null if nothing is gained by a cut.
  std::shared_ptr<const Pieces> cut_at_obstacle(const std::vector<const corf_tensor*>& inputs);

  const NamedBlock& named_;
  const OpenSegment& open_segment_;
  const size_t begin_, end_;
  const int depth_;
  const std::unordered_set<std::string> outputs_;
  std::mutex mutex_;  // of what follows, each of which is set once
  std::shared_ptr<const SegmentModel> model_;
  std::shared_ptr<const Pieces> pieces_;
};

}  // namespace corf::host
