//! Histories of replicas that exchange batches over a bad network, checked against a model that knows everything.
//!
//! One seed is one history. `SEED=123 cargo test --test simulation replay -- --nocapture` tells what happens in it: where it
//! fails, in the fewest steps that still do. `scripts/simulate` runs many. README.md has the rules that are checked.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

mod exchange;
mod fate;
mod history;
mod kept;
mod model;
mod network;
mod node;
mod plan;
mod random;
mod rest;
mod sessions;
mod storage;
mod world;
mod writes;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// Says which seed it was, where a history panics.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the history of SEED={}", self.0);
        }
    }
}

fn run(seed: u64) {
    let running = Running(seed);
    if let Err((error, _)) = history::run(seed, None, false) {
        panic!("SEED={seed}: {error}");
    }
    drop(running);
}

#[cfg(target_family = "wasm")]
#[test]
fn replicas_agree_after_any_history() {
    (0..40).for_each(run);
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn replicas_agree_after_any_history() {
    native::all(0..500, run);
}

/// What `SEED` does, or with `COUNT` that many seeds from it on.
#[cfg(not(target_family = "wasm"))]
#[test]
fn replay() {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().unwrap());
    match (number("SEED"), number("COUNT")) {
        (None, _) => {}
        (Some(seed), None) => native::replay(seed),
        (Some(first), Some(count)) => native::many(first, count),
    }
}

/// What needs threads, a clock or an environment.
#[cfg(not(target_family = "wasm"))]
mod native {
    use std::ops::Range;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::{Running, history};

    /// Calls `run` with all seeds, on as many threads as the machine has.
    pub fn all(seeds: Range<u64>, run: impl Fn(u64) + Sync) {
        let next = AtomicU64::new(seeds.start);
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end) {
                        run(seed);
                    }
                });
            }
        });
    }

    /// Tells a history, in the steps that `STEPS` names, or else in the fewest that fail.
    pub fn replay(seed: u64) {
        let running = Running(seed);
        let steps: Option<Vec<usize>> = match std::env::var("STEPS") {
            Ok(steps) => Some(steps.split(',').map(|step| step.trim().parse().unwrap()).collect()),
            Err(_) => history::run(seed, None, false).err().map(|(error, _)| history::shrink(seed, &error)),
        };
        let outcome = history::run(seed, steps.as_deref(), true);
        drop(running);
        let (trace, error) = match outcome {
            Ok(trace) => (trace, None),
            Err((error, trace)) => (trace, Some(error)),
        };
        trace.iter().for_each(|line| println!("{line}"));
        if let Some(error) = error {
            panic!("SEED={seed}, steps {steps:?}: {error}");
        }
    }

    /// Says which of many seeds fail, and how long they took.
    pub fn many(first: u64, count: u64) {
        let (started, failed) = (Instant::now(), AtomicU64::new(0));
        let run = |seed| {
            let error = match std::panic::catch_unwind(|| history::run(seed, None, false)) {
                Ok(Ok(_)) => return,
                Ok(Err((error, _))) => error,
                Err(_) => "it panicked".into(),
            };
            failed.fetch_add(1, Ordering::Relaxed);
            println!("SEED={seed}: {error}");
        };
        all(first..first + count, run);
        let (minutes, failed) = (started.elapsed().as_secs_f64() / 60.0, failed.into_inner());
        println!("{count} histories, {failed} failed, {:.0} a minute", count as f64 / minutes);
        assert_eq!(failed, 0, "histories failed");
    }
}
