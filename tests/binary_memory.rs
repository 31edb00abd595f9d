//! What a batch in the binary form takes in memory is bounded by the bytes that it came in.
//!
//! A test file of its own, since it counts what the whole process allocates. The same body runs natively and in wasm.
#![allow(missing_docs, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crsql_sync::sync::Batch;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// Bytes of memory for a byte of the batch, at the most.
const FACTOR: usize = 40;
const SIZE: usize = 1 << 20;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// What an allocator takes for so many bytes: some for itself, and then up to a multiple of 16.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16)
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(taken(layout), Relaxed) + taken(layout);
        MOST.fetch_max(held, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(taken(layout), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

/// The most that reading took at a time, and whether it was a batch.
fn memory(bytes: &[u8]) -> (usize, bool) {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let batch = Batch::from_binary(bytes);
    (MOST.load(Relaxed) - before, batch.is_ok())
}

fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A batch of one site and these fields.
fn batch(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\xfecrb\x01\x01\x01\x01\x02\x100123456789abcdef".to_vec();
    for (tag, field) in fields {
        bytes.extend([vec![*tag], number(field.len()), field.clone()].concat());
    }
    bytes.push(0);
    bytes
}

/// A batch of `count` changes of one transaction, with these columns in place of the shortest ones.
fn changes(count: usize, columns: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let one_row = [(36, vec![0]), (37, number(count)), (38, vec![1]), (39, vec![0]), (40, vec![0])];
    let one_transaction = [(32, vec![0]), (33, vec![2]), (34, number(count)), (35, vec![0; count])];
    let nulls = [(42, vec![0; count]), (43, vec![1; count]), (44, vec![5; count])];
    let mut fields = vec![(3, vec![0])];
    fields.extend(one_transaction.into_iter().chain(one_row).chain(nulls));
    for (tag, column) in columns {
        fields.retain(|(known, _)| known != tag);
        fields.push((*tag, column.clone()));
    }
    fields.sort_by_key(|(tag, _)| *tag);
    batch(&fields)
}

#[test]
fn no_batch_takes_more_memory_than_a_small_multiple_of_its_bytes() {
    let n = SIZE / 4;
    let rows = |key: Vec<u8>, shared: u8| {
        let own: Vec<u8> = std::iter::once(key.len() as u8).chain(vec![0; n - 1]).collect();
        let shared = std::iter::once(0).chain(vec![shared; n - 1]).collect();
        [(36, vec![0; n]), (37, vec![1; n]), (38, vec![1; n]), (39, shared), (40, own), (41, key)]
    };
    let names: Vec<u8> = (0..n).flat_map(number).collect();
    let mut sites: Vec<u8> = b"0123456789abcdef".to_vec();
    let mut clock = Vec::new();
    for site in 1..n {
        sites.extend((site as u128).to_be_bytes());
        clock.extend([number(site), vec![1, 0, 0]].concat());
    }
    let mut of_sites = b"\xfecrb\x01\x01\x01\x01\x02".to_vec();
    of_sites.extend([number(sites.len()), sites, vec![9], number(clock.len()), clock, vec![0]].concat());

    let batches = [
        ("changes", changes(n, &[])),
        ("texts", changes(n, &[(44, vec![1 << 3 | 3; n]), (45, vec![b'a'; n])])),
        ("empty blobs", changes(n, &[(44, vec![4; n])])),
        ("rows", changes(n, &rows(vec![], 0))),
        ("rows with keys of 127 bytes", changes(n, &rows(vec![7; 127], 127))),
        ("names", changes(n, &[(3, vec![0; n]), (42, names)])),
        ("names that nothing uses", batch(&[(3, vec![0; SIZE])])),
        ("sites", of_sites),
        ("ranges", batch(&[(9, [vec![0], number(n), vec![0; 2 * n]].concat())])),
        ("pieces", batch(&[(10, [0, 1, 0, 0].repeat(n))])),
        ("pieces of one range", batch(&[(10, [0, 1, 0, 1, 0, 0].repeat(n))])),
        ("fields that are not known", batch(&[(14, vec![0; SIZE])])),
        ("more changes than there are", changes(1, &[(34, number(1 << 30)), (37, number(1 << 30))])),
        ("a longer value than there is", changes(1, &[(44, number(1 << 30 | 4))])),
        ("more ranges than there are", batch(&[(9, [vec![0], number(1 << 30), vec![0]].concat())])),
    ];
    for (name, bytes) in batches {
        let (taken, read) = memory(&bytes);
        let factor = taken as f64 / bytes.len() as f64;
        println!("{name:<40}{:>10} bytes, {factor:5.1} times as much memory, read: {read}", bytes.len());
        assert!(taken <= bytes.len() * FACTOR, "{name}: {factor}");
    }
}
