//! `assay-controller`: parses, runs and exits.

fn main() {}
