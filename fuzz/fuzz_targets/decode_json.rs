//! Any text as a batch in JSON: never a panic, and what is read is written and read again as the same batch.
#![no_main]

use crsql_sync::sync::Batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(batch) = serde_json::from_slice::<Batch>(text) else { return };
    let written = serde_json::to_string(&batch).expect("what is read can be written");
    let read = serde_json::from_str::<Batch>(&written).expect("what was written is read");
    assert_eq!(read, batch);
    assert_eq!(serde_json::to_string(&read).expect("what is read can be written"), written);
    assert_eq!(Batch::from_binary(&batch.to_binary()), Ok(batch));
});
