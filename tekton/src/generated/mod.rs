//! What kopium writes, one module for each kind.

pub mod custom_run;
pub mod pipeline;
pub mod pipeline_run;
pub mod step_action;
pub mod task;
pub mod task_run;
pub mod verification_policy;
