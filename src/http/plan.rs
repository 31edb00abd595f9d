use serde::Serialize;

use crate::crr::migrate;

/// The steps of a migration, as callers are told of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Plan(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Step {
    /// For people.
    step: String,
    /// What it drops with its values: the names that `allow_destructive` takes.
    loses: Vec<String>,
}

impl From<&migrate::Plan> for Plan {
    fn from(plan: &migrate::Plan) -> Self {
        let step = |step: &migrate::Step| Step { step: step.to_string(), loses: step.loses() };
        Self(plan.steps.iter().map(step).collect())
    }
}
