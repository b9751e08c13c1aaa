//! For `hack/bench/scripts/nodes`: asks a verifier about its whole fleet every two seconds and judges all nodes, as a controller does.
//!
//!   nodes_fleet URL CREDENTIALS AGENTS TURNS
//!
//! Prints lines `NAME VALUE`: seconds of CPU for each turn, seconds until an answer is judged, peak memory in MiB.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use assay_adapters::keylime::{Credentials, Settings, Verifier};
use assay_controller::nodes::board::{Board, Clock, Heard, Round, Seen};
use assay_core::keylime::binding::{Binding, Node, NodeIdentity};
use assay_core::keylime::policy::Demand;
use assay_core::keylime::release::Releasers;
use assay_core::keylime::{AgentId, Bindings, Requirements};
use assay_core::time::Timestamp;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_secs(2);

fn binding(number: usize) -> Binding {
    let value = "0".repeat(64);
    Binding {
        name: format!("b{number}"),
        node: format!("n{number}"),
        identity: NodeIdentity::Uid(format!("u{number}")),
        verifier: "v".into(),
        agent: AgentId::from_hex(&format!("{number:064x}")).unwrap(),
        requirements: Requirements {
            pcrs: (0..8).map(|pcr: u8| (pcr.to_string(), [value.clone()].into())).collect(),
            measured_boot: Demand::NotRequired,
            runtime_policy: Demand::NotRequired,
            max_age_seconds: Some(30),
        },
    }
}

fn seen(number: usize) -> Seen {
    let node = Node { name: format!("n{number}"), uid: format!("u{number}"), provider_id: None };
    Seen { node, taints: None, resource_version: "1".into() }
}

/// Seconds of CPU this process took, and its peak memory in MiB.
fn spent() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    // A hundred ticks a second on every Linux that this runs on.
    (ticks / 100.0, peak.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0)
}

#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, credentials, agents, turns] = arguments.as_slice() else { panic!("URL CREDENTIALS AGENTS TURNS") };
    let (agents, turns): (usize, u32) = (agents.parse().unwrap(), turns.parse().unwrap());
    let verifier = Verifier::new(Settings::new("v", url, Credentials::in_folder(Path::new(credentials)))).unwrap();
    let nodes: Vec<Seen> = (0..agents).map(seen).collect();
    let board = Board::default();
    let releasers = Releasers { identities: Vec::new(), threshold: 1 };
    verifier.fleet().await.unwrap();
    let (before, _) = spent();
    let mut slowest = Duration::ZERO;
    for _ in 0..turns {
        let began = Instant::now();
        let fleet = verifier.fleet().await.unwrap();
        assert_eq!(fleet.agents.len(), agents);
        let clock = Some(Clock { date: fleet.date, at: tokio::time::Instant::now() });
        let heard = BTreeMap::from([("v".to_owned(), Heard { clock, fleet: Some(Arc::new(fleet)) })]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let now = Timestamp::from_seconds(i64::try_from(now).unwrap()).unwrap();
        // The controller makes these anew for each judgement too.
        let bindings = Bindings::new((0..agents).map(binding));
        let releases = BTreeMap::new();
        let (releasers, grace) = (&releasers, 300);
        board.judge(&Round { nodes: &nodes, bindings: &bindings, releases: &releases, heard: &heard, releasers, grace, now });
        let trusted = board.all().iter().filter(|(_, record)| record.trusted).count();
        assert_eq!(trusted, agents, "all of them pass");
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(INTERVAL.saturating_sub(began.elapsed())).await;
    }
    let (after, peak) = spent();
    println!("cpu_seconds_per_turn {:.3}", (after - before) / f64::from(turns));
    println!("slowest_turn_seconds {:.3}", slowest.as_secs_f64());
    println!("peak_mib {peak:.0}");
}
