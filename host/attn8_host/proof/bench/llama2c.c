/* forward() of llama2.c's run.c or runq.c (SOURCE), as MicroPython calls a viper function. There is
   no C library but what computes: room for memory is the caller's, in the register of threads,
   where errno is as well. */
#include <stdio.h>
#include <stdlib.h>

register char *room __asm__("tp");

static void *take(int size) {
    char *found = room;
    room += (size + 15) & ~15;
    return found;
}

#define malloc(size) take(size)
#define calloc(n, size) take((n) * (size))
#define fprintf(...) ((void)0)
#define exit(status) __builtin_trap()
#define main llama2c_main
#include SOURCE

enum { ERRNO = 64 }; /* bytes in front that are errno's */

/* args: 0, int32 config [7], weights, room of zeros, keys, values: prepares; or 1, token, position,
   room: the address of its logits */
int entry(void *self, int n, int kw, const int *args) {
    if (args[0] == 0) {
        room = (char *)args[3] + ERRNO;
        Transformer *made = take(sizeof(Transformer));
        made->config = *(Config *)args[1];
        malloc_run_state(&made->state, &made->config);
        memory_map_weights(&made->weights, &made->config, (void *)args[2], 1);
        made->state.key_cache = (float *)args[4];
        made->state.value_cache = (float *)args[5];
        return 0;
    }
    room = (char *)args[3];
    return (int)forward((Transformer *)(args[3] + ERRNO), args[1], args[2]);
}
