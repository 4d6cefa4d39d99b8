// As run.c, in C++.
#include <corf/corf.hpp>
#include <iostream>

int main(int argc, char** argv) {
  try {
    if (argc != 2) return 2;
    corf::Session session(argv[1]);
    const float x[] = {1, 2, 3};
    const auto input = corf::Array::of<float>("x", {1, 3}, x);
    const corf::Array y = session.run({input}).front();
    std::cout << corf_version() << ": " << y.data<float>()[0] << ' ' << y.data<float>()[1] << '\n';
  } catch (const corf::Exception& exception) {
    std::cerr << "error: " << exception.what() << '\n';
    return 1;
  }
}
