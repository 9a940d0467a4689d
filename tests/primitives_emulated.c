/* primitives_emulated.c - the kernels of primitives.cuh for the emulator.  C11, with tests/emu on the include path. */
#include "primitives.cuh"

int prim_run_emulated(const prim_call *c)
{
    return prim_run(c);
}
