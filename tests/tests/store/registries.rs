//! Real registries on loopback ports, each with storage of its own, ended with the test.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use assay_adapters::http::{Http, HttpConfig};
use assay_adapters::store::{Access, Connection, Logins, Patience, Registry, Store};
use assay_tests::root;

/// A registry that runs.
pub(crate) struct Running {
    pub(crate) host: String,
    process: Child,
    _storage: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    /// A repository of this registry.
    pub(crate) async fn store(&self, path: &str, access: Access) -> Store {
        self.store_with(path, access, Logins::none()).await
    }

    pub(crate) async fn store_with(&self, path: &str, access: Access, logins: Logins) -> Store {
        let repository = format!("{}/{path}", self.host).parse().unwrap();
        Store::Registry(Registry::open(&repository, access, &connection(logins)).await.unwrap())
    }
}

pub(crate) fn connection(logins: Logins) -> Connection {
    Connection {
        http: Http::new(&HttpConfig::default()).unwrap(),
        logins,
        realms: Vec::new(),
        patience: Patience { request: Duration::from_secs(60), ..Patience::default() },
    }
}

/// Debian's docker-registry 2.8: no referrers API, no paging of tags. `htpasswd` is the content of its password file, if it asks for one.
pub(crate) fn docker_registry(htpasswd: Option<&str>) -> Running {
    let storage = tempfile::tempdir().unwrap();
    // Another process may take the port between the two binds: then the next one is tried.
    for _ in 0..10 {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            storage.path().join("data").display()
        );
        if let Some(htpasswd) = htpasswd {
            let path = storage.path().join("htpasswd");
            std::fs::write(&path, htpasswd).unwrap();
            config.push_str(&format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", path.display()));
        }
        let file = storage.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry must be installed: apt-get install docker-registry");
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Running { host: format!("127.0.0.1:{port}"), process, _storage: storage };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = process.kill();
        let _ = process.wait();
    }
    panic!("docker-registry did not start");
}

/// The folder with `registry` and `crane`, built by `hack/tools/registry.sh`.
pub(crate) fn go_tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let output = Command::new(root().join("hack/tools/registry.sh")).output().unwrap();
        assert!(output.status.success(), "hack/tools/registry.sh failed: {}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// go-containerregistry's registry, with the referrers API.
pub(crate) fn referrers_registry() -> Running {
    let mut process = Command::new(go_tools().join("registry")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Running { host: line.trim().to_owned(), process, _storage: tempfile::tempdir().unwrap() }
}
