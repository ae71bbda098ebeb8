/* The layer that attn8's viper kernels compute, in plain C: what a compiler makes of it at -O2.
   `layer` is called as MicroPython calls a viper function, with its arguments in args. */
#include <stdint.h>

static void layer(const int32_t *args);

/* First in the file and (-fno-toplevel-reorder) in the image: its address is the function's */
int32_t entry(void *self, int n, int kw, const int32_t *args) {
    layer(args);
    return 0;
}

static int8_t requant(int32_t a, int32_t mult, int shift) {
    int32_t y = (a >> 15) * mult + (((a & 32767) * mult) >> 15);
    y = (y + (1 << (shift - 16))) >> (shift - 15);
    return y > 127 ? 127 : y < -127 ? -127 : y;
}

static void matmul(const int8_t *x, const int8_t *w, int8_t *out, int rows, int n, int32_t mult,
                   int shift) {
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int k = 0; k < n; k++)
                sum += x[r * n + k] * w[j * n + k];
            out[r * n + j] = requant(sum, mult, shift);
        }
}

static void attend(const int8_t *q, const int8_t *k, const int8_t *v, int8_t *out, int s, int e,
                   int d, const int32_t *c, const uint16_t *table, int32_t *scores,
                   uint16_t *weights) {
    int32_t mult = c[0], shift = c[1], limit = c[2], num = c[3], out_shift = c[4];
    for (int r = 0; r < s; r++) {
        int32_t largest = INT32_MIN, total = 0;
        for (int j = 0; j < s; j++) {
            int32_t sum = 0;
            for (int i = 0; i < d; i++)
                sum += q[r * e + i] * k[j * e + i];
            scores[j] = sum;
            if (sum > largest)
                largest = sum;
        }
        for (int j = 0; j < s; j++) {
            int32_t t = largest - scores[j], x = 0;
            if (t <= limit) {
                t = (t * mult + (1 << (shift - 1))) >> shift;
                x = ((table[t & 255] >> (t >> 8)) + 1) >> 1;
            }
            weights[j] = x;
            total += x;
        }
        int p = 0;
        while (total >> p >= 65536)
            p++;
        int32_t m = (total + ((1 << p) >> 1)) >> p;
        m = (num + (m >> 1)) / m;
        for (int i = 0; i < d; i++) {
            int32_t sum = 0;
            for (int j = 0; j < s; j++)
                sum += weights[j] * v[j * e + i];
            out[r * e + i] = requant(sum >> p, m, out_shift);
        }
    }
}

static void layer(const int32_t *args) {
    const int8_t *x = (const int8_t *)args[0], *w = (const int8_t *)args[1];
    const int32_t *c = (const int32_t *)args[2];
    int8_t *room = (int8_t *)args[4];
    int s = c[0], e = c[1], h = c[2], d = e / h;
    int8_t *q = room, *k = q + s * e, *v = k + s * e, *heads = v + s * e, *out = heads + s * e;
    matmul(x, w, q, s, e, c[3], c[4]);
    matmul(x, w + e * e, k, s, e, c[3], c[4]);
    matmul(x, w + 2 * e * e, v, s, e, c[3], c[4]);
    for (int i = 0; i < e; i += d)
        attend(q + i, k + i, v + i, heads + i, s, e, d, c + 5, (const uint16_t *)args[3],
               (int32_t *)args[5], (uint16_t *)args[6]);
    matmul(heads, w + 3 * e * e, out, s, e, c[3], c[4]);
}
