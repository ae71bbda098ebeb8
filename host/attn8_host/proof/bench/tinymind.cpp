/* A transformer encoder layer of TinyMind's own templates, as its example
   transformer_encoder_stack_softmax_int8 puts them together. Random operands are the caller's.
   `part` is called as MicroPython calls a viper function, with its arguments in args. */
#include "qadd.hpp"
#include "qactivations.hpp"
#include "qattention_softmax.hpp"
#include "qdense.hpp"
#include "qlayernorm.hpp"

using namespace tinymind;

enum { S = 64, E = 32, F = 64 };

static void part(const int32_t *args);

/* First in the file and (-fno-toplevel-reorder) in the image: its address is the function's */
extern "C" int32_t entry(void *self, int n, int kw, const int32_t *args) {
    part(args);
    return 0;
}

/* What the compiler calls to clear a struct */
extern "C" __attribute__((optimize("no-tree-loop-distribute-patterns")))
void *memset(void *to, int value, size_t n) {
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = value;
    return to;
}

typedef Requantizer<int32_t, int8_t> Requant;

static __attribute__((noinline)) void norm(const int8_t *x, const int32_t *numbers, int8_t *out) {
    QLayerNorm1D<int8_t, int8_t, S, E> layer = {};
    layer.gamma = (const int16_t *)numbers;
    layer.beta = numbers;
    layer.epsilon_q = 1;
    layer.output_multiplier = 1 << 30;
    layer.output_shift = 21;
    layer.qmin = -127;
    layer.qmax = 127;
    layer.forward(x, out);
}

static __attribute__((noinline)) void attention(const int8_t *x, const int8_t *w,
                                                const int32_t *numbers, int8_t *room, int8_t *out) {
    QAttentionSoftmax1D<int8_t, int8_t, int32_t, int8_t, int8_t, int8_t, int8_t, S, E, E> layer = {};
    layer.weights = w;
    layer.biases = numbers;
    layer.attn_zero_point = -128;
    layer.q_requantizer = layer.k_requantizer = layer.v_requantizer = Requant{1 << 30, 9, 0, -127, 127};
    layer.score_requantizer = Requant{1 << 30, 8, 0, -127, 127};
    layer.softmax_exp_lut = numbers;
    layer.attn_qmin = -128;
    layer.attn_qmax = 127;
    layer.output_requantizer = Requant{1 << 30, 7, 0, -127, 127};
    int8_t *scores = room + 3 * S * E;
    layer.forward(x, room, room + S * E, room + 2 * S * E, scores, scores + S * S, out);
}

static __attribute__((noinline)) void add(const int8_t *a, const int8_t *b, int8_t *out) {
    QAdd<int8_t, int8_t, int8_t, S * E> layer = {};
    layer.left_shift = 20;
    layer.input_a_multiplier = layer.input_b_multiplier = 1 << 30;
    layer.input_a_shift = layer.input_b_shift = 1;
    layer.output_requantizer = Requant{1 << 30, 18, 0, -127, 127};
    layer.forward(a, b, out);
}

template <int INPUTS, int OUTPUTS>
static __attribute__((noinline)) void dense(const int8_t *x, const int8_t *w, const int32_t *numbers,
                                            int8_t *out) {
    QDense<int8_t, int8_t, int32_t, int8_t, INPUTS, OUTPUTS> layer = {};
    layer.weights = w;
    layer.biases = numbers;
    layer.requantizer = Requant{1 << 30, 9, 0, -127, 127};
    for (int i = 0; i < S; i++)
        layer.forward(x + i * INPUTS, out + i * OUTPUTS);
}

/* args: the part's number, int8 x [S * F], int8 w [3 * E * E or more], int32 numbers [256],
   int8 room [3 * S * E + 2 * S * S], int8 out [S * F] */
static void part(const int32_t *args) {
    const int8_t *x = (const int8_t *)args[1], *w = (const int8_t *)args[2];
    const int32_t *numbers = (const int32_t *)args[3];
    int8_t *room = (int8_t *)args[4], *out = (int8_t *)args[5];
    if (args[0] == 0)
        norm(x, numbers, out);
    else if (args[0] == 1)
        attention(x, w, numbers, room, out);
    else if (args[0] == 2)
        add(x, x + 1, out);
    else if (args[0] == 3)
        dense<E, F>(x, w, numbers, out);
    else if (args[0] == 4)
        qApplyLUTBuffer(out, S * F, w);
    else
        dense<F, E>(x, w, numbers, out);
}
