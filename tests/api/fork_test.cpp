#include <corf/corf.hpp>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/tiny_model.h"

namespace {

bool gives_what_it_should(corf::Session& session, int64_t batch) {
  std::vector<float> values(static_cast<size_t>(3 * batch), 0.0f);
  values[0] = 1;
  values[2] = 2;
  const auto x = corf::Array::of<float>("x", {batch, 3}, values.data());
  return session.run({x}).at(0).data<float>()[0] == 11.5f;
}

TEST(SessionAfterFork, RunsAndCompilesInTheChild) {
  const std::string model = tiny_model::linear();
  corf::Session session(model.data(), model.size(), {{"threads", "2"}});
  EXPECT_TRUE(gives_what_it_should(session, 1));
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const bool held = gives_what_it_should(session, 1), compiled = gives_what_it_should(session, 5);
    _exit(held && compiled ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(gives_what_it_should(session, 1)) << "in the parent too";
}

}  // namespace
