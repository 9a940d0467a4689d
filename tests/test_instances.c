/* test_instances.c - every instance of the archive and of header_instances.c that this machine can execute, on every
 * case that its descriptor asks for, against the float64 oracle.
 *
 * --count 1 is a short run (valgrind), 2 the default, 3 everything. */
#include "call.h"
#include "check.h"
#include "header_instances.h"
#include "instances.h"

enum { MOST = 512 };

int main(int argc, char **argv)
{
    const instances_way way = {NULL, NULL};
    const attn_instance *list[MOST];
    size_t archive_count, header_count, count = 0;
    const attn_instance *const *archive = attn_instances(&archive_count);
    const attn_instance *const *header = header_instances(&header_count);
    check_begin(argc, argv);
    for (size_t n = 0; n < archive_count + header_count && count < MOST; n++)
        list[count++] = n < archive_count ? archive[n] : header[n - archive_count];
    instances_run(list, count, check_count(LEVEL_DEFAULT), &way);
    return check_end();
}
