use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The parts of a second in which Linux tells processor time: a hundred, whatever the kernel counts in.
const TICKS: f64 = 100.0;

/// The process itself, under the names that Prometheus's own clients use. Filled where there is `/proc`.
#[derive(Default)]
pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge<u64, AtomicU64>,
    virtual_memory: Gauge<u64, AtomicU64>,
    files: Gauge,
}

impl Process {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        let ours = registry.sub_registry_with_prefix("process");
        ours.register_with_unit("cpu", "Processor time", Unit::Seconds, new.cpu.clone());
        ours.register_with_unit("resident_memory", "Memory in use", Unit::Bytes, new.resident.clone());
        ours.register_with_unit("virtual_memory", "Memory that is mapped", Unit::Bytes, new.virtual_memory.clone());
        ours.register("open_fds", "Open files and connections", new.files.clone());
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()));
        ours.register_with_unit("start_time", "When the process began, since 1970", Unit::Seconds, started);
        new
    }

    /// Looks at the process as it is now.
    pub(super) fn look(&self) {
        if let Some(seconds) = cpu_seconds() {
            // A counter of what somebody else counts.
            self.cpu.inner().store(seconds.to_bits(), Ordering::Relaxed);
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            self.resident.set(bytes(&status, "VmRSS:"));
            self.virtual_memory.set(bytes(&status, "VmSize:"));
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder that is being read.
            self.files.set(files.count() as i64 - 1);
        }
    }
}

/// User and system time: the 14th and 15th field, counted from behind the name, which may hold anything.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>().ok()?;
    Some(ticks / TICKS)
}

/// A line such as `VmRSS:     1234 kB`.
fn bytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
