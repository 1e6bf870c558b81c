//! Formatted output without allocating: to a function, a buffer at a time, or into a slice that may be
//! too short.

use core::fmt;

/// Takes a text's pieces. Who asked for the text can do nothing about an error, and neither can we, so
/// this returns none.
type Put<'a> = &'a mut dyn FnMut(&[u8]);

/// Takes text by [`fmt::Write`].
///
/// # Invariants
/// The first `used` bytes of `buffer` are text that `put` has not got yet; without a `put`, the text's
/// beginning. `total` is the length of all text so far.
pub(super) struct Writer<'a> {
    buffer: &'a mut [u8],
    used: usize,
    total: usize,
    put: Option<Put<'a>>,
}

impl<'a> Writer<'a> {
    /// Passes text to `put` whenever `buffer` is full, and at [`Writer::finish`].
    pub(super) fn to_function(put: Put<'a>, buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            used: 0,
            total: 0,
            put: Some(put),
        }
    }

    /// Writes the beginning of the text into `buffer`.
    pub(super) fn to_slice(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            used: 0,
            total: 0,
            put: None,
        }
    }

    /// Ends the text; how long all of it was, whether or not it fitted.
    pub(super) fn finish(mut self) -> usize {
        self.flush();
        self.total
    }

    /// Adds a byte that need not be text.
    pub(super) fn write_byte(&mut self, byte: u8) {
        self.write_bytes(&[byte]);
    }

    fn write_bytes(&mut self, mut rest: &[u8]) {
        self.total += rest.len();
        loop {
            let n = rest.len().min(self.buffer.len() - self.used);
            self.buffer[self.used..self.used + n].copy_from_slice(&rest[..n]);
            self.used += n;
            rest = &rest[n..];
            if rest.is_empty() || self.put.is_none() || self.buffer.is_empty() {
                return;
            }
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(put) = &mut self.put {
            put(&self.buffer[..self.used]);
            self.used = 0;
        }
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_bytes(text.as_bytes());
        Ok(())
    }
}

/// Bytes from outside, which may be anything, as a short piece of one line.
pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 64;
        let shown = &self.0[..self.0.len().min(LONGEST)];
        let more = if self.0.len() > LONGEST { "..." } else { "" };
        write!(f, "{}{more}", Printable(shown))
    }
}

/// Bytes of a stranger's as text: a question mark for each that cannot be printed.
pub(super) struct Printable<'a>(pub(super) &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            let printable = byte.is_ascii_graphic() || byte == b' ';
            fmt::Write::write_char(f, if printable { char::from(byte) } else { '?' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;
    use std::format;
    use std::vec::Vec;

    #[test]
    fn a_slice_gets_the_beginning_and_the_length_is_told() {
        for room in 0..12 {
            let mut buffer = [b'-'; 12];
            let mut out = Writer::to_slice(&mut buffer[..room]);
            write!(out, "{}, five", 1234).unwrap();
            assert_eq!(out.finish(), 10);
            let n = room.min(10);
            assert_eq!(&buffer[..n], &b"1234, five"[..n]);
            assert!(buffer[room..].iter().all(|byte| *byte == b'-'));
        }
    }

    #[test]
    fn a_function_gets_everything_through_any_buffer() {
        for room in [1, 2, 3, 7, 64] {
            let mut text = Vec::new();
            let mut put = |piece: &[u8]| text.extend_from_slice(piece);
            let mut buffer = [0; 64];
            let mut out = Writer::to_function(&mut put, &mut buffer[..room]);
            for i in 0..100 {
                write!(out, "{i},").unwrap();
            }
            assert_eq!(out.finish(), 290);
            assert_eq!(text.len(), 290);
            assert!(text.starts_with(b"0,1,2,") && text.ends_with(b"98,99,"));
        }
    }

    #[test]
    fn what_is_quoted_stays_on_its_line() {
        assert_eq!(format!("{}", Quoted(b"a b\n\x1b\xff")), "a b???");
        assert_eq!(format!("{}", Quoted(&[b'x'; 70_000])).len(), 64 + 3);
    }
}
