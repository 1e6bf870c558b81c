//! Makes up cases: mostly small blocks, as in programs, with some of everything else.

use hakmem_model::ops::{SLOTS, THREADS};
use hakmem_model::{Align, Case, Op, Phase, Size, Step};
use proptest::collection::vec;
use proptest::prelude::*;

fn size() -> impl Strategy<Value = Size> {
    (0..Size::TIERS, any::<u16>()).prop_map(|(tier, at)| Size { tier, at })
}

fn align() -> impl Strategy<Value = Align> {
    (0..64u8).prop_map(Align)
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS as u8;
    prop_oneof![
        12 => (slot(), size()).prop_map(|(slot, size)| Op::Malloc { slot, size }),
        12 => slot().prop_map(|slot| Op::Free { slot }),
        8 => (slot(), size(), any::<u8>())
            .prop_map(|(slot, size, count)| Op::MallocMany { slot, size, count }),
        8 => (slot(), any::<u8>(), any::<bool>())
            .prop_map(|(slot, every, backwards)| Op::FreeMany { slot, every, backwards }),
        6 => (slot(), size()).prop_map(|(slot, size)| Op::Realloc { slot, size }),
        4 => (slot(), size(), any::<u8>())
            .prop_map(|(slot, size, by)| Op::Calloc { slot, size, by }),
        3 => (slot(), any::<u8>(), any::<u8>())
            .prop_map(|(slot, times, percent)| Op::Grow { slot, times, percent }),
        3 => (slot(), align(), size())
            .prop_map(|(slot, align, size)| Op::Memalign { slot, align, size }),
        2 => (slot(), align(), size())
            .prop_map(|(slot, align, size)| Op::PosixMemalign { slot, align, size }),
        2 => (slot(), size(), any::<u8>())
            .prop_map(|(slot, size, by)| Op::ReallocArray { slot, size, by }),
        2 => (slot(), size()).prop_map(|(slot, size)| Op::MallocAtLeast { slot, size }),
        2 => slot().prop_map(|slot| Op::FreeSized { slot }),
        2 => slot().prop_map(|slot| Op::FreeAlignedSized { slot }),
        2 => slot().prop_map(|slot| Op::UsableSize { slot }),
        2 => Just(Op::EndThread),
        1 => (slot(), size(), any::<bool>())
            .prop_map(|(slot, size, whole)| Op::Pages { slot, size, whole }),
        1 => size().prop_map(|size| Op::GoodSize { size }),
        1 => size().prop_map(|pad| Op::Trim { pad }),
        1 => Just(Op::Stats),
        1 => Just(Op::Check),
        1 => Just(Op::Fork),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..THREADS as u8, op()).prop_map(|(thread, op)| Step { thread, op });
    vec(step, 0..100)
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let phase = prop_oneof![
        steps().prop_map(Phase::Stepped),
        (any::<u8>(), steps()).prop_map(|(repeat, steps)| Phase::Free { repeat, steps }),
    ];
    vec(phase, 1..6).prop_map(|phases| Case { phases })
}
