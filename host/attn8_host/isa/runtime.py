"""The part of MicroPython's native runtime (mp_fun_table) that kernels may call.

The order of the table is that of mp_fun_kind_t in py/nativeglue.h; it is fixed by the .mpy
sub-version 3. Helpers work on 32-bit values as the chip does.
"""

from collections.abc import Callable

from .errors import HelperError

MASK = 0xFFFFFFFF

FUN_TABLE = """
const_none const_false const_true native_from_obj native_to_obj native_swap_globals load_name
load_global load_build_class load_attr load_method load_super_method store_name store_global
store_attr obj_subscr obj_is_true unary_op binary_op new_tuple new_list new_dict new_set
set_store list_append dict_store make_function call_function_n_kw call_method_n_kw
call_method_n_kw_var getiter iternext nlr_push nlr_pop raise import_name import_from
import_all new_slice unpack_sequence unpack_ex delete_name delete_global new_closure
arg_check_num_sig setup_code_state small_int_floor_divide small_int_modulo yield_from setjmp
memset memmove realloc printf vprintf raise_msg obj_get_type obj_new_str obj_new_bytes
obj_new_bytearray_by_ref obj_new_float_from_f obj_new_float_from_d obj_get_float_to_f
obj_get_float_to_d get_buffer_raise get_stream_raise plat_print type_type type_str type_list
type_dict type_fun_builtin_0 type_fun_builtin_1 type_fun_builtin_2 type_fun_builtin_3
type_fun_builtin_var stream_read_obj stream_readinto_obj stream_unbuffered_readline_obj
stream_write_obj
"""
NAMES = FUN_TABLE.split()

# The first three entries are not functions but the objects None, False and True. Objects and
# native values are the same thing here, so they read as 0, 0 and 1.
CONSTANTS = (0, 0, 1)


def signed(value: int) -> int:
    """The signed reading of a 32-bit word."""
    return (value & MASK ^ 0x80000000) - 0x80000000


def floor_divide(num: int, denom: int) -> int:
    """mp_small_int_floor_divide, with the wrap of its 32-bit intermediate sum.

    The C code moves the numerator by the denominator and then truncates. When that sum leaves 32
    bits (a numerator near +-2^31 and operands of different signs) the chip's quotient is not
    Python's; the same wrong number must come out here.
    """
    num, denom = signed(num), signed(denom)
    if denom == 0:
        raise HelperError("integer division by zero")
    if num >= 0 and denom < 0:
        num = signed(num - denom - 1)
    elif num < 0 and denom >= 0:
        num = signed(num - denom + 1)
    quotient = abs(num) // abs(denom)
    return quotient if (num < 0) == (denom < 0) else -quotient


def modulo(num: int, denom: int) -> int:
    """mp_small_int_modulo: the sign of the result is that of the divisor, as in Python."""
    num, denom = signed(num), signed(denom)
    if denom == 0:
        raise HelperError("integer modulo by zero")
    return num % denom


def same_value(value: int, _type: int) -> int:
    """native_from_obj and native_to_obj: arguments and results are passed unboxed."""
    return value


def wrong_arguments(n_args: int, _n_kw: int) -> int:
    """arg_check_num_sig is called by a function's prologue only when the count is wrong."""
    raise HelperError(f"the function does not take {n_args} arguments")


HELPERS: dict[int, Callable[[int, int], int]] = {
    NAMES.index("native_from_obj"): same_value,
    NAMES.index("native_to_obj"): same_value,
    NAMES.index("arg_check_num_sig"): wrong_arguments,
    NAMES.index("small_int_floor_divide"): floor_divide,
    NAMES.index("small_int_modulo"): modulo,
}


def call(index: int, first: int, second: int) -> int:
    """Run fun_table[index] on its first two arguments; the result is a 32-bit word."""
    helper = HELPERS.get(index)
    if helper is None:
        name = NAMES[index]
        raise HelperError(f"fun_table[{index}] ({name}) is not available to a kernel")
    return helper(first, second) & MASK
