//! What C++ leaves undefined, as faults: the functions that code compiled with `-fsanitize=undefined` calls, in the
//! place of the compiler's own library.
use crate::fault::{Fault, stop};
use crate::site::Site;
use crate::thread::current;

/// Ends the launch.
///
/// # Safety
/// `place` begins with a file and a line, and a kernel's fiber calls this.
unsafe fn report(place: *const Site, what: &str) -> ! {
    // SAFETY: as the caller promises.
    unsafe { stop(current(), Fault::new(format!("undefined in C++ at {}: {what}", *place))) }
}

/// `name: what is said`. Each is handed a record that begins with the place; what else it is handed is not looked at.
macro_rules! handlers {
    ($($name:ident: $what:literal,)*) => {
        $(
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name(place: *const Site) {
                // SAFETY: the compiler's own record; only checked kernels are compiled to call this.
                unsafe { report(place, $what) }
            }
        )*
    };
}

handlers! {
    __ubsan_handle_add_overflow: "a signed sum that overflows",
    __ubsan_handle_sub_overflow: "a signed difference that overflows",
    __ubsan_handle_mul_overflow: "a signed product that overflows",
    __ubsan_handle_negate_overflow: "a negation that overflows",
    __ubsan_handle_divrem_overflow: "a division by zero, or one that overflows",
    __ubsan_handle_shift_out_of_bounds: "a shift by too many bits, or of a negative number",
    __ubsan_handle_out_of_bounds: "an index outside its array",
    __ubsan_handle_pointer_overflow: "an address that overflows",
    __ubsan_handle_load_invalid_value: "a value that its type cannot have",
    __ubsan_handle_float_cast_overflow: "a float that its integer type cannot hold",
    __ubsan_handle_builtin_unreachable: "code that was said to be unreachable",
    __ubsan_handle_missing_return: "the end of a function without a value",
}
