//! Settings of the triggers role.

use std::net::SocketAddr;

/// Triggers: events from git hosts, and the comparison with git
#[derive(Debug, Clone, clap::Args)]
#[group(id = "triggers")]
pub struct Settings {
    /// Where Tekton Triggers reaches the interceptor, over TLS
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8444")]
    pub interceptor_address: SocketAddr,
    /// Address the interceptor is announced under, such as https://10.0.0.1:8444; the Service assay-interceptor if none is given
    #[arg(long, value_name = "URL")]
    pub interceptor_url: Option<String>,
    /// Name of the ClusterInterceptor, which Triggers refer to; another one for a second controller in the same cluster
    #[arg(long, value_name = "NAME", default_value = "assay")]
    pub interceptor_name: String,
    /// Address of the EventListener that missed events are sent to; {namespace} is the SourceRepository's
    #[arg(long, value_name = "URL", default_value = "http://el-assay.{namespace}.svc:8080")]
    pub event_listener: String,
    /// Where CloudEvents about builds are sent; nowhere if none is given
    #[arg(long, value_name = "URL")]
    pub cloud_events: Option<String>,
}

impl Settings {
    /// The EventListener for SourceRepositories of a namespace.
    #[must_use]
    pub fn listener(&self, namespace: &str) -> String {
        self.event_listener.replace("{namespace}", namespace)
    }
}
