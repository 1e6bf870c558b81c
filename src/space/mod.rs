//! Address space: which slot belongs to whom, where SuperSlabs come from, and what goes back.

pub(crate) mod huge;
pub(crate) mod map;
pub(crate) mod meta;
pub(crate) mod pool;
pub(crate) mod superslab;
pub(crate) mod warm;
