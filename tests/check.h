/* check.h - the test runner: named cases, checks that go on after a failure, one closing line.
 *
 *     int main(int argc, char **argv)
 *     {
 *         check_begin(argc, argv);
 *         if (check_case("add %d", 2)) {
 *             CHECK(1 + 1 == 2);
 *             CHECK_MSG(sum == 4, "sum is %d", sum);
 *         }
 *         return check_end();
 *     }
 *
 * Options of every test program:
 *     --filter TEXT   run the cases whose name contains TEXT (=TEXT: whose name is TEXT)
 *     --seed N        seed of random inputs (default 1); --count N: how many random inputs
 *     --list          print the names of the cases and run none
 *     --verbose       print each case as it starts
 *     --first         end after the first case that failed
 * The last line is `N passed, N failed, N skipped`; the exit status is 0 if none failed.
 * C11 and C++. */
#ifndef ATTN_TESTS_CHECK_H
#define ATTN_TESTS_CHECK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#define CHECK_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CHECK_PRINTF(f, a)
#endif

/* Parses the options; prints the usage and exits on an unknown one. */
void check_begin(int argc, char **argv);

/* Starts a case, which ends where the next one starts.  0: it was not asked for, skip its body. */
int check_case(const char *fmt, ...) CHECK_PRINTF(1, 2);

/* Marks the current case as skipped, unless a check in it fails. */
void check_skip(const char *why);

/* Prints the failures and the closing line; returns the exit status. */
int check_end(void);

/* 1 if the current case has a failed check: to leave a loop early. */
int check_failed(void);

uint64_t check_seed(void);       /* --seed */
int check_count(int preset);     /* --count, or preset */
const char *check_filter(void);  /* --filter, or NULL */

/* Random numbers: any value is a good first state.  The name of a case mixed into the seed keeps the
 * inputs of one case the same when others are filtered out: state = check_seed() ^ check_hash(name). */
uint64_t check_rand(uint64_t *state);
double check_uniform(uint64_t *state);                 /* [0, 1) */
double check_normal(uint64_t *state);                  /* mean 0, deviation 1 */
int check_range(uint64_t *state, int least, int most); /* both ends included */
uint64_t check_hash(const char *text);

/* What CHECK does when its condition is false. */
void check_fail(const char *file, int line, const char *fmt, ...) CHECK_PRINTF(3, 4);

#define CHECK(cond) ((cond) ? (void)0 : check_fail(__FILE__, __LINE__, "%s", #cond))
#define CHECK_MSG(cond, ...) ((cond) ? (void)0 : check_fail(__FILE__, __LINE__, __VA_ARGS__))

#ifdef __cplusplus
}
#endif
#endif /* ATTN_TESTS_CHECK_H */
