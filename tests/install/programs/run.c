/* Runs a model with an input x of shape [1, 3] and an output y of shape [1, 2] on 1, 2, 3. */
#include <corf/corf.h>
#include <stdio.h>

static int fails(corf_error* error) {
  if (error == NULL) return 0;
  fprintf(stderr, "error: %s\n", corf_error_message(error));
  corf_error_free(error);
  return 1;
}

int main(int argc, char** argv) {
  const int64_t x_extents[] = {1, 3}, y_extents[] = {1, 2};
  float x[] = {1, 2, 3}, y[2];
  const corf_tensor input = {"x", CORF_F32, 2, x_extents, x};
  const corf_tensor output = {"y", CORF_F32, 2, y_extents, y};
  corf_session* session = NULL;
  if (argc != 2 || fails(corf_session_load(argv[1], NULL, &session))) return 1;
  if (fails(corf_session_run(session, &input, 1, &output, 1))) return 1;
  corf_session_free(session);
  printf("%s: %g %g\n", corf_version(), y[0], y[1]);
  return 0;
}
