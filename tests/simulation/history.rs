//! A history from its seed, and the fewest of its steps that still fail.

use super::plan::Plan;
use super::random::Random;
use super::world::World;

/// Runs some of the steps of a seed, and lets the replicas come to rest. Returns what went wrong, and what happened.
pub fn run(seed: u64, steps: Option<&[usize]>, traced: bool) -> Result<Vec<String>, (String, Vec<String>)> {
    let mut random = Random::new(seed);
    let plan = Plan::new(&mut random);
    let all: Vec<usize> = (0..plan.steps).collect();
    let mut world = World::new(plan, &mut random, traced);
    world.tell(|world| format!("{:?}", world.plan));
    let sites: Vec<_> = world.nodes.iter().map(|node| node.site).collect();
    world.tell(|_| format!("sites {sites:?}"));
    let mut outcome = Ok(());
    for step in steps.unwrap_or(&all) {
        world.tell(|_| format!("-- step {step}"));
        outcome = world.step(&mut Random::of_part(seed, *step as u64));
        if outcome.is_err() {
            break;
        }
    }
    let outcome = outcome.and_then(|()| world.rest(&mut Random::of_part(seed, u64::MAX)));
    let trace = world.trace.unwrap_or_default();
    match outcome {
        Ok(()) => Ok(trace),
        Err(error) => Err((error, trace)),
    }
}

/// The steps of a seed that fails with `error`, without those that it fails without in the same way.
#[cfg(not(target_family = "wasm"))]
pub fn shrink(seed: u64, error: &str) -> Vec<usize> {
    let kind = |error: &str| error.chars().take(12).collect::<String>();
    let mut steps: Vec<usize> = (0..Plan::new(&mut Random::new(seed)).steps).collect();
    let mut piece = steps.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < steps.len() {
            let fewer: Vec<usize> = steps
                .iter()
                .enumerate()
                .filter(|(i, _)| !(at..at + piece).contains(i))
                .map(|(_, step)| *step)
                .collect();
            if run(seed, Some(&fewer), false).is_err_and(|(other, _)| kind(&other) == kind(error)) {
                steps = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    steps
}
