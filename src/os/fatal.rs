//! The one line with which hakmem ends a process that has corrupted its heap.

use super::{abort, write_all};

/// Says which call was given which bad pointer, and why it is bad, and aborts. Allocates nothing.
#[cold]
pub(crate) fn misuse(call: &str, why: &str, address: usize) -> ! {
    let mut hex = [b'0'; 18];
    hex[1] = b'x';
    for (i, digit) in hex[2..].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[address >> (60 - 4 * i) & 15];
    }
    let mut line = [0; 160];
    let mut len = 0;
    for part in [
        "hakmem: ".as_bytes(),
        call.as_bytes(),
        b"(",
        &hex,
        b"): ",
        why.as_bytes(),
        b"\n",
    ] {
        let n = part.len().min(line.len() - len);
        line[len..len + n].copy_from_slice(&part[..n]);
        len += n;
    }
    write_all(2, &line[..len]);
    abort()
}
