//! Writes and validates the result SBOM.

fn main() {}
