//! Requests to services of the cluster. Their addresses exist inside only, so the API server passes requests on.

use anyhow::{Context as _, Result};
use http::Request;

use crate::test::Test;

impl Test {
    /// Posts `body` to `SERVICE:PORT` in the test's namespace, by plain HTTP, and gives back the answer's body.
    ///
    /// # Errors
    /// When the service cannot be reached yet, or answers with a status other than 2xx.
    pub async fn post(&self, service: &str, port: u16, headers: &[(&str, &str)], body: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{}/services/http:{service}:{port}/proxy/", self.namespace());
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.as_bytes().to_vec()).context("make the request")?;
        self.client().request_text(request).await.with_context(|| format!("post to {service}:{port}"))
    }
}
