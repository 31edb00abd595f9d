use proptest::prelude::*;

use super::*;
use crate::store::idb::model::{FAULTS, Fault, Model};

/// Small enough for a property test to meet each of them often.
const SMALL: Limits = Limits { due: Extent { records: 3, bytes: 20_000 }, full: Extent { records: 6, bytes: 120_000 } };

#[derive(Clone, Debug)]
enum Step {
    Write { offset: u64, len: usize, fill: u8 },
    SetSize(u64),
    Commit(Option<Fault>),
    Checkpoint(Option<Fault>),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = || prop_oneof![4 => Just(None), 1 => prop::sample::select(FAULTS.to_vec()).prop_map(Some)];
    let page = (0..150u64, 1..4usize, any::<u8>());
    let bytes = (0..600_000u64, 1..5_000usize, any::<u8>());
    prop_oneof![
        4 => page.prop_map(|(page, pages, fill)| Step::Write { offset: page * 4096, len: pages * 4096, fill }),
        2 => bytes.prop_map(|(offset, len, fill)| Step::Write { offset, len, fill }),
        1 => (0..600_000u64).prop_map(Step::SetSize),
        1 => (0..150u64).prop_map(|page| Step::SetSize(page * 4096)),
        4 => fault().prop_map(Step::Commit),
        1 => fault().prop_map(Step::Checkpoint),
    ]
}

fn bytes_of(image: &Image) -> Vec<u8> {
    let mut bytes = vec![0xEE; image.size() as usize];
    assert_eq!(image.read(&mut bytes, 0), bytes.len());
    bytes
}

/// The store under test, beside plain byte strings that say what it must hold.
struct Bench {
    model: Model,
    image: Image,
    log: Log,
    memory: Vec<u8>,
    durable: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let model = Model::default();
        let (image, log) = model.load(SMALL);
        Self { model, image, log, memory: Vec::new(), durable: Vec::new() }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Write { offset, len, fill } => {
                let bytes: Vec<u8> = (0..len).map(|i| fill.wrapping_add((i / 700) as u8)).collect();
                self.image.write(&bytes, offset).unwrap();
                let end = offset as usize + len;
                self.memory.resize(self.memory.len().max(end), 0);
                self.memory[offset as usize..end].copy_from_slice(&bytes);
            }
            Step::SetSize(size) => {
                self.image.set_size(size).unwrap();
                self.memory.resize(size as usize, 0);
            }
            Step::Commit(fault) => {
                if let Some(write) = self.log.prepare(&mut self.image) {
                    self.execute(write, fault);
                }
            }
            Step::Checkpoint(fault) => {
                let write = self.log.checkpoint(&mut self.image);
                self.execute(write, fault);
            }
        }
    }

    fn execute(&mut self, write: Write, fault: Option<Fault>) {
        assert_eq!(bytes_of(&self.image), self.memory);
        assert_eq!(write.generation(), self.log.current(&self.image), "a write takes all that is dirty");
        let outcome = self.model.execute(&write, &self.image, fault);
        if matches!(fault, None | Some(Fault::After)) {
            self.durable.clone_from(&self.memory);
        }
        if outcome.is_err() {
            self.reload();
        }
        assert!(self.model.records() <= SMALL.full.records);
    }

    /// What a new process sees.
    fn reload(&mut self) {
        (self.image, self.log) = self.model.load(SMALL);
        self.memory.clone_from(&self.durable);
        assert_eq!(bytes_of(&self.image), self.durable);
        assert!(!self.image.is_dirty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_point_reloads_to_exactly_the_last_durable_commit(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.run(step);
        }
        bench.reload();
    }
}

#[test]
fn a_commit_without_changes_writes_nothing() {
    let mut bench = Bench::new();
    bench.run(Step::Write { offset: 0, len: 10, fill: 1 });
    assert!(bench.log.prepare(&mut bench.image).is_some());
    let generation = bench.log.current(&bench.image);
    bench.run(Step::Write { offset: 0, len: 10, fill: 1 });
    assert!(bench.log.prepare(&mut bench.image).is_none());
    assert_eq!(bench.log.current(&bench.image), generation);
}

#[test]
fn a_log_asks_for_a_checkpoint_when_it_is_long_and_is_empty_after_it() {
    let mut bench = Bench::new();
    for fill in 1..=SMALL.due.records as u8 + 1 {
        assert!(!bench.log.is_checkpoint_due());
        bench.run(Step::Write { offset: 0, len: 1, fill });
        bench.run(Step::Commit(None));
    }
    assert!(bench.log.is_checkpoint_due());
    bench.run(Step::Checkpoint(None));
    assert!(!bench.log.is_checkpoint_due());
    assert_eq!(bench.model.records(), 0);
    bench.reload();
}

#[test]
fn a_log_that_nobody_checkpoints_stays_bounded() {
    let mut bench = Bench::new();
    for fill in 0..100 {
        bench.run(Step::Write { offset: 0, len: 1, fill });
        bench.run(Step::Commit(None));
        assert!(bench.model.records() <= SMALL.full.records);
    }
}

#[test]
fn a_missing_log_record_is_damage_not_an_older_state() {
    let mut bench = Bench::new();
    for fill in 1..4 {
        bench.run(Step::Write { offset: 0, len: 1, fill });
        bench.run(Step::Commit(None));
    }
    bench.model.remove_record(1);
    let mut restore = Restore::new(None, SMALL).unwrap();
    let outcomes: Vec<bool> = bench.model.raw_records().map(|r| restore.record(r).is_ok()).collect();
    assert_eq!(outcomes, [true, false]);
}

#[test]
fn a_head_of_another_format_is_refused() {
    let mut head = Head::default().encode();
    assert!(Head::decode(&head).is_ok());
    head[0] += 1;
    assert!(Head::decode(&head).is_err());
    assert!(Head::decode(&head[..5]).is_err());
}

#[test]
fn a_missing_chunk_is_damage() {
    let head = Head { generation: Generation::new(3), size: CHUNK as u64 + 5 };
    let mut restore = Restore::new(Some(&head.encode()), SMALL).unwrap();
    assert_eq!(restore.chunks(), 2);
    restore.chunk(vec![0; CHUNK]).unwrap();
    assert!(restore.chunk(vec![0; 4]).is_err());
    assert!(restore.finish().is_err());
}
