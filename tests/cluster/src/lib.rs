//! Tests on a real cluster (`hack/cluster`): a namespace each, waits on conditions, everything collected on failure.
