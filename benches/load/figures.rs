//! What was measured, and the goals.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Times from a microsecond to a minute and a half, to three digits.
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 100_000_000, 3).unwrap())
    }
}

impl Times {
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }

    pub fn print(&self, what: &str) {
        let at = |quantile| format!("{:.1}", self.quantile(quantile).as_secs_f64() * 1e3);
        println!(
            "  {what:<28}p50 {:>8}  p95 {:>8}  p99 {:>8}  max {:>8} ms  of {}",
            at(0.5),
            at(0.95),
            at(0.99),
            at(1.0),
            self.0.len(),
        );
    }
}

/// The goals, and whether they were met.
#[derive(Default)]
pub struct Goals(Vec<(String, bool)>);

impl Goals {
    pub fn check(&mut self, goal: String, met: bool) {
        self.0.push((goal, met));
    }

    /// Prints them; true where all were met.
    pub fn print(&self) -> bool {
        println!("goals");
        for (goal, met) in &self.0 {
            println!("  {} {goal}", if *met { "PASS  " } else { "MISSED" });
        }
        self.0.iter().all(|(_, met)| *met)
    }
}

/// Bytes as megabytes.
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
