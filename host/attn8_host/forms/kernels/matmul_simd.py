"""Matrix product with the vector instructions of ESP32-S3. Experimental: no chip has run them yet,
only the emulation of these instructions, which like them is written from the manual.

attn8/forms/viper/matmul.py says what it computes. 16 int8 products are one instruction: rows of
both operands start at multiples of 16 and are filled up with zeros to multiples of 16, and their
sum, below 2**27 for the most inputs that there are, is exact in ACCX and its low word. Buffers may
start anywhere: each kernel rounds their addresses up, so they are 15 bytes longer; and as the load
of the next weights goes along with a product, 16 bytes past the last row are read and not used, for
which they are another 16 bytes longer.

The vector registers and ACCX are the state of coprocessor 3 of ESP32-S3, which ESP-IDF calls cop_ai
(xtensa/config/tie.h). Its FreeRTOS gives coprocessors to tasks as it gives them the floating-point
unit: a task's first vector instruction raises a Coprocessor Disabled exception, whose handler
(_xt_coproc_exc in xtensa_vectors.S) sets the task's bit in CPENABLE, saves the state of the task
that used the coprocessor last, in an area that each task has for it, and ties an unpinned task to
its core. So a kernel has to enable or save nothing, may be interrupted at any place, and must not
write CPENABLE itself. In an interrupt handler the exception is fatal: the kernels are for tasks.

The loop is that of Espressif's own esp-nn (esp_nn_dot_s8_esp32s3.S), which also leaves two
instructions between the last product and the reading of ACCX. What to look at first on a chip: by
the manual an instruction waits for what a load before it brings, but one public port reports old
values there while the other core was busy.
"""

from ..mpy import XtensaFunction
from .common_xtensa import round_bit

UNIT = 16  # bytes

# Register map
W, X, X_START, OUT, CONSTANTS, BLOCKS, END, LOW, V, T, M = range(2, 13)
Q_W, Q_X = 0, 1  # vector registers


def round_up(a: XtensaFunction, r: int) -> None:
    """r, rounded up to a multiple of 16."""
    a.addi(r, r, UNIT - 1)
    a.srli(r, r, 4)
    a.slli(r, r, 4)


def pack(a: XtensaFunction) -> None:
    """Packs w, int8 [outputs, inputs] with room for the rows that they become: the last is moved
    first.
    """
    w, inputs, outputs, to, stride, u, t, zero = range(2, 10)
    a.arguments(w=w, inputs=inputs, outputs=outputs)
    a.movi(zero, 0)
    a.mov(stride, inputs)
    round_up(a, stride)
    a.mov(to, w)
    round_up(a, to)
    a.mull(t, outputs, stride)
    a.add(to, to, t)
    a.mull(t, outputs, inputs)
    a.add(w, w, t)
    a.sub(stride, stride, inputs)  # zeros of a row
    a.label("row")
    a.loopnez(stride, "zero")
    a.addi(to, to, -1)
    a.s8i(zero, to)
    a.label("zero")
    a.loopnez(inputs, "weight")
    a.addi(w, w, -1)
    a.addi(to, to, -1)
    a.l8ui(u, w)
    a.s8i(u, to)
    a.label("weight")
    a.addi(outputs, outputs, -1)
    a.bnez(outputs, "row")


HELD = (1, 2, 3, 4)  # blocks of a row of weights that all of x meets from registers


def matmul(a: XtensaFunction) -> None:
    """bias: constants, interleaved; mult and shift are not used.

    Where several rows of x of a few blocks each can be read as they lie, an output is made of all
    of them before the next; otherwise a row after others.
    """
    rows, x, inputs, wide, t = range(2, 7)
    a.arguments(rows=rows, x=x, inputs=inputs, wide=wide)
    a.bnez(wide, "row by row")
    a.addi(rows, rows, -1)
    a.beqz(rows, "row by row")
    a.or_(t, x, inputs)
    a.extui(t, t, 0, 4)
    a.bnez(t, "row by row")
    a.srli(inputs, inputs, 4)
    for n in HELD:
        a.movi(t, n)
        a.branch("ne", inputs, t, f"not {n} blocks")
        a.j(f"{n} blocks")
        a.label(f"not {n} blocks")
    a.label("row by row")
    row_by_row(a)
    a.j("done")
    for n in HELD:
        a.label(f"{n} blocks")
        output_by_output(a, n)
        a.j("done")
    a.label("done")


def output_by_output(a: XtensaFunction, n: int) -> None:
    """int8 results of rows of n blocks. 2*acc * (mult << (32 - shift)) has in its high word twice
    a result, rounded down; of shifts beyond 32, 2*acc * mult has what is to be shifted further.
    """
    w, x, x_start, out, constants, others, left, low, v, m, b, stride, t, first = range(2, 16)
    of_weights = range(4, 4 + n)  # vector registers; x is in 0, and in turn with 1 where n is even
    a.arguments(w=w, x=x_start, out=first, bias=constants, rows=others, outputs=left)
    a.addi(others, others, -1)
    a.mov(stride, left)
    a.movi(low, -127)
    round_up(a, w)
    a.ee_vld_128_ip(of_weights[0], w, UNIT)
    name = f"{n}: "

    def row(far: bool, last: bool) -> None:
        a.ee_zero_accx()
        for i, q in enumerate(of_weights):
            of_x, following = (i % 2, (i + 1) % 2) if n % 2 == 0 else (0, 0)
            if last and i == n - 1:  # nothing is read behind x, but what comes next of w
                a.ee_vmulas_s8_accx_ld_ip(of_weights[0], w, UNIT, q, of_x)
            else:
                a.ee_vmulas_s8_accx_ld_ip(following, x, UNIT, q, of_x)
        a.add(out, out, stride)
        a.nop()
        a.rur_accx_0(v)
        a.addx2(v, v, b)
        a.mulsh(v, v, m)
        if far:
            a.sra(v, v)
        round_bit(a, v, low)
        a.s8i(v, out)

    a.label(name + "output")
    for q in of_weights[1:]:
        a.ee_vld_128_ip(q, w, UNIT)
    a.mov(x, x_start)
    a.ee_vld_128_ip(0, x, UNIT)
    a.l32i(b, constants, 0)
    a.l32i(m, constants, 4)
    a.l32i(t, constants, 8)
    a.addi(constants, constants, 16)
    a.add(b, b, b)
    a.movi(v, 16)
    a.sub(t, v, t)
    a.sub(out, first, stride)
    a.addi(first, first, 1)
    a.bltz(t, name + "far")
    a.ssl(t)
    a.sll(m, m)
    for far in (False, True):
        if far:
            a.label(name + "far")
            a.neg(t, t)
            a.ssr(t)
        end = f"{name}rows{', far' * far}"
        a.loopnez(others, end)
        row(far, last=False)
        a.label(end)
        row(far, last=True)
        if not far:
            a.j(name + "next")
    a.label(name + "next")
    a.addi(left, left, -1)
    a.bnez(left, name + "output")


def row_by_row(a: XtensaFunction) -> None:
    a.arguments(out=OUT, inputs=BLOCKS)
    a.movi(LOW, -127)
    round_up(a, BLOCKS)
    a.srli(BLOCKS, BLOCKS, 4)
    a.label("row")
    a.arguments(x=X, row=X_START, inputs=T)
    align(a, X, X_START, T, V, M)
    a.arguments(w=W, bias=CONSTANTS, outputs=END, wide=V)
    a.beqz(V, "narrow")
    a.slli(END, END, 2)
    a.label("narrow")
    a.add(END, END, OUT)
    round_up(a, W)
    a.ee_vld_128_ip(Q_W, W, UNIT)
    a.bnez(V, "wide output")
    outputs(a, "narrow output", wide=False)
    outputs(a, "wide output", wide=True)
    a.label("next row")
    a.arguments(rows=T, x=X, inputs=V)
    a.add(X, X, V)
    a.keep(X, "x")
    a.addi(T, T, -1)
    a.keep(T, "rows")
    a.bnez(T, "row")


def outputs(a: XtensaFunction, name: str, wide: bool) -> None:
    """One row's products: to OUT up to END."""
    a.label(name)
    a.mov(X, X_START)
    dot(a, W, X, BLOCKS, name + " dot")
    a.l32i(T, CONSTANTS, 0)
    if wide:
        a.addi(CONSTANTS, CONSTANTS, 16)
        a.rur_accx_0(V)
        a.add(V, V, T)
        a.s32i(V, OUT)
        a.addi(OUT, OUT, 4)
    else:
        a.l32i(M, CONSTANTS, 4)
        a.rur_accx_0(V)
        a.slli(M, M, 16)
        a.add(V, V, T)
        a.l32i(T, CONSTANTS, 8)
        a.add(V, V, V)
        a.addi(CONSTANTS, CONSTANTS, 16)
        a.mulsh(V, V, M)
        a.ssr(T)
        a.sra(V, V)
        round_bit(a, V, LOW)
        a.s8i(V, OUT)
        a.addi(OUT, OUT, 1)
    a.branch("ne", OUT, END, name)
    a.j("next row")


def dot(a: XtensaFunction, w: int, x: int, blocks: int, end: str) -> None:
    """ACCX = a row at w times one at x; both pointers move behind it, and q0 is w's next 16."""
    a.ee_zero_accx()
    a.loopnez(blocks, end)
    a.ee_vld_128_ip(Q_X, x, UNIT)
    a.ee_vmulas_s8_accx_ld_ip(Q_W, w, UNIT, Q_W, Q_X)
    a.label(end)


def align(a: XtensaFunction, source: int, row: int, size: int, t: int, u: int) -> None:
    """row = the row at source if dot can read it there, or a copy of it in the room at row."""
    a.or_(t, source, size)
    a.extui(t, t, 0, 4)
    a.bnez(t, "copy")
    a.mov(row, source)
    a.j("aligned")
    a.label("copy")
    round_up(a, row)
    copy_row(a, source, row, size, t, u)
    a.label("aligned")


def copy_row(a: XtensaFunction, source: int, target: int, size: int, t: int, u: int) -> None:
    """Copies a row and fills it up with zeros; source moves behind it."""
    a.addi(t, size, -1)
    a.srli(t, t, 4)
    a.slli(t, t, 4)
    a.add(t, t, target)
    a.movi(u, 0)
    for offset in range(0, UNIT, 4):
        a.s32i(u, t, offset)
    a.mov(t, target)
    a.loopnez(size, "copied")
    a.l8ui(u, source)
    a.addi(source, source, 1)
    a.s8i(u, t)
    a.addi(t, t, 1)
    a.label("copied")
