//! One test on the cluster: its namespace, its client, what it must leave behind nothing of.

use std::any::type_name;
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use futures::FutureExt as _;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ApiResource, DeleteParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::Scope;
use kube::{Api, Client, Config};
use serde_json::json;
use tempfile::TempDir;

use crate::clock::{Clock, seconds};
use crate::collect::collect;
use crate::environment::{Environment, Needs};
use crate::object::Handle;
use crate::process::Background;
use crate::wait::Progress;

/// The label of every namespace that a test made, with the test's name.
pub const TEST_LABEL: &str = "assay.dev/test";

/// How long a test may take in all, unless [`run_within`] says otherwise.
pub const LIMIT: Duration = Duration::from_secs(240);

/// One test on the cluster.
pub struct Test {
    name: String,
    namespace: String,
    client: Client,
    environment: Environment,
    folder: TempDir,
    clock: Clock,
    pub(crate) kinds: tokio::sync::Mutex<HashMap<(String, String), (ApiResource, Scope)>>,
    remove: Mutex<Vec<Handle>>,
    folders: Mutex<Vec<PathBuf>>,
    processes: Mutex<Vec<Background>>,
}

impl std::fmt::Debug for Test {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Test").field("name", &self.name).field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Runs one test: a namespace of its own before, everything collected if it fails, nothing left after.
///
/// # Panics
/// When the test fails, or cannot run because there is no cluster: that is a failure too.
pub fn run<F>(needs: Needs, body: F)
where
    F: AsyncFnOnce(&Test) -> Result<()>,
{
    run_within(LIMIT, needs, body);
}

/// [`run`] with another limit for the whole of the test.
///
/// # Panics
/// When the test fails, or cannot run because there is no cluster.
#[allow(clippy::panic, reason = "this is how a test fails")]
pub fn run_within<F>(limit: Duration, needs: Needs, body: F)
where
    F: AsyncFnOnce(&Test) -> Result<()>,
{
    let name = test_name(type_name::<F>());
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for {name}: {error}"),
    };
    if let Err(failure) = runtime.block_on(run_named(name, limit, needs, body)) {
        panic!("{failure:#}");
    }
}

async fn run_named<F>(name: String, limit: Duration, needs: Needs, body: F) -> Result<()>
where
    F: AsyncFnOnce(&Test) -> Result<()>,
{
    let began = Instant::now();
    let environment = Environment::from_process()?;
    environment.offers(needs)?;
    let test = Test::set_up(name, environment).await?;
    let outcome = tokio::time::timeout(limit, AssertUnwindSafe(body(&test)).catch_unwind()).await;
    let failure = match outcome {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error),
        Ok(Err(panic)) => Some(anyhow!("{}", panic_message(panic.as_ref()))),
        Err(_) => Some(anyhow!("not done within {} s; in progress: {}", limit.as_secs(), test.clock.unfinished())),
    };
    let failure = match failure {
        None => None,
        Some(error) => Some(test.explain(error).await),
    };
    test.tear_down(failure.is_some()).await;
    test.report(began, failure.is_none());
    failure.map_or(Ok(()), Err)
}

impl Test {
    async fn set_up(name: String, environment: Environment) -> Result<Self> {
        // An error means that it was done before, by another test of this process.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let clock = Clock::default();
        let client = Client::try_from(config(&environment).await?).context("make a client")?;
        let namespace = namespace_name(&name);
        let object = Namespace {
            metadata: ObjectMeta {
                name: Some(namespace.clone()),
                labels: Some(BTreeMap::from([(TEST_LABEL.to_owned(), label_value(&name))])),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("create namespace {namespace}"))?;
        let folder = tempfile::tempdir().context("make a folder")?;
        let test = Self {
            name,
            namespace,
            client,
            environment,
            folder,
            clock,
            kinds: tokio::sync::Mutex::default(),
            remove: Mutex::default(),
            folders: Mutex::default(),
            processes: Mutex::default(),
        };
        // Pods are refused in a namespace whose default account does not exist yet.
        let account = test.handle("v1", "ServiceAccount", "default").await?;
        test.wait(&account, Duration::from_secs(30), "exists", |found| match found {
            Some(_) => Progress::Done(()),
            None => Progress::Waiting("no such account".to_owned()),
        })
        .await?;
        Ok(test)
    }

    /// The test's name, as its failure folder and its report are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace that this test alone uses.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A client with the administrator's rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where the cluster's services are.
    #[must_use]
    pub fn env(&self) -> &Environment {
        &self.environment
    }

    /// A folder for the test's files, removed at the end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `work` and adds the time it took to the report.
    pub async fn timed<T>(&self, what: impl Into<String>, work: impl Future<Output = T>) -> T {
        self.clock.time(what, work).await
    }

    /// Has an object deleted when the test ends: for what lies outside the namespace and was not made by [`Self::create`].
    pub fn remove_at_end(&self, object: Handle) {
        lock(&self.remove).push(object);
    }

    /// Has a folder outside [`Self::folder`] removed when the test ends.
    pub(crate) fn remove_folder_at_end(&self, folder: PathBuf) {
        lock(&self.folders).push(folder);
    }

    pub(crate) fn keep(&self, process: Background) {
        lock(&self.processes).push(process);
    }

    /// A token of a service account in the test's namespace; an empty audience means the API server.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn token(&self, account: &str, audience: &str) -> Result<String> {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: if audience.is_empty() { Vec::new() } else { vec![audience.to_owned()] },
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), &self.namespace);
        let answer: TokenRequest = accounts
            .create_subresource("token", account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("a token for {account}"))?;
        Ok(answer.status.context("the server gave no token")?.token)
    }

    /// A client with the rights of a service account in the test's namespace.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn client_of(&self, account: &str) -> Result<Client> {
        let mut config = config(&self.environment).await?;
        config.auth_info =
            kube::config::AuthInfo { token: Some(self.token(account, "").await?.into()), ..kube::config::AuthInfo::default() };
        Client::try_from(config).context("make a client")
    }

    /// Collects everything and says where it lies.
    async fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let folder = failures_folder(&self.environment).join(&self.name);
        let logs: Vec<_> = lock(&self.processes).iter().map(|process| process.log().to_owned()).collect();
        let text = format!("{error:#}\n\n{}", serde_json::to_string_pretty(&self.clock.report()).unwrap_or_default());
        let collected =
            self.timed("collect", tokio::time::timeout(Duration::from_secs(60), collect(self, &folder, &text, &logs))).await;
        let place = match collected {
            Ok(Ok(())) => format!("objects, events and logs: {}", folder.display()),
            Ok(Err(problem)) => format!("collecting failed: {problem:#} (what there is: {})", folder.display()),
            Err(_) => format!("collecting took too long (what there is: {})", folder.display()),
        };
        anyhow!("{}: {error:#}\n{place}", self.name)
    }

    /// Removes what the test made. Nothing here makes a test fail: its verdict stands.
    async fn tear_down(&self, failed: bool) {
        lock(&self.processes).clear();
        if failed && self.environment.optional("ASSAY_CLUSTER_KEEP").is_some() {
            return;
        }
        let objects = std::mem::take(&mut *lock(&self.remove));
        for object in objects.iter().rev() {
            let _ = object.delete().await;
        }
        // Nobody waits for it: the next test has a namespace of another name.
        let namespaces: Api<Namespace> = Api::all(self.client());
        let _ = self.timed("delete", namespaces.delete(&self.namespace, &DeleteParams::background())).await;
        for folder in lock(&self.folders).drain(..) {
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    /// Writes what time was spent on to `$ASSAY_CLUSTER_REPORT`, for `hack/cluster test` to add up.
    fn report(&self, began: Instant, passed: bool) {
        let Some(folder) = self.environment.optional("ASSAY_CLUSTER_REPORT") else { return };
        let report = json!({
            "test": self.name, "passed": passed, "seconds": seconds(began.elapsed()), "spans": self.clock.report(),
        });
        let _ = std::fs::create_dir_all(folder);
        let _ = std::fs::write(Path::new(folder).join(format!("{}.json", self.name)), report.to_string());
    }
}

/// Where the folders of failed tests are made.
fn failures_folder(environment: &Environment) -> PathBuf {
    environment
        .optional("ASSAY_CLUSTER_FAILURES")
        .map_or_else(|| std::env::temp_dir().join("assay-cluster-failures"), PathBuf::from)
}

async fn config(environment: &Environment) -> Result<Config> {
    let path = environment.kubeconfig()?;
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("read {path}"))?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.with_context(|| format!("use {path}"))
}

/// `BINARY-MODULE-TEST` from the type of the test's closure: `suite::module::test::{{closure}}`.
fn test_name(closure: &str) -> String {
    let path = closure.split("::{{closure}}").next().unwrap_or(closure);
    path.replace("::", "-").replace('_', "-")
}

/// A name that no test had before: the test's last words, and the time in base 36.
fn namespace_name(test: &str) -> String {
    let nanoseconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    let mut number = (nanoseconds / 1000) ^ u128::from(std::process::id());
    let mut suffix = String::new();
    for _ in 0..7 {
        suffix.extend(char::from_digit(u32::try_from(number % 36).unwrap_or(0), 36));
        number /= 36;
    }
    let words: Vec<_> = test.split('-').filter(|word| !word.is_empty()).collect();
    let mut name = String::new();
    for word in words.iter().skip(1) {
        if name.len() + word.len() > 30 {
            break;
        }
        name.push_str(word);
        name.push('-');
    }
    format!("t-{name}{suffix}")
}

/// The part of a test's name that fits into a label.
fn label_value(name: &str) -> String {
    name.chars().take(63).collect::<String>().trim_matches('-').to_owned()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the test panicked")
        .to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{label_value, namespace_name, test_name};

    #[test]
    fn names_come_from_the_closure_and_fit() {
        let name = test_name("tekton::runs::a_task_run_with_a_script_a_result_and_a_workspace::{{closure}}");
        assert_eq!(name, "tekton-runs-a-task-run-with-a-script-a-result-and-a-workspace");
        let namespace = namespace_name(&name);
        // Tekton derives names from it that must stay below 63 characters.
        assert!(namespace.len() <= 45 && namespace.starts_with("t-runs-a-task-run-"), "{namespace}");
        assert_ne!(namespace, {
            std::thread::yield_now();
            namespace_name("other-test")
        });
        assert!(label_value(&"a-".repeat(50)).ends_with('a'));
    }
}
