//! The name of a call site, as the dynamic linker knows it.

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::mem::MaybeUninit;

use super::writer::{Printable, Writer};

/// Writes the beginning of the site's name into `buffer`; the length of all of it.
pub fn write_site_name(address: usize, buffer: &mut [u8]) -> usize {
    let mut out = Writer::to_slice(buffer);
    let _ = name(&mut out, address);
    out.finish()
}

fn name(out: &mut Writer<'_>, address: usize) -> fmt::Result {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // The call is before the return address, which may be behind the function's last byte.
    let call = address.saturating_sub(1);
    // SAFETY: the linker looks the number up, and writes the structure.
    let found = unsafe { libc::dladdr(call as *const libc::c_void, info.as_mut_ptr()) } != 0;
    // SAFETY: zero is valid for all of its fields.
    let info = unsafe { info.assume_init() };
    if !found || info.dli_fname.is_null() {
        return write!(out, "{address:#x}");
    }
    // SAFETY: a string of the linker's, as long as the file is loaded.
    let file = unsafe { CStr::from_ptr(info.dli_fname) }.to_bytes();
    let base = info.dli_fbase as usize;
    write!(out, "{}+{:#x}", Printable(file), address.wrapping_sub(base))?;
    if !info.dli_sname.is_null() {
        // SAFETY: as above.
        let function = unsafe { CStr::from_ptr(info.dli_sname) }.to_bytes();
        let start = info.dli_saddr as usize;
        write!(
            out,
            " ({}+{:#x})",
            Printable(function),
            address.wrapping_sub(start)
        )?;
    }
    Ok(())
}
