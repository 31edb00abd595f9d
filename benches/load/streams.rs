//! Many event streams, and few who write: how long a write takes to be with all who read.
//!
//! Writes are due at a fixed rate, whatever became of those before, and times count from when a write was due. The writers
//! are readers too, and are not sent what they wrote themselves. The readers share a thread; each counts what it sees, by the
//! number that each write carries.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::runtime;
use tokio::time::timeout_at;

use crate::Options;
use crate::figures::{Goals, Times, megabytes};
use crate::reader::{Buffer, Reader, marked};
use crate::server::{Server, client, cpu};
use crate::workload::Author;

/// By when 99 of 100 changes shall be with a reader.
const LATENCY: Duration = Duration::from_millis(250);
/// The most memory of the server, in bytes.
const MEMORY: u64 = 300_000_000;
/// How long readers wait for what is late, once all is written.
const PATIENCE: Duration = Duration::from_secs(20);
/// Streams that are opened at a time.
const OPENING: usize = 50;

/// Who reads and writes what.
struct Plan {
    databases: usize,
    streams: usize,
    writers: usize,
    writes: usize,
    /// Between two writes.
    interval: Duration,
}

impl Plan {
    fn new(options: &Options, databases: usize) -> Self {
        Self {
            databases,
            streams: options.streams,
            // As many in each database, so that writer and stream of the same number have the same one.
            writers: (options.writers / databases).max(1) * databases,
            writes: options.rate as usize * options.seconds,
            interval: Duration::from_secs(1) / options.rate,
        }
    }

    /// The database of a stream or a writer.
    fn dbid(&self, n: usize) -> String {
        format!("load{}", n % self.databases)
    }

    fn writer(&self, write: usize) -> usize {
        write % self.writers
    }

    fn due(&self, begin: Instant, write: usize) -> Instant {
        begin + self.interval * write as u32
    }

    /// Whether stream `n` shall see a write: one of its database, and not its own.
    fn is_for(&self, n: usize, write: usize) -> bool {
        let writer = self.writer(write);
        writer != n && writer % self.databases == n % self.databases
    }
}

pub fn measure(options: &Options, databases: usize, goals: &mut Goals) {
    let plan = Plan::new(options, databases);
    assert!(plan.writers <= plan.streams, "each writer is a reader, so there are as many streams at least");
    let shape = format!("{} streams on {databases} database(s), {} writes/s", plan.streams, options.rate);
    println!("{shape}: {} s, {} writers", options.seconds, plan.writers);
    let folder = tempfile::tempdir_in(&options.dir).unwrap();
    let server = Server::start(options, folder.path());
    let (sites, batches) = prepare(&plan);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client();
        for n in 0..plan.databases {
            server.create(&client, &plan.dbid(n)).await;
        }
    });
    let before = server.peak();

    let begin = OnceLock::new();
    let (open, opened) = mpsc::channel();
    let (answers, seen, with_streams, took, processors) = thread::scope(|scope| {
        let readers = scope.spawn(|| read(&plan, server.address(), &sites, &begin, &open));
        opened.recv().unwrap();
        let with_streams = server.peak();
        let cpu = || (server.cpu(), cpu("self"));
        let (began, cpu_before) = (*begin.get_or_init(Instant::now), cpu());
        let answers = runtime.block_on(write(&plan, &server, batches, began));
        let (took, cpu) = (began.elapsed(), cpu());
        let cores = |before: Duration, after: Duration| (after - before).as_secs_f64() / took.as_secs_f64();
        let processors = (cores(cpu_before.0, cpu.0), cores(cpu_before.1, cpu.1));
        (answers, readers.join().unwrap(), with_streams, took, processors)
    });
    let peak = server.peak();

    answers.print("write to answer");
    seen.times.print("write to stream");
    println!(
        "  {:.0} writes/s were answered, {:.0} MB were sent",
        plan.writes as f64 / took.as_secs_f64(),
        megabytes(seen.bytes)
    );
    println!("  processors: {:.2} by the server, {:.2} by readers and writers", processors.0, processors.1);
    println!(
        "  memory of the server: {:.1} MB at first, {:.1} MB with the streams ({:.0} kB each), {:.1} MB at most",
        megabytes(before),
        megabytes(with_streams),
        (with_streams - before) as f64 / 1e3 / plan.streams as f64,
        megabytes(peak),
    );
    let p99 = seen.times.quantile(0.99);
    goals.check(format!("{shape}: p99 {} ms <= {} ms", p99.as_millis(), LATENCY.as_millis()), p99 <= LATENCY);
    let whole = (seen.missing, seen.unexpected) == (0, 0);
    goals.check(
        format!("{shape}: every stream saw every change ({} missing, {} not for it)", seen.missing, seen.unexpected),
        whole,
    );
    let memory = format!("{shape}: {:.0} MB <= {:.0} MB", megabytes(peak), megabytes(MEMORY));
    goals.check(memory, peak > 0 && peak <= MEMORY);
}

/// The sites of the streams, and each writer's batches, of one row each, as it will send them.
fn prepare(plan: &Plan) -> (Vec<String>, Vec<Vec<Vec<u8>>>) {
    let mut authors: Vec<_> = (0..plan.writers).map(|_| Author::new()).collect();
    let mut sites: Vec<_> = authors.iter().map(Author::site).collect();
    sites.resize_with(plan.streams, || format!("{:032x}", fastrand::u128(..)));
    let mut batches = vec![Vec::new(); plan.writers];
    for write in 0..plan.writes {
        let writer = plan.writer(write);
        let batch = authors[writer].insert([marked(write)].into_iter());
        batches[writer].push(serde_json::to_vec(&batch).unwrap());
    }
    (sites, batches)
}

/// Sends each batch when it is due, or when the one before it of the same writer was answered. Returns the times from
/// when they were due to when they were answered.
async fn write(plan: &Plan, server: &Server, batches: Vec<Vec<Vec<u8>>>, begin: Instant) -> Times {
    let times = RefCell::new(Times::default());
    let writers = batches.into_iter().enumerate().map(|(writer, batches)| {
        let times = &times;
        async move {
            let (client, dbid) = (client(), plan.dbid(writer));
            for (round, batch) in batches.into_iter().enumerate() {
                let due = plan.due(begin, round * plan.writers + writer);
                tokio::time::sleep_until(due.into()).await;
                server.apply(&client, &dbid, "application/json", batch).await;
                times.borrow_mut().record(due.elapsed());
            }
        }
    });
    join_all(writers).await;
    times.into_inner()
}

/// What the readers saw.
#[derive(Default)]
struct Seen {
    /// From when a write was due to when a stream brought it.
    times: Times,
    /// Changes that did not come.
    missing: usize,
    /// Changes that came twice, or to a reader for whom they are not.
    unexpected: usize,
    bytes: u64,
}

/// Opens the streams, tells that they are open, and reads until all have seen all.
fn read(plan: &Plan, server: SocketAddr, sites: &[String], begin: &OnceLock<Instant>, open: &mpsc::Sender<()>) -> Seen {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let buffer = Buffer::default();
        let mut readers = Vec::new();
        for sites in sites.chunks(OPENING) {
            let first = readers.len();
            let opening = sites.iter().enumerate().map(|(n, site)| {
                let path = format!("/sync/{}/events?site={site}", plan.dbid(first + n));
                let buffer = &buffer;
                async move { Reader::open(server, &path, buffer).await.unwrap() }
            });
            readers.extend(join_all(opening).await);
        }
        open.send(()).unwrap();
        let seen = RefCell::new(Seen::default());
        let following = readers.into_iter().enumerate().map(|(n, reader)| follow(plan, n, reader, begin, &seen));
        // All stay open until the last one has seen all.
        let readers = join_all(following).await;
        let mut seen = seen.into_inner();
        seen.bytes = readers.iter().map(|reader| reader.bytes).sum();
        seen
    })
}

/// Reads stream `n` until it has brought all that is for it, or is silent for too long.
async fn follow(plan: &Plan, n: usize, mut reader: Reader, begin: &OnceLock<Instant>, seen: &RefCell<Seen>) -> Reader {
    let mut awaited: Vec<bool> = (0..plan.writes).map(|write| plan.is_for(n, write)).collect();
    let mut missing = awaited.iter().filter(|awaited| **awaited).count();
    let mut last = Instant::now();
    while missing > 0 {
        let patience = last + PATIENCE;
        let found = |write: usize| {
            let mut seen = seen.borrow_mut();
            match (awaited.get_mut(write), begin.get()) {
                (Some(awaited), Some(begin)) if *awaited => {
                    *awaited = false;
                    missing -= 1;
                    last = Instant::now();
                    seen.times.record(last.saturating_duration_since(plan.due(*begin, write)));
                }
                _ => seen.unexpected += 1,
            }
        };
        match timeout_at(patience.into(), reader.next(found)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    seen.borrow_mut().missing += missing;
    reader
}
