// Options limits.* and cancellation, on a model of many nodes.
#include <corf/corf.hpp>
#include <gtest/gtest.h>
#include <thread>

#include "tests/api/tiny_model.h"

namespace {

std::string chain(int length) {
  using namespace tiny_model;
  std::string graph;
  for (int i = 0; i < length; ++i) {
    const std::string from = i == 0 ? "x" : "v" + std::to_string(i);
    const std::string to = i + 1 == length ? "y" : "v" + std::to_string(i + 1);
    graph += bytes(1, node("Softmax", "n" + std::to_string(i), {from}, to));
  }
  graph +=
      bytes(2, "chain") + bytes(11, value("x", {"8", "64"})) + bytes(12, value("y", {"8", "64"}));
  return number(1, 8) + bytes(7, graph) + bytes(8, bytes(1, "") + number(2, 13));
}

corf_code compile(const corf::Options& options, std::string& message, int length = 60) {
  try {
    const std::string model = chain(length);
    corf::Session session(model.data(), model.size(), options);
    session.compile({});
    return corf_code{};
  } catch (const corf::Exception& exception) {
    message = exception.what();
    return exception.code();
  }
}

TEST(Limits, HoldForEachOfThem) {
  const std::pair<const char*, const char*> cases[] = {{"limits.compile_seconds", "0.01"},
                                                       {"limits.nodes", "100"}};
  for (const auto& [key, value] : cases) {
    std::string message;
    EXPECT_EQ(compile({{key, value}}, message), CORF_OVER_LIMIT) << key;
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }
}

TEST(Limits, LeaveALittleModelAlone) {
  std::string message;
  EXPECT_EQ(
      compile(
          {{"limits.memory", "64"}, {"limits.constants", "1"}, {"limits.compile_seconds", "60"}},
          message, 3),
      corf_code{})
      << message;
}

TEST(Limits, RefuseWhatIsNoNumber) {
  for (const char* key :
       {"limits.compile_seconds", "limits.memory", "limits.constants", "limits.nodes"}) {
    for (const char* value : {"", "-1", "1x", "nan", "much"}) {
      try {
        corf::Options({{key, value}});
        ADD_FAILURE() << key << " takes " << value;
      } catch (const corf::Exception& exception) {
        EXPECT_EQ(exception.code(), CORF_INVALID_ARGUMENT);
        EXPECT_NE(std::string(exception.what()).find(key), std::string::npos) << exception.what();
      }
    }
  }
}

TEST(Cancellation, EndsACompilation) {
  corf::Cancellation cancellation;
  corf::Options options;
  options.set(cancellation);
  std::thread other([cancellation]() mutable {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    cancellation.cancel();
  });
  std::string message;
  EXPECT_EQ(compile(options, message, 400), CORF_CANCELLED) << message;
  other.join();
  // And all later ones.
  EXPECT_EQ(compile(options, message, 2), CORF_CANCELLED);
}

}  // namespace
