//! The threads that make the calls, and the one that hands them out.

use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::api::Api;
use crate::ops::{Case, Op, Phase, Step, THREADS};
use crate::shadow::{Finding, Shadow};

/// Operations of a case that are looked at.
const STEPS_MAX: usize = 2000;
/// A free phase repeats its operations this many times at most, each time with other slots.
const REPEAT_MAX: u8 = 24;
const NEXT_SLOTS: u8 = 13;

/// What a thread is to do.
struct Job {
    steps: Vec<Op>,
    /// Where in them to begin, and how many turns there are.
    from: usize,
    turns: usize,
}

enum Report {
    Done,
    /// The thread ends; the next one goes on with this.
    Ended(Job),
    Found(String),
}

struct Worker {
    jobs: Sender<Job>,
    handle: JoinHandle<()>,
}

/// The same operation in a later turn: on another slot.
fn turned(op: Op, turn: usize) -> Op {
    let by = NEXT_SLOTS.wrapping_mul(turn as u8);
    let mut op = op;
    match &mut op {
        Op::Malloc { slot, .. }
        | Op::MallocAtLeast { slot, .. }
        | Op::MallocMany { slot, .. }
        | Op::Calloc { slot, .. }
        | Op::Realloc { slot, .. }
        | Op::ReallocArray { slot, .. }
        | Op::Grow { slot, .. }
        | Op::Memalign { slot, .. }
        | Op::PosixMemalign { slot, .. }
        | Op::Pages { slot, .. }
        | Op::Free { slot }
        | Op::FreeSized { slot }
        | Op::FreeAlignedSized { slot }
        | Op::FreeMany { slot, .. }
        | Op::UsableSize { slot } => *slot = slot.wrapping_add(by),
        Op::GoodSize { .. } | Op::Trim { .. } | Op::Stats => {}
        Op::Check | Op::EndThread | Op::Fork => {}
    }
    op
}

/// Does a job until it is done or the thread is to end.
fn work(shadow: &Shadow, job: Job) -> Report {
    let n = job.steps.len();
    for at in job.from..n * job.turns {
        let op = turned(job.steps[at % n], at / n);
        if op == Op::EndThread {
            return Report::Ended(Job {
                from: at + 1,
                ..job
            });
        }
        let found = catch_unwind(AssertUnwindSafe(|| shadow.step(op)));
        match found {
            Ok(Ok(())) => {}
            Ok(Err(what)) => return Report::Found(format!("{op:?}: {what}")),
            Err(_) => return Report::Found(format!("{op:?}: it panics")),
        }
    }
    Report::Done
}

struct Threads {
    shadow: Arc<Shadow>,
    workers: [Option<Worker>; THREADS],
    reports: Receiver<(usize, Report)>,
    to_us: Sender<(usize, Report)>,
}

impl Threads {
    fn start(&mut self, thread: usize) -> &Worker {
        let (shadow, to_us) = (&self.shadow, &self.to_us);
        self.workers[thread].get_or_insert_with(|| {
            let (jobs, inbox) = channel::<Job>();
            let (shadow, to_us) = (Arc::clone(shadow), to_us.clone());
            let handle = thread::spawn(move || {
                for job in inbox {
                    let report = work(&shadow, job);
                    let ends = matches!(report, Report::Ended(_));
                    if to_us.send((thread, report)).is_err() || ends {
                        break;
                    }
                }
            });
            Worker { jobs, handle }
        })
    }

    fn give(&mut self, thread: usize, job: Job) {
        // Fails only if the worker is gone, and it goes only when it has been told to.
        let _ = self.start(thread).jobs.send(job);
    }

    fn join(&mut self, thread: usize) {
        if let Some(worker) = self.workers[thread].take() {
            drop(worker.jobs);
            // It catches its panics.
            let _ = worker.handle.join();
        }
    }

    /// Waits until as many jobs are done. A thread that ends in between is followed by another.
    fn wait(&mut self, mut jobs: usize) -> Finding {
        let mut result = Ok(());
        while jobs > 0 {
            let Ok((thread, report)) = self.reports.recv() else {
                return Err("all threads are gone".to_owned());
            };
            match report {
                Report::Done => jobs -= 1,
                Report::Ended(rest) => {
                    self.join(thread);
                    if rest.from < rest.steps.len() * rest.turns {
                        self.give(thread, rest);
                    } else {
                        jobs -= 1;
                    }
                }
                Report::Found(what) => {
                    jobs -= 1;
                    result = result.and(Err(format!("thread {thread}: {what}")));
                }
            }
        }
        result
    }

    fn stepped(&mut self, steps: &[Step]) -> Finding {
        let thread_of = |step: &Step| usize::from(step.thread) % THREADS;
        // What one thread does without a break is one job.
        for steps in steps.chunk_by(|one, next| thread_of(one) == thread_of(next)) {
            let job = Job {
                steps: steps.iter().map(|step| step.op).collect(),
                from: 0,
                turns: 1,
            };
            self.give(thread_of(&steps[0]), job);
            self.wait(1)?;
        }
        Ok(())
    }

    fn free(&mut self, repeat: u8, steps: &[Step]) -> Finding {
        self.shadow.set_free();
        let mut jobs = 0;
        for thread in 0..THREADS {
            let own: Vec<Op> = steps
                .iter()
                .filter(|step| usize::from(step.thread) % THREADS == thread)
                .map(|step| step.op)
                .collect();
            if own.is_empty() {
                continue;
            }
            let job = Job {
                steps: own,
                from: 0,
                turns: 1 + usize::from(repeat % REPEAT_MAX),
            };
            self.give(thread, job);
            jobs += 1;
        }
        self.wait(jobs)?;
        self.shadow.set_stepped()
    }

    /// The walk over all structures, by each thread over its own.
    fn check(&mut self) -> Finding {
        for thread in 0..THREADS {
            if self.workers[thread].is_some() {
                let job = Job {
                    steps: vec![Op::Check],
                    from: 0,
                    turns: 1,
                };
                self.give(thread, job);
                self.wait(1)?;
            }
        }
        Ok(())
    }

    fn phases(&mut self, case: &Case) -> Finding {
        let mut left = STEPS_MAX;
        for (i, phase) in case.phases.iter().enumerate() {
            let steps = match phase {
                Phase::Stepped(steps) | Phase::Free { steps, .. } => steps,
            };
            let steps = &steps[..steps.len().min(left)];
            left -= steps.len();
            let result = match phase {
                Phase::Stepped(_) => self.stepped(steps),
                Phase::Free { repeat, .. } => self.free(*repeat, steps),
            };
            result
                .and_then(|()| self.check())
                .map_err(|what| format!("phase {i}: {what}"))?;
        }
        Ok(())
    }
}

/// Does what a case says on an allocator, and says what was wrong. One run at a time.
///
/// # Errors
/// What was found: the operation, and the promise that the allocator has broken.
pub fn run(api: &Arc<dyn Api>, case: &Case) -> Result<(), String> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = api.live();
    let (to_us, reports) = channel();
    let shadow = Arc::new(Shadow::new(Arc::clone(api)));
    let mut threads = Threads {
        shadow: Arc::clone(&shadow),
        workers: [const { None }; THREADS],
        reports,
        to_us,
    };
    let mut result = threads.phases(case);
    // This thread frees what is left: of threads that live, and after these have ended, too.
    let last_first = case.phases.len().is_multiple_of(2);
    if result.is_ok() && last_first {
        result = shadow.free_all();
    }
    for thread in 0..THREADS {
        threads.join(thread);
    }
    result?;
    shadow.free_all()?;
    api.trim(0);
    shadow
        .check()
        .map_err(|what| format!("at the end: {what}"))?;
    let after = api.live();
    if after != before {
        return Err(format!("{before:?} were live before, {after:?} are now"));
    }
    Ok(())
}
