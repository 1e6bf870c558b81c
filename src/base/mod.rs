//! Sizes, classes, bit words and hooks: values only, no memory is touched here.

pub(crate) mod class;
mod hook;
pub(crate) mod knobs;
pub(crate) mod misuse;
pub(crate) mod size;

pub(crate) use class::{CLASSES, Class, ClassInfo, N_CLASSES, SMALL_MAX};
pub(crate) use hook::Hook;
pub(crate) use misuse::Misuse;
pub(crate) use size::{PAGE, SLOT, SLOTS, SUPERSLAB, align_up};
