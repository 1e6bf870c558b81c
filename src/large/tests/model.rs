//! Random takes, gives and resizes against a model: blocks never overlap, keep their content, are
//! zero when they must be, and nothing is lost.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::vec::Vec;

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize * n) >> 31
    }

    fn bytes(&mut self) -> usize {
        match self.below(12) {
            0 => 1 + self.below(16 << 20),
            1 => (1 << 20) + self.below(4 << 20),
            2..6 => SMALL_MAX + self.below(1 << 20),
            _ => SMALL_MAX + self.below(200 << 10),
        }
    }
}

/// A block as the test knows it: every page begins with the tag and its number.
#[derive(Clone, Copy)]
struct Known {
    at: usize,
    bytes: usize,
    tag: u64,
}

impl Known {
    fn fill(&self, from: usize) {
        for at in (from.next_multiple_of(PAGE)..self.bytes.saturating_sub(7)).step_by(PAGE) {
            // SAFETY: inside the block.
            unsafe { ((self.at + at) as *mut u64).write(self.tag ^ at as u64) };
        }
    }

    fn verify(&self, bytes: usize) {
        for at in (0..bytes.saturating_sub(7)).step_by(PAGE) {
            // SAFETY: inside the block.
            let word = unsafe { ((self.at + at) as *const u64).read() };
            assert_eq!(word, self.tag ^ at as u64, "{at} of {} bytes", self.bytes);
        }
    }
}

struct Model {
    random: Random,
    front: Box<Front>,
    blocks: BTreeMap<usize, Known>,
    order: Vec<usize>,
    tag: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            front: new_front(),
            blocks: BTreeMap::new(),
            order: Vec::new(),
            tag: seed << 48,
        }
    }

    fn front(&mut self) -> Option<&Front> {
        if self.random.below(8) == 0 {
            None
        } else {
            Some(&self.front)
        }
    }

    fn add(&mut self, p: NonNull<u8>, bytes: usize) -> Known {
        let at = p.as_ptr() as usize;
        if let Some((_, below)) = self.blocks.range(..=at).next_back() {
            assert!(below.at + below.bytes <= at);
        }
        if let Some((_, above)) = self.blocks.range(at..).next() {
            assert!(at + bytes <= above.at);
        }
        self.tag += 1 << 32;
        let known = Known {
            at,
            bytes,
            tag: self.tag,
        };
        self.blocks.insert(at, known);
        self.order.push(at);
        known
    }

    fn take(&mut self, growing: bool) -> Known {
        let bytes = if growing {
            8192 + self.random.below(200 << 10)
        } else {
            self.random.bytes()
        };
        let align = if self.random.below(9) == 0 {
            16 << self.random.below(19)
        } else {
            16
        };
        let zero = !growing && self.random.below(3) == 0;
        let site = 0x40_0000 + self.random.below(6) * 64;
        let request = Request {
            bytes,
            align,
            zero,
            site,
            growing,
        };
        let p = take(self.front(), request).unwrap();
        assert_eq!(p.as_ptr() as usize % align, 0);
        // SAFETY: a live block.
        assert!(unsafe { usable(p, entry(p)) }.unwrap() >= bytes);
        if zero {
            // SAFETY: inside the block.
            let content = unsafe { core::slice::from_raw_parts(p.as_ptr(), bytes) };
            assert!(
                content.iter().all(|b| *b == 0),
                "{bytes} bytes are not zero"
            );
        }
        let known = self.add(p, bytes);
        known.fill(0);
        known
    }

    fn pick(&mut self) -> Known {
        let i = self.random.below(self.order.len());
        self.blocks.remove(&self.order.swap_remove(i)).unwrap()
    }

    fn give(&mut self) {
        let known = self.pick();
        known.verify(known.bytes);
        let p = NonNull::new(known.at as *mut u8).unwrap();
        // SAFETY: a live block.
        unsafe { give(self.front(), p, entry(p)) }.unwrap();
    }

    fn resize(&mut self) {
        let old = self.pick();
        let p = NonNull::new(old.at as *mut u8).unwrap();
        let bytes = match self.random.below(3) {
            0 => self.random.bytes(),
            1 => old.bytes + old.bytes / 2,
            _ => old.bytes - old.bytes / 3,
        }
        .min(64 << 20);
        // SAFETY: a live block.
        let p = match unsafe { resize(self.front(), p, entry(p), bytes, 1) } {
            Resize::CannotInPlace => {
                old.verify(old.bytes);
                self.add(p, old.bytes);
                self.blocks.get_mut(&old.at).unwrap().tag = old.tag;
                return;
            }
            Resize::InPlace => p,
            Resize::Moved(p) => p,
        };
        let mut known = self.add(p, bytes);
        known.tag = old.tag;
        self.blocks.insert(known.at, known);
        known.verify(bytes.min(old.bytes));
        known.fill(old.bytes.saturating_sub(7));
        known.verify(bytes);
    }

    fn step(&mut self, most: usize) {
        match self.random.below(10) {
            0..2 if !self.order.is_empty() => self.resize(),
            2..6 if !self.order.is_empty() => self.give(),
            6 => _ = self.take(true),
            _ if self.order.len() < most => _ = self.take(false),
            _ => self.give(),
        }
    }

    fn end(mut self) {
        while !self.order.is_empty() {
            self.give();
        }
        self.front.check().unwrap();
        retire(&self.front);
        self.front.check().unwrap();
    }
}

#[test]
fn blocks_behave_as_the_model_says() {
    alone(|| {
        let before = counts();
        for seed in 1..4 {
            let mut model = Model::new(seed);
            for i in 0..8_000 {
                model.step(60);
                if i % 50 == 0 {
                    model.front.check().unwrap();
                    check_accounts(&model.front).unwrap();
                }
                if i % 500 == 0 {
                    check().unwrap();
                }
                if i % 3000 == 2999 {
                    trim();
                }
            }
            model.end();
            check().unwrap();
        }
        let after = counts();
        assert_eq!(lent::sum(), 0);
        assert_eq!(after.run_blocks, before.run_blocks);
        assert_eq!(after.run_bytes, before.run_bytes);
        assert_eq!(after.large_blocks, before.large_blocks);
        assert_eq!(after.large_bytes, before.large_bytes);
        trim();
        assert_eq!((counts().kept_bytes, counts().warm_run_bytes), (0, 0));
        check().unwrap();
    });
}

#[test]
fn threads_free_what_others_took() {
    alone(|| {
        let before = counts();
        thread::scope(|s| {
            let mut senders = Vec::new();
            let mut receivers = Vec::new();
            for _ in 0..6 {
                let (sender, receiver) = mpsc::channel::<Known>();
                senders.push(sender);
                receivers.push(receiver);
            }
            for (i, receiver) in receivers.into_iter().enumerate() {
                let next = senders[(i + 1) % 6].clone();
                s.spawn(move || {
                    let mut model = Model::new(100 + i as u64);
                    for _ in 0..3_000 {
                        if model.random.below(3) == 0 && !model.order.is_empty() {
                            let known = model.pick();
                            _ = next.send(known);
                        }
                        while let Ok(known) = receiver.try_recv() {
                            known.verify(known.bytes);
                            let p = NonNull::new(known.at as *mut u8).unwrap();
                            free(&model.front, p);
                        }
                        model.step(20);
                    }
                    drop(next);
                    while let Ok(known) = receiver.recv() {
                        known.verify(known.bytes);
                        free(&model.front, NonNull::new(known.at as *mut u8).unwrap());
                    }
                    model.end();
                });
            }
            drop(senders);
        });
        check().unwrap();
        let after = counts();
        assert_eq!(after.run_blocks, before.run_blocks);
        assert_eq!(after.large_bytes, before.large_bytes);
    });
}

#[test]
fn everything_works_with_each_feature_off() {
    use crate::base::knobs;
    for off in [
        &knobs::BIGCACHE,
        &knobs::WHALE,
        &knobs::THP,
        &knobs::POPULATE,
        &knobs::SITES,
        &knobs::SUPERSLABS,
    ] {
        alone(|| {
            off.set(false);
            let mut model = Model::new(7);
            for _ in 0..1_500 {
                model.step(40);
            }
            model.end();
            check().unwrap();
        });
    }
}
