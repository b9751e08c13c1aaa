//! What all steps share: parameters, results within Tekton's limits, exit codes by reason, logs, credentials.
