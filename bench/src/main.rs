//! `hakmem-bench`: measures allocators, one process at a time, and proves which allocator served each process.
//!
//! The way of a figure: [`catalog`] says what there is to measure, [`peers`] and [`workloads`] build what is
//! missing, [`schedule`] runs the processes interleaved through [`launch`], [`record`] keeps the samples as
//! JSON lines, [`stats`] and [`table`] make rows of them, [`report`] a page. [`isolate`] and [`learning`] go the same
//! way with variants of hakmem in the place of allocators; [`verdict`] and [`convergence`] are the latter's table and
//! page.

#![forbid(unsafe_code)]

mod allocators;
mod catalog;
mod charts;
mod cli;
mod compare;
mod convergence;
mod golden;
mod instructions;
mod isolate;
mod latency;
mod launch;
mod learning;
mod packages;
mod paths;
mod peers;
mod programs;
mod record;
mod report;
mod schedule;
mod stats;
mod syscalls;
mod table;
mod verdict;
mod workloads;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hakmem-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
