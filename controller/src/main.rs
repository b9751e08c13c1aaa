//! `assay-controller`: parses, runs and exits.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use assay_controller::config::{Command, Config};
use assay_controller::roles::{self, Context};
use assay_controller::{api, telemetry};

fn main() -> ExitCode {
    // Before anything that speaks TLS: whoever comes first decides for the whole process.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    let config = Config::from_arguments();
    if matches!(config.command, Some(Command::Crds)) {
        return print(&api::manifests());
    }
    telemetry::start(&config.log);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "stopped");
            ExitCode::FAILURE
        }
    }
}

fn print(manifests: &Result<String, api::ManifestError>) -> ExitCode {
    use std::io::Write as _;
    match manifests {
        Ok(text) if std::io::stdout().lock().write_all(text.as_bytes()).is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn serve(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let client = kube::Client::try_default().await.context("find the cluster")?;
        let context = Arc::new(Context::new(client, config));
        let (trigger, shutdown) = roles::shutdown();
        tokio::spawn(async move {
            let signal = roles::termination().await;
            tracing::info!(signal, "stopping");
            trigger.request();
        });
        telemetry::serve(&context, &shutdown).await.context("serve metrics and probes")?;
        roles::run_all(&context, &shutdown).await.map_err(anyhow::Error::from_boxed)
    })
}
