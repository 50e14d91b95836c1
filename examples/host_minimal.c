/* A host that runs a Lua script, with the library's runtime in it.
 *
 *     cc host_minimal.c $(pkg-config --cflags --libs tidemill) -o host
 *     ./host script.lua arguments...
 */
#include <stdio.h>
#include <tidemill.h>

enum { MOST = 16 };

int main(int argc, char **argv) {
  tm_value args[MOST];
  tm_runtime *rt = NULL;
  tm_script *script = NULL;
  tm_error e;
  int n = 0;
  if (argc < 2) return fprintf(stderr, "usage: %s script ...\n", argv[0]), 2;
  while (n < MOST && n + 2 < argc) args[n] = tm_string(argv[n + 2]), n++;
  int status = tm_runtime_new(&rt, NULL, &e);
  if (!status) status = tm_script_new(&script, rt, 0, &e);
  if (!status) status = tm_script_run_file(script, argv[1], args, n, &e);
  if (status) fprintf(stderr, "%s: %s\n", tm_status_name(status), e.text);
  for (int i = 0; i < tm_script_results(script); i++) {
    tm_value v = tm_script_result(script, i);
    if (v.type == TM_STRING) printf("%s\n", v.as.string.text);
  }
  tm_script_free(script);
  tm_runtime_free(rt);
  return status != TM_OK;
}
