//! Git servers that lie, stall, send too much or send the gate elsewhere, before the gate's own client.

use std::sync::Arc;
use std::time::Duration;

use assay_core::digest::GitOid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::wire::{Quota, Remote, Wanted, WireError};
use super::{Cache, Carrier, GateError, SourceRequest, source};
use crate::http::{Http, HttpConfig};

const LONG: Duration = Duration::from_secs(30);
const MAIN: &str = "refs/heads/main";
const OID: &str = "1111111111111111111111111111111111111111";

/// One answer, to a request for this path with this body.
enum Answer {
    /// Status, content type, body.
    Whole(&'static str, &'static str, Vec<u8>),
    /// Nothing but this head.
    Head(String),
    /// This content type and body, then the same piece again and again.
    Endless(&'static str, Vec<u8>, Vec<u8>),
    /// This content type and body, then silence.
    Stalls(&'static str, Vec<u8>),
    /// This content type and body, then a byte now and then: never silent for long.
    Drips(&'static str, Vec<u8>),
}

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const RESULT: &str = "application/x-git-upload-pack-result";

fn packet(text: &[u8]) -> Vec<u8> {
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}

fn packets(texts: &[&str]) -> Vec<u8> {
    let mut all: Vec<u8> = texts.iter().flat_map(|text| packet(text.as_bytes())).collect();
    all.extend_from_slice(b"0000");
    all
}

fn capabilities() -> Answer {
    Answer::Whole(
        "200 OK",
        ADVERTISEMENT,
        packets(&["version 2\n", "ls-refs\n", "fetch=shallow filter\n", "object-format=sha1\n"]),
    )
}

/// A server on a loopback port; its address.
async fn server(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answer)));
        }
    });
    format!("http://{address}/team/app")
}

async fn serve(mut stream: TcpStream, answer: Arc<impl Fn(&str, &str) -> Answer>) -> Option<()> {
    let mut request = Vec::new();
    let (head, length) = loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(piece.get(..read)?);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            break (head.len() + 4, length.unwrap_or(0));
        }
    };
    while request.len() < head + length {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(piece.get(..read)?);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let path = head.split(' ').nth(1)?;
    let open = |kind: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
    match answer(path, body) {
        Answer::Whole(status, kind, body) => {
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
        }
        Answer::Head(head) => stream.write_all(head.as_bytes()).await.ok()?,
        Answer::Endless(kind, body, piece) => {
            stream.write_all(&[open(kind).as_bytes(), &body].concat()).await.ok()?;
            let many = piece.repeat(1 + 65_536 / piece.len());
            while stream.write_all(&many).await.is_ok() {}
        }
        Answer::Stalls(kind, body) => {
            stream.write_all(&[open(kind).as_bytes(), &body].concat()).await.ok()?;
            // Until the client goes.
            let _ = stream.read(&mut [0; 1]).await;
        }
        Answer::Drips(kind, body) => {
            stream.write_all(&[open(kind).as_bytes(), &body].concat()).await.ok()?;
            let mut often = tokio::time::interval(Duration::from_millis(20));
            while stream.write_all(b"0").await.is_ok() {
                often.tick().await;
            }
        }
    }
    Some(())
}

fn http() -> Http {
    Http::new(&HttpConfig::default()).unwrap()
}

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

fn wanted() -> Wanted {
    Wanted { oids: vec![OID.parse().unwrap()], ..Wanted::default() }
}

/// What connecting, listing and fetching come to.
async fn all(url: &str, quota: &Quota) -> Result<Vec<u8>, WireError> {
    let http = http();
    let remote = Remote::connect(&http, None, url, within(quota.time)).await?;
    remote.refs(&[MAIN]).await?;
    let mut pack = Vec::new();
    remote.pack(&wanted(), quota, &mut pack).await?;
    Ok(pack)
}

/// A server that behaves but for what `hostile` says about lists or packs.
async fn fetching(hostile: impl Fn() -> Answer + Send + Sync + 'static) -> String {
    server(move |path, body| match path.contains("info/refs") {
        true => capabilities(),
        false if body.contains("command=ls-refs") => Answer::Whole("200 OK", RESULT, packets(&[&format!("{OID} {MAIN}\n")])),
        false => hostile(),
    })
    .await
}

/// `packfile`, and a piece of a pack that says how many objects it has.
fn pack_head(objects: u32) -> Vec<u8> {
    let piece = [&[1][..], b"PACK", &2_u32.to_be_bytes(), &objects.to_be_bytes()].concat();
    [packet(b"packfile\n"), packet(&piece)].concat()
}

fn small() -> Quota {
    Quota { pack_bytes: 100_000, pack_objects: 1_000, time: LONG, ..Quota::default() }
}

#[tokio::test]
async fn what_a_server_should_say_is_understood() {
    let url = fetching(|| {
        let progress = packet(b"\x02counting\n");
        let body = [pack_head(3), progress, b"0000".to_vec()].concat();
        Answer::Whole("200 OK", RESULT, body)
    })
    .await;
    let pack = all(&url, &small()).await.unwrap();
    assert_eq!(pack, [&b"PACK"[..], &2_u32.to_be_bytes(), &3_u32.to_be_bytes()].concat());
}

#[tokio::test]
async fn threat_a_redirect_to_another_host_is_refused() {
    let elsewhere = fetching(|| Answer::Whole("200 OK", RESULT, Vec::new())).await;
    for target in [
        format!("{elsewhere}/info/refs?service=git-upload-pack"),
        "https://127.0.0.1/team/app/info/refs?service=git-upload-pack".to_owned(),
        "//evil.example.com/team/app/info/refs?service=git-upload-pack".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/somewhere?service=git-receive-pack".to_owned(),
        "/somewhere/else".to_owned(),
    ] {
        let url =
            server(move |_, _| Answer::Head(format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n")))
                .await;
        assert!(matches!(all(&url, &small()).await, Err(WireError::Redirect { .. })));
    }
    // In circles within its own host.
    let url = server(|path, _| {
        Answer::Head(format!("HTTP/1.1 302 Found\r\nlocation: {path}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
    })
    .await;
    assert!(matches!(all(&url, &small()).await, Err(WireError::Redirect { .. })));
    // After the first answer none is followed at all.
    let url = fetching(|| {
        Answer::Head("HTTP/1.1 307 Moved\r\nlocation: /other/git-upload-pack\r\ncontent-length: 0\r\n\r\n".to_owned())
    })
    .await;
    assert!(matches!(all(&url, &small()).await, Err(WireError::Redirect { .. })));
}

#[tokio::test]
async fn a_redirect_within_the_host_is_followed() {
    let url = server(|path, body| match path {
        "/team/app/info/refs?service=git-upload-pack" => Answer::Head(
            "HTTP/1.1 301 Moved\r\nlocation: /team/app.git/info/refs?service=git-upload-pack\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        "/team/app.git/info/refs?service=git-upload-pack" => capabilities(),
        "/team/app.git/git-upload-pack" if body.contains("ls-refs") => Answer::Whole("200 OK", RESULT, packets(&[])),
        "/team/app.git/git-upload-pack" => Answer::Whole("200 OK", RESULT, [pack_head(0), b"0000".to_vec()].concat()),
        _ => Answer::Whole("404 Not Found", "text/plain", Vec::new()),
    })
    .await;
    all(&url, &small()).await.unwrap();
}

#[tokio::test]
async fn threat_endless_lists_end_at_the_cap() {
    let refs = server(|path, _| match path.contains("info/refs") {
        true => capabilities(),
        false => Answer::Endless(RESULT, Vec::new(), packet(format!("{OID} refs/heads/main-and-more\n").as_bytes())),
    })
    .await;
    assert!(matches!(all(&refs, &small()).await, Err(WireError::Quota { unit: "bytes", .. })));
    let capable = server(|_, _| Answer::Endless(ADVERTISEMENT, packet(b"version 2\n"), packet(b"same=thing\n"))).await;
    assert!(matches!(all(&capable, &small()).await, Err(WireError::Quota { unit: "bytes", .. })));
    // Lines before the pack count too.
    let before = fetching(|| Answer::Endless(RESULT, Vec::new(), packet(b"shallow-info\n"))).await;
    assert!(matches!(all(&before, &small()).await, Err(WireError::Quota { unit: "bytes", .. })));
}

#[tokio::test]
async fn threat_a_pack_larger_than_allowed_is_cut_off() {
    let bytes = fetching(|| Answer::Endless(RESULT, pack_head(5), packet(&[&[1][..], &[0; 9_000]].concat()))).await;
    let found = all(&bytes, &small()).await.unwrap_err();
    assert!(matches!(found, WireError::Quota { limit: 100_000, unit: "bytes", .. }), "{found}");
    let objects = fetching(|| Answer::Stalls(RESULT, pack_head(1_001))).await;
    let found = all(&objects, &small()).await.unwrap_err();
    assert!(matches!(found, WireError::Quota { limit: 1_000, unit: "objects", .. }), "{found}");
    assert!(!found.is_transient());
    // Progress without end is no pack, but bytes all the same.
    let progress =
        fetching(|| Answer::Endless(RESULT, packet(b"packfile\n"), packet(&[&[2][..], &[b'.'; 60_000]].concat()))).await;
    assert!(matches!(all(&progress, &small()).await, Err(WireError::Quota { .. })));
}

#[tokio::test]
async fn threat_servers_that_stall_end_at_the_deadline() {
    let quota = Quota { time: Duration::from_millis(400), ..small() };
    let connect = server(|_, _| Answer::Stalls(ADVERTISEMENT, packet(b"version 2\n"))).await;
    let pack = fetching(|| Answer::Stalls(RESULT, pack_head(5))).await;
    let list = server(|path, _| match path.contains("info/refs") {
        true => capabilities(),
        false => Answer::Drips(RESULT, b"fff0".to_vec()),
    })
    .await;
    let pieces = fetching(|| Answer::Drips(RESULT, [packet(b"packfile\n"), b"fff0\x01".to_vec()].concat())).await;
    for url in [connect, pack, list, pieces] {
        let found = all(&url, &quota).await.unwrap_err();
        assert!(matches!(found, WireError::Deadline { .. }), "{found}");
        assert!(found.is_transient());
    }
}

#[tokio::test]
async fn what_is_no_git_protocol_is_refused() {
    let advertised = |body: Vec<u8>| server(move |_, _| Answer::Whole("200 OK", ADVERTISEMENT, body.clone()));
    for body in [
        b"zzzz".to_vec(),
        b"0003".to_vec(),
        b"+00a".to_vec(),
        b"00ff short".to_vec(),
        b"00".to_vec(),
        Vec::new(),
        packets(&["version 1\n"]),
        packets(&["version 2\n", "ls-refs\n"]),
        packets(&["version 2\n", "fetch\n", "object-format=md5\n"]),
        packets(&["# service=git-upload-pack\n", "version 2\n"]),
    ] {
        let url = advertised(body.clone()).await;
        let found = all(&url, &small()).await.unwrap_err();
        assert!(matches!(found, WireError::Protocol { .. }), "{body:?}: {found}");
    }
    let html = server(|_, _| Answer::Whole("200 OK", "text/html", packets(&["version 2\n", "fetch\n"]))).await;
    assert!(matches!(all(&html, &small()).await, Err(WireError::Protocol { .. })));
    for body in
        [b"0000".to_vec(), packets(&["acknowledgments\n"]), pack_head(2), [packet(b"packfile\n"), b"fff0\x01".to_vec()].concat()]
    {
        let url = fetching(move || Answer::Whole("200 OK", RESULT, body.clone())).await;
        assert!(matches!(all(&url, &small()).await, Err(WireError::Protocol { .. })));
    }
    let other = server(|path, _| match path.contains("info/refs") {
        true => capabilities(),
        false => Answer::Whole("200 OK", RESULT, packets(&[&format!("{} {MAIN}\n", "2".repeat(64))])),
    })
    .await;
    assert!(matches!(all(&other, &small()).await, Err(WireError::Protocol { .. })));
}

#[tokio::test]
async fn what_a_server_says_is_cut_and_has_no_control_characters() {
    let long = format!("ERR {}\x1b[2J", "no ".repeat(1_000));
    let url = fetching(move || Answer::Whole("200 OK", RESULT, packet(long.as_bytes()))).await;
    let found = all(&url, &small()).await.unwrap_err();
    assert!(matches!(&found, WireError::Remote { message, .. } if message.len() == 300 && !message.contains('\x1b')), "{found}");
    let url =
        fetching(|| Answer::Whole("200 OK", RESULT, [packet(b"packfile\n"), packet(b"\x03access \x07denied")].concat())).await;
    let found = all(&url, &small()).await.unwrap_err();
    assert!(matches!(&found, WireError::Remote { message, .. } if message == "access denied"), "{found}");
}

#[tokio::test]
async fn statuses_say_whether_to_ask_again() {
    for (status, transient) in
        [("500 Oops", true), ("429 Later", true), ("403 No", false), ("404 None", false), ("204 Nothing", false)]
    {
        let url = server(move |_, _| Answer::Whole(status, "text/plain", Vec::new())).await;
        let found = all(&url, &small()).await.unwrap_err();
        assert!(matches!(found, WireError::Status { .. }), "{found}");
        assert_eq!(found.is_transient(), transient, "{status}");
    }
}

#[tokio::test]
async fn addresses_that_are_not_spoken_to() {
    for url in
        ["ssh://git@example.com/a", "git://example.com/a", "file:///a", "http://example.com/a", "ext::sh -c x", "https://", "/a"]
    {
        let found = all(url, &small()).await.unwrap_err();
        assert!(matches!(found, WireError::Address { .. }), "{url}: {found}");
    }
    let found = all("http://user:secret@example.com/a?token=secret", &small()).await.unwrap_err();
    assert!(!found.to_string().contains("secret"), "{found}");
}

/// A pack of a real commit, for one who asks for another: whatever the server sends, the gate has the commit it asked for or nothing.
#[tokio::test]
async fn threat_a_server_that_gives_another_commit_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str], input: &[u8]| -> Vec<u8> {
        use std::io::Write as _;
        let mut child = std::process::Command::new("git")
            .current_dir(folder.path())
            .args(["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgSign=false"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        output.stdout
    };
    git(&["init", "-q", "-b", "main"], b"");
    std::fs::write(folder.path().join("a.txt"), "another\n").unwrap();
    git(&["add", "."], b"");
    git(&["commit", "-q", "-m", "another"], b"");
    let another = String::from_utf8(git(&["rev-parse", "HEAD"], b"")).unwrap();
    let pack = git(&["pack-objects", "--stdout", "--revs", "-q"], b"HEAD\n");
    let answer = move |pack: Vec<u8>| [packet(b"packfile\n"), packet(&[&[1][..], &pack].concat()), b"0000".to_vec()].concat();
    let broken = {
        let mut bytes = pack.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        bytes
    };
    for (bytes, expected) in [(pack, "SourceInvalid"), (broken, "SourceInvalid"), (b"PACK rubbish".to_vec(), "QuotaExceeded")] {
        let body = answer(bytes);
        let url = fetching(move || Answer::Whole("200 OK", RESULT, body.clone())).await;
        let kept = tempfile::tempdir().unwrap();
        let cache = Cache::new(kept.path(), 1_000_000).unwrap();
        let request = SourceRequest { url, revision: OID.to_owned(), reference: Some(MAIN.to_owned()), carrier: Carrier::Tree };
        let asked = request.read().unwrap();
        let found = source::fetch(&http(), None, &cache, &small(), &asked).await.unwrap_err();
        assert_eq!(found.reason(), expected, "{found}");
        assert!(!matches!(found, GateError::Refused { .. }) && OID.parse::<GitOid>().is_ok() && another.trim() != OID);
    }
}
