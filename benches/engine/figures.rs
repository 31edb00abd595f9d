//! The best figure of each operation under each engine, and the table of them.

use std::time::Instant;

use crate::database::Kind;

/// What an operation shall reach.
#[derive(Clone, Copy)]
pub enum Goal {
    /// At most so many times plain SQLite.
    OfPlain(f64),
    /// At least so many times faster than cr-sqlite.
    OverCrSqlite(f64),
    /// At most so many milliseconds.
    Below(f64),
    /// At most so many times another operation.
    Of(f64, &'static str),
    None,
}

#[derive(Default)]
pub struct Figures(Vec<Operation>);

struct Operation {
    name: &'static str,
    goal: Goal,
    /// By [`Kind`]; less is better.
    best: [Option<f64>; 3],
}

impl Figures {
    /// Keeps `value` when it is the best of its operation.
    pub fn keep(&mut self, kind: Kind, name: &'static str, goal: Goal, value: f64) {
        let known = self.0.iter().position(|operation| operation.name == name);
        let index = known.unwrap_or_else(|| {
            self.0.push(Operation { name, goal, best: [None; 3] });
            self.0.len() - 1
        });
        let best = &mut self.0[index].best[kind as usize];
        *best = Some(best.map_or(value, |best| best.min(value)));
    }

    /// Measures `work` in milliseconds.
    pub fn time<T>(&mut self, kind: Kind, name: &'static str, goal: Goal, work: impl FnOnce() -> T) -> T {
        // `perf report --sort comm,sym` can tell the operations apart.
        let _ = std::fs::write("/proc/self/comm", format!("{kind:?} {name}"));
        let start = Instant::now();
        let result = work();
        self.keep(kind, name, goal, start.elapsed().as_secs_f64() * 1e3);
        let _ = std::fs::write("/proc/self/comm", "between");
        result
    }

    pub fn print(&self) {
        let head = ["plain", "cr-sqlite", "ours", "ours/plain", "cr-sqlite/ours"];
        print!("{:<44}", "ms, the best of three runs");
        head.iter().for_each(|title| print!("{title:>15}"));
        println!("  goal");
        for operation in &self.0 {
            let [plain, theirs, ours] = operation.best;
            let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
            let over_plain = ratio(ours, plain);
            let over_theirs = ratio(theirs, ours);
            print!("{:<44}", operation.name);
            for value in [plain, theirs, ours] {
                print!("{:>15}", value.map_or("-".into(), |value| format!("{value:.3}")));
            }
            for value in [over_plain, over_theirs] {
                print!("{:>15}", value.map_or("-".into(), |value| format!("{value:.2}x")));
            }
            let other = |name| self.0.iter().find(|operation| operation.name == name).and_then(|found| found.best[2]);
            let (goal, met) = match operation.goal {
                Goal::OfPlain(most) => (format!("<= {most}x plain"), over_plain.map(|ratio| ratio <= most)),
                Goal::OverCrSqlite(least) => {
                    (format!(">= {least}x cr-sqlite"), over_theirs.map(|ratio| ratio >= least))
                }
                Goal::Below(most) => (format!("<= {most} ms"), ours.map(|ours| ours <= most)),
                Goal::Of(most, name) => (
                    format!(
                        "<= {most}x {name} ({})",
                        ratio(ours, other(name)).map_or("-".into(), |r| format!("{r:.2}x"))
                    ),
                    ratio(ours, other(name)).map(|ratio| ratio <= most),
                ),
                Goal::None => (String::new(), None),
            };
            println!("  {goal} {}", met.map_or("", |met| if met { "ok" } else { "missed" }));
        }
    }
}
