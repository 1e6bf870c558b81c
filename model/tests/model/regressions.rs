//! Cases that have failed once, and cases that go through what chance rarely meets.

use std::sync::Arc;

use hakmem_model::{Align, Api, Case, Hakmem, Op, Phase, Size, Step, run};

use super::isolated;

fn must_pass(phases: Vec<Phase>) {
    let case = Case { phases };
    isolated::run(|| run(&(Arc::new(Hakmem::new()) as Arc<dyn Api>), &case)).unwrap();
}

fn by(thread: u8, op: Op) -> Step {
    Step { thread, op }
}

/// Slabs' worth of blocks of every tier left behind by threads that end, freed and grown by others.
#[test]
fn blocks_of_ended_threads() {
    let mut steps = Vec::new();
    for tier in 0..14 {
        let size = Size {
            tier,
            at: 700 * u16::from(tier) + 40,
        };
        let many = Op::MallocMany {
            slot: tier,
            size,
            count: 255,
        };
        steps.extend([by(tier % 2, many), by(tier % 2, many)]);
    }
    steps.extend([by(0, Op::EndThread), by(1, Op::EndThread)]);
    for slot in 0..14 {
        let some = Op::FreeMany {
            slot,
            every: 1,
            backwards: slot % 2 == 0,
        };
        let grow = Op::Grow {
            slot,
            times: 9,
            percent: 60,
        };
        steps.extend([by(2, some), by(3, grow)]);
    }
    must_pass(vec![
        Phase::Stepped(steps.clone()),
        Phase::Free { repeat: 4, steps },
        Phase::Stepped(vec![by(2, Op::Fork), by(3, Op::Check)]),
    ]);
}

/// Alignments up to 1 GiB for sizes around them, from all threads at once.
#[test]
fn every_alignment() {
    let steps = (0..64)
        .flat_map(|n| {
            [0, 1, 4000, 33_000].map(|at| {
                let size = Size { tier: 5, at };
                let op = Op::Memalign {
                    slot: n,
                    align: Align(n),
                    size,
                };
                by(n % 4, op)
            })
        })
        .collect::<Vec<_>>();
    must_pass(vec![
        Phase::Stepped(steps.clone()),
        Phase::Free { repeat: 1, steps },
    ]);
}
