//! Rust bindings of the Tekton CRDs.
//!
//! The modules below `generated` are written by kopium from the CRDs of the pinned Tekton release (`hack/tools/kopium.sh`, called by
//! `hack/update`). Triggers' CRDs carry no schema: [`triggers`] is written by hand and holds what Assay uses.
//!
//! # Never for signatures
//! kopium orders members alphabetically and drops those it does not know. Checksums, signatures and comparisons of definitions are
//! computed over raw documents, by `assay_core::tekton`.

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod generated;
pub mod triggers;

pub use generated::{custom_run, pipeline, pipeline_run, step_action, task, task_run, verification_policy};

pub use custom_run::{CustomRun, CustomRunSpec, CustomRunStatus};
pub use pipeline::{Pipeline, PipelineSpec};
pub use pipeline_run::{PipelineRun, PipelineRunSpec, PipelineRunStatus};
pub use step_action::{StepAction, StepActionSpec};
pub use task::{Task, TaskSpec};
pub use task_run::{TaskRun, TaskRunSpec, TaskRunStatus};
pub use verification_policy::{VerificationPolicy, VerificationPolicySpec};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_tekton_wrote_are_read() {
        let run: PipelineRun =
            serde_json::from_str(include_str!("../../core/testdata/tekton-chains/run/pipelinerun-build-2.json")).unwrap();
        let children = run.status.and_then(|status| status.child_references).unwrap();
        let names: Vec<_> = children.iter().map(|child| (child.kind.as_deref(), child.name.as_deref())).collect();
        assert_eq!(names, [(Some("CustomRun"), Some("build-2-gate")), (Some("TaskRun"), Some("build-2-image"))]);
        let task: Task =
            serde_json::from_str(include_str!("../../core/testdata/tekton-chains/run/task-assay-image.json")).unwrap();
        assert_eq!(task.spec.params.unwrap()[0].name, "url");
        let run: CustomRun =
            serde_json::from_str(include_str!("../../core/testdata/tekton-chains/run/customrun-build-2-gate.json")).unwrap();
        let conditions = run.status.and_then(|status| status.conditions).unwrap();
        assert_eq!(conditions[0].status, "True");
    }
}
