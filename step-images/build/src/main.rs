//! Builds the deterministic image.

fn main() {}
