//! The clock record of a row.
