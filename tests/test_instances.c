/* test_instances.c - every instance of the archive and of header_instances.c that this machine can execute, on every
 * case that its descriptor asks for, against the float64 oracle.
 *
 * --count 1 is a short run (valgrind), 2 the default, 3 everything. */
#include "call.h"
#include "check.h"
#include "header_instances.h"
#include "instances.h"

int main(int argc, char **argv)
{
    const instances_way way = {NULL, NULL};
    size_t count;
    const attn_instance *const *list = tested_instances(&count);
    check_begin(argc, argv);
    instances_run(list, count, check_count(LEVEL_DEFAULT), &way);
    return check_end();
}
