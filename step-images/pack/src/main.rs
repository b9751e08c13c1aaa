//! Turns the declared output of a build into an OCI artifact of one deterministic layer.

fn main() {}
