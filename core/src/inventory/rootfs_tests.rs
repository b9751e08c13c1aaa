//! Layers, whiteouts, links, hostile archives.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::root::Root;
use super::rootfs::{InMemory, Limits, RootfsError, Walk};

/// What a tar entry of a test is.
#[derive(Debug, Clone)]
pub(crate) enum Item<'a> {
    File(&'a [u8]),
    Dir,
    Link(&'a str),
    Hard(&'a str),
}

/// A ustar archive, written by hand so that it can be as hostile as wanted.
pub(crate) fn tar(entries: &[(&str, Item<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, item) in entries {
        let (flag, link, data): (u8, &str, &[u8]) = match item {
            Item::File(data) => (b'0', "", data),
            Item::Dir => (b'5', "", b""),
            Item::Link(target) => (b'2', target, b""),
            Item::Hard(target) => (b'1', target, b""),
        };
        let mut header = [0_u8; 512];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[148..156].copy_from_slice(b"        ");
        header[156] = flag;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend([0; 1024]);
    out
}

pub(crate) fn walk(layers: &[Vec<u8>], limits: Limits) -> Result<Root, RootfsError> {
    let mut spill = InMemory;
    let mut walk = Walk::new(&mut spill, limits);
    for layer in layers {
        walk.layer(layer.as_slice())?;
    }
    walk.finish()
}

pub(crate) fn root(layers: &[Vec<u8>]) -> Root {
    walk(layers, Limits::default()).unwrap()
}

/// Path to (layer, first bytes of the SHA-256) of everything visible.
fn files(root: &mut Root) -> BTreeMap<String, u32> {
    root.rewind().unwrap();
    let mut found = BTreeMap::new();
    while let Some(file) = root.next_file().unwrap() {
        assert!(found.insert(String::from_utf8(file.record.path).unwrap(), file.record.layer).is_none());
    }
    found
}

fn names(layers: &[Vec<u8>]) -> Vec<String> {
    files(&mut root(layers)).into_iter().map(|(path, layer)| format!("{path}@{layer}")).collect()
}

#[test]
fn upper_layers_win_and_whiteouts_remove() {
    let one = tar(&[
        ("./a", Item::File(b"1")),
        ("d/", Item::Dir),
        ("d/x", Item::File(b"x")),
        ("d/y", Item::File(b"y")),
        ("d.txt", Item::File(b"")),
    ]);
    let two = tar(&[("a", Item::File(b"2")), ("d/.wh.x", Item::File(b""))]);
    assert_eq!(names(&[one.clone(), two.clone()]), ["a@1", "d.txt@0", "d/y@0"]);
    let three = tar(&[(".wh.d", Item::File(b"")), ("e", Item::File(b""))]);
    assert_eq!(names(&[one.clone(), two.clone(), three]), ["a@1", "d.txt@0", "e@2"]);
    let opaque = tar(&[("d/.wh..wh..opq", Item::File(b"")), ("d/z", Item::File(b"z"))]);
    assert_eq!(names(&[one.clone(), opaque]), ["a@0", "d.txt@0", "d/z@1"]);
    let root_opaque = tar(&[(".wh..wh..opq", Item::File(b"")), ("q", Item::File(b""))]);
    assert_eq!(names(&[one.clone(), root_opaque]), ["q@1"]);
    // A whiteout says nothing about its own layer, whatever the order.
    let same = tar(&[("a", Item::File(b"3")), (".wh.a", Item::File(b""))]);
    assert_eq!(names(&[one, same]), ["a@1", "d.txt@0", "d/x@0", "d/y@0"]);
}

#[test]
fn what_replaces_a_directory_hides_what_was_in_it() {
    let one = tar(&[("d/", Item::Dir), ("d/x", Item::File(b"x"))]);
    let file = tar(&[("d", Item::File(b"now a file"))]);
    assert_eq!(names(&[one.clone(), file.clone()]), ["d@1"]);
    let again = tar(&[("d/", Item::Dir), ("d/y", Item::File(b"y"))]);
    assert_eq!(names(&[one, file, again]), ["d/y@2"]);
}

#[test]
fn lesson_l11_links_are_not_followed_and_entries_below_them_are_said() {
    let one = tar(&[("etc", Item::Link("/host/etc")), ("etc/passwd", Item::File(b"x"))]);
    let mut root = root(&[one]);
    assert_eq!(files(&mut root).into_keys().collect::<Vec<_>>(), ["etc", "etc/passwd"]);
    assert!(root.notes.iter().any(|note| note.path == "etc/passwd" && note.text.contains("no directory")));
}

#[test]
fn lesson_l11_paths_that_climb_refuse_the_image() {
    for path in ["../x", "a/../../x", "a/..", "/../x"] {
        assert!(matches!(walk(&[tar(&[(path, Item::File(b""))])], Limits::default()), Err(RootfsError::Path { .. })), "{path}");
    }
    let hard = tar(&[("x", Item::Hard("../etc/shadow"))]);
    assert!(matches!(walk(&[hard], Limits::default()), Err(RootfsError::Path { .. })));
    assert!(walk(&[tar(&[(".wh...", Item::File(b""))])], Limits::default()).is_err());
}

#[test]
fn hard_links_have_their_targets_content() {
    let one = tar(&[("b", Item::File(b"content")), ("a", Item::Hard("b")), ("c", Item::Hard("./a"))]);
    let two = tar(&[("z", Item::Hard("b")), ("gone", Item::Hard("nothing"))]);
    let mut root = root(&[one, two]);
    let mut hashes = std::collections::BTreeSet::new();
    let mut paths = Vec::new();
    while let Some(file) = root.next_file().unwrap() {
        hashes.insert(file.record.sha256);
        paths.push(String::from_utf8(file.record.path).unwrap());
    }
    assert_eq!(paths, ["a", "b", "c", "z"]);
    assert_eq!(hashes.len(), 1);
    assert_eq!(root.notes.len(), 1);
}

#[test]
fn lesson_l9_bombs_and_crowds_are_refused() {
    let many: Vec<(String, Item<'_>)> = (0..50).map(|n| (format!("f{n}"), Item::File(b""))).collect();
    let many: Vec<(&str, Item<'_>)> = many.iter().map(|(path, item)| (path.as_str(), item.clone())).collect();
    let limits = Limits { entries: 49, ..Limits::default() };
    assert!(walk(&[tar(&many)], limits).is_err());
    assert!(walk(&[tar(&many)], Limits { entries: 50, ..Limits::default() }).is_ok());
    let zeros = vec![0; 1 << 20];
    let bomb = tar(&[("zeros", Item::File(&zeros))]);
    assert!(walk(&[bomb], Limits { bytes: 1 << 19, ..Limits::default() }).is_err());
    let links = tar(&[("a", Item::File(b"")), ("b", Item::Hard("a")), ("c", Item::Hard("a"))]);
    assert!(walk(&[links], Limits { hard_links: 1, ..Limits::default() }).is_err());
    assert!(walk(&vec![tar(&[]); 3], Limits { layers: 2, ..Limits::default() }).is_err());
}

#[test]
fn cut_layers_are_errors() {
    let whole = tar(&[("a", Item::File(&[7; 600])), ("b", Item::File(b"x"))]);
    for length in [0, 100, 512, 700, 1024, 1600] {
        if length > 0 {
            assert!(walk(&[whole[..length].to_vec()], Limits::default()).is_err() || length % 512 == 0, "{length}");
        }
    }
    assert!(walk(&[whole[..700].to_vec()], Limits::default()).is_err());
}

fn status(packages: &[(&str, &str)]) -> Vec<u8> {
    packages
        .iter()
        .flat_map(|(n, v)| {
            format!("Package: {n}\nStatus: install ok installed\nVersion: {v}\nArchitecture: amd64\n\n").into_bytes()
        })
        .collect()
}

#[test]
fn packages_of_the_final_root_with_the_layer_that_brought_them() {
    let os = b"ID=debian\nVERSION_ID=\"12\"\n";
    let first = status(&[("bash", "5.2"), ("dash", "0.5")]);
    let second = status(&[("bash", "5.2"), ("curl", "7.88")]);
    let one = tar(&[
        ("usr/lib/os-release", Item::File(os)),
        ("bin", Item::Link("usr/bin")),
        ("usr/bin/bash", Item::File(b"#!")),
        ("var/lib/dpkg/status", Item::File(&first)),
        ("var/lib/dpkg/info/bash.list", Item::File(b"/.\n/bin\n/bin/bash\n")),
    ]);
    let two = tar(&[
        ("var/lib/dpkg/status", Item::File(&second)),
        ("app/node_modules/x/package.json", Item::File(br#"{"name":"x","version":"1.0.0"}"#)),
    ]);
    let mut root = root(&[one, two]);
    let found: Vec<(String, u32)> = root.packages.iter().map(|p| (p.purl.clone(), p.layer)).collect();
    assert_eq!(
        found,
        [
            ("pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12".to_owned(), 0),
            ("pkg:deb/debian/curl@7.88?arch=amd64&distro=debian-12".to_owned(), 1),
            ("pkg:npm/x@1.0.0".to_owned(), 1),
        ]
    );
    let mut owners = BTreeMap::new();
    while let Some(file) = root.next_file().unwrap() {
        owners.insert(
            String::from_utf8(file.record.path).unwrap(),
            file.owner.map(|index| root.packages[index].package.name.clone()),
        );
    }
    assert_eq!(owners["usr/bin/bash"].as_deref(), Some("bash"));
    assert_eq!(owners["app/node_modules/x/package.json"].as_deref(), Some("x"));
    assert_eq!(owners["usr/lib/os-release"], None);
}

#[test]
fn removed_databases_name_no_packages_and_broken_ones_are_said() {
    let one = tar(&[("var/lib/dpkg/status", Item::File(&status(&[("bash", "5")])))]);
    let removed = tar(&[("var/lib/.wh.dpkg", Item::File(b""))]);
    assert!(root(&[one.clone(), removed]).packages.is_empty());
    let broken = tar(&[("var/lib/dpkg/status", Item::File(b"Package: x\n"))]);
    let found = root(&[one.clone(), broken]);
    assert!(found.packages.is_empty());
    assert_eq!(found.notes.len(), 1);
    let linked = tar(&[(".wh.var", Item::File(b"")), ("var/lib/dpkg/status", Item::Link("/elsewhere"))]);
    assert!(root(&[one, linked]).notes.iter().any(|note| note.text.contains("symbolic link")));
}

/// A plain model of layers: a map of paths, changed layer by layer.
fn model(layers: &[Vec<Op>]) -> BTreeMap<String, u32> {
    let mut root: BTreeMap<String, u32> = BTreeMap::new();
    for (number, ops) in layers.iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        for op in ops {
            if let Op::Whiteout(path) = op {
                root.retain(|have, layer| *layer == number || !(have == path || have.starts_with(&format!("{path}/"))));
            }
            if let Op::Opaque(path) = op {
                root.retain(|have, layer| *layer == number || !have.starts_with(&format!("{path}/")));
            }
        }
        for op in ops {
            if let Op::File(path) = op {
                root.retain(|have, _| !have.starts_with(&format!("{path}/")));
                // A file below a file makes the upper one a directory.
                let parents: Vec<String> = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
                if parents.iter().all(|parent| !root.contains_key(parent)) {
                    root.insert(path.clone(), number);
                }
            }
        }
    }
    root
}

#[derive(Debug, Clone)]
enum Op {
    File(String),
    Whiteout(String),
    Opaque(String),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Files have two parts, so that no file lies below a file: that case has its own test.
    let file = "[ab]/[xyz]".prop_map(Op::File);
    let whiteout = prop_oneof!["[ab]/[xyz]".prop_map(Op::Whiteout), "[ab]".prop_map(Op::Whiteout)];
    let opaque = "[ab]".prop_map(Op::Opaque);
    proptest::collection::vec(prop_oneof![4 => file, 2 => whiteout, 1 => opaque], 0..6)
}

fn tar_of(ops: &[Op]) -> Vec<u8> {
    let entries: Vec<(String, Item<'_>)> = ops
        .iter()
        .map(|op| match op {
            Op::File(path) => (path.clone(), Item::File(b"data")),
            Op::Opaque(path) => (format!("{path}/.wh..wh..opq"), Item::File(b"")),
            Op::Whiteout(path) => match path.rsplit_once('/') {
                Some((parent, name)) => (format!("{parent}/.wh.{name}"), Item::File(b"")),
                None => (format!(".wh.{path}"), Item::File(b"")),
            },
        })
        .collect();
    tar(&entries.iter().map(|(path, item)| (path.as_str(), item.clone())).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn whiteouts_agree_with_a_plain_model(layers in proptest::collection::vec(ops(), 1..6)) {
        let tars: Vec<Vec<u8>> = layers.iter().map(|ops| tar_of(ops)).collect();
        let mut found = root(&tars);
        prop_assert_eq!(files(&mut found), model(&layers));
    }

    #[test]
    fn spilling_to_runs_changes_nothing(layers in proptest::collection::vec(ops(), 1..6), memory in 1_usize..2000) {
        let tars: Vec<Vec<u8>> = layers.iter().map(|ops| tar_of(ops)).collect();
        let mut whole = root(&tars);
        let mut spilled = walk(&tars, Limits { memory, ..Limits::default() }).unwrap();
        prop_assert_eq!(whole.listing, spilled.listing);
        prop_assert_eq!(files(&mut whole), files(&mut spilled));
    }

    #[test]
    fn hostile_layers_never_panic(at in 0_usize..3000, byte: u8, cut in 0_usize..3000) {
        let mut bytes = tar(&[("a", Item::File(b"x")), ("b", Item::Hard("a")), ("c/.wh.d", Item::File(b"")), ("e", Item::Link("/"))]);
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % length);
        let _ = walk(&[bytes], Limits::default());
    }
}
