//! Any bytes as a batch in the binary form: never a panic, and what is read is written and read again as the same batch.
#![no_main]

use crsql_sync::sync::Batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(batch) = Batch::from_binary(bytes) else { return };
    let written = batch.to_binary();
    let read = Batch::from_binary(&written).expect("what was written is read");
    assert_eq!(read, batch);
    // Zeros of both signs are equal; their bytes are not.
    assert_eq!(read.to_binary(), written);
    let text = serde_json::to_string(&batch).expect("what is read can be written as JSON");
    assert_eq!(serde_json::from_str::<Batch>(&text).expect("that JSON is read"), batch);
});
