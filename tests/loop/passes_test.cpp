// Runs the cases of tests/loop/passes: in the folder of each pass files with a program, a line
// `; expect`, and the program that the pass makes of it.
#include "loop/passes/passes.h"

#include <map>
#include <set>

#include "tests/loop/programs.h"

namespace corf::loop {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::string file, before, expected;
};

std::vector<Case> cases_of(const std::string& pass) {
  constexpr std::string_view kDivider = "; expect\n";
  std::vector<Case> cases;
  for (const auto& entry : fs::directory_iterator(golden_path("passes/" + pass))) {
    const std::string name = "passes/" + pass + "/" + entry.path().filename().string();
    const std::string text = read_golden(name);
    const size_t divider = text.find(kDivider);
    EXPECT_NE(divider, std::string::npos) << name;
    if (divider == std::string::npos) continue;
    cases.push_back({name, text.substr(0, divider), text.substr(divider + kDivider.size())});
  }
  return cases;
}

std::vector<Tensor> inputs_of(const Program& program) {
  std::map<int, Tensor> by_position;
  for (const Buffer& buffer : program.buffers) {
    if (buffer.kind != BufferKind::kInput) continue;
    by_position.emplace(
        buffer.position,
        small_integers(buffer.size_elems, static_cast<uint32_t>(buffer.position), buffer.dtype));
  }
  std::vector<Tensor> inputs;
  for (auto& [position, tensor] : by_position) inputs.push_back(std::move(tensor));
  return inputs;
}

TEST(Passes, EachHasCases) {
  std::set<std::string> names, folders;
  for (const Pass& pass : passes()) names.insert(pass.name);
  for (const auto& entry : fs::directory_iterator(golden_path("passes"))) {
    folders.insert(entry.path().filename().string());
    EXPECT_FALSE(fs::is_empty(entry.path())) << entry.path();
  }
  EXPECT_EQ(names, folders);
}

TEST(Passes, MakeOfEachCaseWhatIsExpected) {
  for (const Pass& pass : passes()) {
    for (const auto& [file, before, expected] : cases_of(pass.name)) {
      SCOPED_TRACE(file);
      const Program program = parse(before);
      const Status sound = verify(program);
      ASSERT_TRUE(sound.ok()) << sound.error().message;
      const Result<Program> after = pass.run(program, {});
      ASSERT_TRUE(after.ok()) << after.error().message;
      EXPECT_EQ(to_string(*after), to_string(parse(expected)));
      const Status still_sound = verify(*after);
      ASSERT_TRUE(still_sound.ok()) << still_sound.error().message;
      expect_same(program, *after, inputs_of(program));
    }
  }
}

TEST(Passes, LeaveWhatTheyHaveMadeAsItIs) {
  for (const Pass& pass : passes()) {
    for (const auto& [file, before, expected] : cases_of(pass.name)) {
      SCOPED_TRACE(file);
      const Program program = parse(expected);
      const Result<Program> again = pass.run(program, {});
      ASSERT_TRUE(again.ok()) << again.error().message;
      EXPECT_EQ(to_string(*again), to_string(program));
    }
  }
}

}  // namespace
}  // namespace corf::loop
