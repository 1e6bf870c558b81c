//! The parts of C++'s operators that must be written in assembly, for x86-64.
//!
//! Stack at `new_slow`'s entry: the return address of `operator new`, which only jumps here. All names
//! of labels that leave a function are hidden symbols beginning with `hakmem_cxx_`.

use core::arch::naked_asm;
use core::ffi::c_void;

/// Makes a function's code its own: the compiler folds functions that do the same into one, and tools
/// that pair allocations with frees then see `operator new` paired with `free`. The function is exported as `$symbol`,
/// and gets a name of its own ([`own_name`]). Costs nothing.
macro_rules! keep_apart {
    ($symbol:literal) => {
        // SAFETY: a name.
        unsafe {
            core::arch::asm!(
                $crate::cxx::arch::own_name!($symbol),
                options(nomem, nostack, preserves_flags)
            )
        }
    };
}

/// Where a weak symbol was bound to, or NULL.
macro_rules! weak_address {
    ($symbol:literal) => {{
        let address: *const core::ffi::c_void;
        // SAFETY: reads the symbol's entry in the global offset table.
        unsafe {
            core::arch::asm!(
                concat!(".weak ", $symbol),
                concat!("mov {}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                out(reg) address,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        address
    }};
}

/// Where a symbol of ours was bound to: somebody else's of the same name, perhaps.
macro_rules! bound_address {
    ($symbol:literal) => {{
        let address: *const core::ffi::c_void;
        // SAFETY: reads the symbol's entry in the global offset table.
        unsafe {
            core::arch::asm!(
                concat!("mov {}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                out(reg) address,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        address
    }};
}

/// Assembler text that names the function exported as `$symbol`, in which it stands, for this library alone: the
/// exported name may be bound to somebody else's.
macro_rules! own_name {
    ($symbol:literal) => {
        concat!(
            ".globl hakmem_own_",
            $symbol,
            "\n",
            ".hidden hakmem_own_",
            $symbol,
            "\n",
            ".set hakmem_own_",
            $symbol,
            ", ",
            $symbol
        )
    };
}

/// The address of the function that was named so.
macro_rules! own_address {
    ($symbol:literal) => {{
        let address: *const core::ffi::c_void;
        // SAFETY: takes an address.
        unsafe {
            core::arch::asm!(
                concat!("lea {}, [rip + hakmem_own_", $symbol, "]"),
                out(reg) address,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        address
    }};
}

/// As [`weak_address`], for one version of a symbol of the C library: it is never bound in a static
/// program.
macro_rules! weak_versioned_address {
    ($symbol:literal) => {{
        let address: *const core::ffi::c_void;
        // SAFETY: reads the symbol's entry in the global offset table.
        unsafe {
            core::arch::asm!(
                concat!(".weak hakmem_cxx_", $symbol),
                concat!(".symver hakmem_cxx_", $symbol, ", ", $symbol, "@GLIBC_2.2.5"),
                concat!("mov {}, qword ptr [rip + hakmem_cxx_", $symbol, "@GOTPCREL]"),
                out(reg) address,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        address
    }};
}

/// The whole body of a naked function, exported as `$symbol`, that passes all arguments on to an exported symbol.
macro_rules! jump_to {
    ($symbol:literal => $target:literal) => {
        core::arch::naked_asm!(
            $crate::cxx::arch::own_name!($symbol),
            concat!("jmp qword ptr [rip + ", $target, "@GOTPCREL]")
        )
    };
}

/// As [`jump_to`], with the third argument in the place of the second, which is a size. While blocks are
/// guarded, it is looked at; who ends the process for it may want to see who called.
macro_rules! drop_size_and_jump_to {
    ($target:literal) => {
        core::arch::naked_asm!(
            ".cfi_startproc",
            "cmp byte ptr [rip + {guarded}], 0",
            "jne 2f",
            "3:",
            "mov rsi, rdx",
            concat!("jmp qword ptr [rip + ", $target, "@GOTPCREL]"),
            "2:",
            "push rdi",
            ".cfi_adjust_cfa_offset 8",
            "push rdx",
            ".cfi_adjust_cfa_offset 8",
            "sub rsp, 8",
            ".cfi_adjust_cfa_offset 8",
            "call {check_size}",
            "add rsp, 8",
            ".cfi_adjust_cfa_offset -8",
            "pop rdx",
            ".cfi_adjust_cfa_offset -8",
            "pop rdi",
            ".cfi_adjust_cfa_offset -8",
            "jmp 3b",
            ".cfi_endproc",
            guarded = sym hakmem_core::api::GUARDED,
            check_size = sym $crate::cxx::check_size,
        )
    };
}

/// The whole body of a naked function that calls an exported symbol and returns NULL if that throws.
macro_rules! call_catching {
    ($target:literal) => {
        core::arch::naked_asm!(
            concat!("mov rax, qword ptr [rip + ", $target, "@GOTPCREL]"),
            "jmp {frame}",
            frame = sym $crate::cxx::arch::catching_frame,
        )
    };
}

pub(super) use {
    bound_address, call_catching, drop_size_and_jump_to, jump_to, keep_apart, own_address,
    own_name, weak_address, weak_versioned_address,
};

/// Allocates without hurry: attempt, new handler, attempt … and finally `std::bad_alloc`, or NULL for a
/// nothrow form.
///
/// # Safety
/// Reached by a jump from an operator new, with that operator's frame gone.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn new_slow(size: usize, alignment: usize) -> *mut c_void {
    naked_asm!(
        ".cfi_startproc",
        "push rbx",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbx, 0",
        "push r12",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r12, 0",
        "push r13",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset r13, 0",
        "mov rbx, rdi",
        "mov r12, rsi",
        // The call site: whoever called operator new, or, if that was a nothrow form, its caller.
        "mov r13, qword ptr [rsp + 24]",
        "lea rax, [rip + hakmem_cxx_caught_call]",
        "cmp r13, rax",
        "cmove r13, qword ptr [rsp + 40]",
        "2:",
        "mov rdi, rbx",
        "mov rsi, r12",
        "mov rdx, r13",
        "call {attempt}",
        "test rax, rax",
        "jz 3f",
        "5:",
        ".cfi_remember_state",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "ret",
        ".cfi_restore_state",
        "3:",
        "mov rdi, r13",
        "mov rsi, r12",
        "call {new_handler}",
        "test rax, rax",
        "jz 4f",
        // The handler may throw; the tables of this function let it through.
        "call rax",
        "jmp 2b",
        "4:",
        // A nothrow form would catch what is thrown, and return this NULL.
        "lea rcx, [rip + hakmem_cxx_caught_call]",
        "cmp rcx, qword ptr [rsp + 24]",
        "je 5b",
        "mov rdi, r13",
        "call {thrower}",
        "pop r13",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r13",
        "pop r12",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore r12",
        "pop rbx",
        ".cfi_adjust_cfa_offset -8",
        ".cfi_restore rbx",
        "jmp rax",
        ".cfi_endproc",
        attempt = sym super::attempt,
        new_handler = sym super::new_handler,
        thrower = sym super::thrower,
    )
}

/// The frame of the nothrow forms: calls the operator whose address is in rax, arguments untouched.
///
/// # Safety
/// Reached by a jump from a nothrow operator only.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn catching_frame() {
    naked_asm!(
        ".cfi_startproc",
        // Relative to the place, four bytes, signed (DW_EH_PE_pcrel | DW_EH_PE_sdata4).
        ".cfi_personality 0x1b, {personality}",
        "sub rsp, 8",
        ".cfi_adjust_cfa_offset 8",
        "call rax",
        ".globl hakmem_cxx_caught_call",
        ".hidden hakmem_cxx_caught_call",
        "hakmem_cxx_caught_call:",
        ".cfi_remember_state",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_restore_state",
        ".globl hakmem_cxx_landing_pad",
        ".hidden hakmem_cxx_landing_pad",
        "hakmem_cxx_landing_pad:",
        "mov rdi, rax",
        "mov rsi, qword ptr [rsp + 8]",
        "call {swallow}",
        "add rsp, 8",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
        personality = sym personality,
        swallow = sym super::swallow,
    )
}

/// [`super::catch_all`], told by whom it is called.
///
/// # Safety
/// Called by the unwinder only.
#[unsafe(naked)]
unsafe extern "C" fn personality() {
    naked_asm!(
        "mov r9, qword ptr [rsp]",
        "jmp {catch_all}",
        catch_all = sym super::catch_all,
    )
}

/// Where [`catching_frame`] goes on after an exception.
pub(super) fn landing_pad() -> usize {
    let address: usize;
    // SAFETY: computes the address of a label.
    unsafe {
        core::arch::asm!(
            "lea {}, [rip + hakmem_cxx_landing_pad]",
            out(reg) address,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    address
}
