//! A registry that does what a test tells it, byte by byte. It speaks just enough HTTP/1.1, one request per connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http::{Http, HttpConfig};
use crate::store::{Access, Connection, Logins, Patience, Registry};

/// What a client sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.split('?').next() == Some(path)
    }
}

/// What the server sends.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// `Content-Length`, where it is not the body's.
    length: Option<u64>,
    /// Sends the body again and again, without any length.
    endless: bool,
    /// Sends one byte at a time, with this pause.
    drip: Option<Duration>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), length: None, endless: false, drip: None }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::new(200);
        reply.body = body.into();
        reply
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    pub(crate) fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    pub(crate) fn drip(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }
}

/// A server on a loopback port of its own. It ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) port: u16,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen) = (Arc::new(handler), Arc::clone(&log));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                tokio::spawn(async move {
                    // Clients that hang up in the middle are part of the tests.
                    let _ = serve(stream, &*handler, &seen).await;
                });
            }
        });
        Self { port, log }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The repository `team/app` of this server, with no login.
    pub(crate) async fn registry(&self, access: Access) -> Registry {
        self.registry_with(access, Logins::none()).await
    }

    pub(crate) async fn registry_with(&self, access: Access, logins: Logins) -> Registry {
        Registry::open(&format!("127.0.0.1:{}/team/app", self.port).parse().unwrap(), access, &connection(logins)).await.unwrap()
    }

    /// A login `user:pass` for this server alone.
    pub(crate) fn logins(&self) -> (tempfile::TempDir, Logins) {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(r#"{{"auths":{{"127.0.0.1:{}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#, self.port);
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let logins = Logins { pull: Some(dir.path().to_owned()), push: Some(dir.path().to_owned()) };
        (dir, logins)
    }
}

pub(crate) fn connection(logins: Logins) -> Connection {
    Connection {
        http: Http::new(&HttpConfig::default()).unwrap(),
        logins,
        realms: Vec::new(),
        patience: Patience { request: Duration::from_secs(20), slowest: 64 * 1024, attempts: 3, pause: Duration::from_millis(5) },
    }
}

async fn serve(
    mut stream: TcpStream,
    handler: &(dyn Fn(&Request) -> Reply + Send + Sync),
    log: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.lines();
    let mut words = lines.next().unwrap().split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).await?;
    log.lock().unwrap().push(request.clone());
    let reply = handler(&request);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.endless {
        head.push_str(&format!("Content-Length: {}\r\n", reply.length.unwrap_or(reply.body.len() as u64)));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    if request.method != "HEAD" {
        if let Some(pause) = reply.drip {
            for byte in &reply.body {
                stream.write_u8(*byte).await?;
                tokio::time::sleep(pause).await;
            }
        }
        if reply.endless {
            loop {
                stream.write_all(&reply.body).await?;
            }
        }
        if reply.drip.is_none() {
            stream.write_all(&reply.body).await?;
        }
    }
    stream.shutdown().await
}
