//! Tests on a real cluster (`hack/cluster`): a namespace each, waits on conditions, everything collected on failure.
//!
//! A suite is a file in `tests/`; a test is a function that calls [`run`]:
//!
//! ```no_run
//! use assay_cluster_tests::{Needs, run};
//!
//! #[test]
//! fn a_task_run_succeeds() {
//!     run(Needs::Pods, async |test| {
//!         let busybox = test.env().busybox()?;
//!         let manifest = format!("
//! apiVersion: tekton.dev/v1
//! kind: TaskRun
//! metadata: {{name: first}}
//! spec: {{taskSpec: {{steps: [{{name: s, image: '{busybox}', script: 'true'}}]}}}}
//! ");
//!         let task_run = test.create(&manifest).await?;
//!         test.succeeded(&task_run).await?;
//!         Ok(())
//!     });
//! }
//! ```
//!
//! `hack/cluster test` runs the suites on the running cluster and says what time went into. A plain `cargo nextest run`
//! leaves them out by a filter of its profile (`.config/nextest.toml`) and counts them as skipped; started without a
//! cluster in any other way, each of them fails.

mod clock;
mod collect;
mod environment;
mod object;
mod process;
mod service;
mod supply;
mod tekton;
mod test;
mod wait;

pub use environment::{Environment, Needs};
pub use object::{Handle, documents, is_not_found};
pub use process::Background;
pub use supply::{Repository, Signer};
pub use tekton::{Condition, annotation, condition, results, text};
pub use test::{LIMIT, TEST_LABEL, Test, run, run_within};
pub use wait::Progress;
