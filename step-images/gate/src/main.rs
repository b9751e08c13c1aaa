//! Repeats the gate's check in a pod, so that Chains signs it.

fn main() {}
