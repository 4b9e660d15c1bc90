//! Tests of the whole stack live in `tests/`; benchmarks stand on `src/bin/floor.rs`.
