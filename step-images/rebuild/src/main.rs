//! Repeats a build from its evidence and compares.

fn main() {}
