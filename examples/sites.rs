//! A Rust program under hakmem asks it which of its functions take large blocks, and what was learned of
//! them: `cargo run --release --example sites`. In builds without optimization all are one site, the
//! compiler's shim in front of the allocator.

use std::hint::black_box;
use std::mem::MaybeUninit;

use hakmem::c_api::{hak_site, hak_site_list, hak_site_name};

#[global_allocator]
static ALLOCATOR: hakmem::Hakmem = hakmem::Hakmem;

#[inline(never)]
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(bytes);
    frame.resize(bytes, 1);
    frame
}

#[inline(never)]
fn table(entries: usize) -> Vec<u64> {
    vec![0; entries]
}

#[inline(never)]
fn matrix(cells: usize) -> Box<[f64]> {
    (0..cells).map(|cell| cell as f64).collect()
}

fn main() {
    for _ in 0..10 {
        black_box(frame(black_box(3 << 20)));
        black_box(table(black_box(1 << 19)));
        black_box(matrix(black_box(1 << 18)));
    }
    let mut sites = [const { MaybeUninit::<hak_site>::zeroed() }; 64];
    // SAFETY: there is room for as many.
    let known = unsafe { hak_site_list(sites.as_mut_ptr().cast(), sites.len()) };
    for site in &sites[..known.min(sites.len())] {
        // SAFETY: written by the call above; all fields are numbers.
        let site = unsafe { site.assume_init_ref() };
        let mut name = [0u8; 256];
        // SAFETY: there is room for as many.
        let length = unsafe { hak_site_name(site.address, name.as_mut_ptr().cast(), name.len()) };
        let name = String::from_utf8_lossy(&name[..length.min(name.len() - 1)]);
        println!("{} takes by {name}", site.takes);
    }
}
