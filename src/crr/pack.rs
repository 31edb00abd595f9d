//! Packed values: the form of primary keys in `crsql_changes`.
