//! The binary `crsql-sync`.

fn main() {}
