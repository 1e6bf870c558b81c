//! Link arguments of `libhakmem.so`; they cannot be stated in Cargo.toml.

/// The number in the SONAME: it goes up when a program linked against the older library would break.
/// `CMakeLists.txt` (`HAKMEM_SOVERSION`) must say the same; `tests/packaging.rs` compares the two.
const SOVERSION: u32 = 0;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in [
        &*format!("-Wl,-soname,libhakmem.so.{SOVERSION}"),
        // A missing symbol is an error now, not when a program is started under the library.
        "-Wl,-z,defs",
        // All symbols are bound at load: a lazy binding inside malloc would enter the dynamic linker,
        // which may itself be in the middle of a malloc.
        "-Wl,-z,now",
        // dlclose must not unmap code that every block of the process depends on.
        "-Wl,-z,nodelete",
        // The thread-local word is read at a fixed offset from the thread pointer: text relocations
        // would be the wrong way out if somebody broke that, so they are refused.
        "-Wl,-z,text",
        // The crate libc names the library itself only without its feature `std`, which a build of the
        // whole workspace turns on for all members.
        "-lc",
    ] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
}
