use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use assay_core::oci::media_type;

const TIME: &str = "2026-03-01T12:00:00Z";

fn source() -> SourceInfo {
    SourceInfo {
        commit: Some("4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap()),
        url: Some("https://git.example.com/app".into()),
        reference: Some("refs/heads/main".into()),
        commit_time: TIME.parse().unwrap(),
    }
}

/// A small source directory: nested files, an executable, a link, a long name that is not ASCII.
fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("dist/js")).unwrap();
    fs::write(directory.join("app"), b"#!/bin/sh\necho assay\n").unwrap();
    fs::set_permissions(directory.join("app"), fs::Permissions::from_mode(0o755)).unwrap();
    for number in 0..50 {
        fs::write(directory.join(format!("dist/js/{number}.js")), format!("// {number}\n").repeat(number * 40)).unwrap();
    }
    fs::write(directory.join(format!("dist/{}.txt", "ü".repeat(90))), b"long").unwrap();
    fs::write(directory.join("dist/notes.md"), b"left out").unwrap();
    symlink("js/1.js", directory.join("dist/first.js")).unwrap();
}

const RECIPE: &str = r#"
version = 1
base = "scratch"
platforms = ["linux/amd64"]
[config]
entrypoint = ["/usr/bin/app"]
env = { PATH = "/usr/bin" }
[[layer]]
name = "app"
files = [{ from = "app", to = "/usr/bin/" }]
directories = [{ path = "/tmp", mode = "1777" }]
[[layer]]
name = "dist"
files = [{ from = "dist", to = "/srv", exclude = ["**/*.md"], owner = "65532:65532" }]
"#;

fn request(context: &Path, recipe: &str) -> BuildRequest {
    BuildRequest {
        recipe: Recipe::parse(recipe.as_bytes()).unwrap(),
        context: context.to_owned(),
        source: source(),
        artifacts: BTreeMap::new(),
        format: None,
        threads: 2,
        cache: None,
        tag: Some("app".into()),
    }
}

fn run(request: &BuildRequest, layout: &Path) -> Result<Built, BuildError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let layout = Layout::create(layout).unwrap();
    runtime.block_on(build(request, &layout, &Connection::from_environment().unwrap()))
}

/// Builds a recipe of one layer over a directory that `prepare` fills.
fn try_layer(layer: &str, prepare: impl FnOnce(&Path)) -> Result<Built, BuildError> {
    let place = tempfile::tempdir().unwrap();
    let context = place.path().join("context");
    fs::create_dir(&context).unwrap();
    prepare(&context);
    let recipe = format!("version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\n{layer}\n");
    let outcome = run(&request(&context, &recipe), &place.path().join("layout"));
    // Whatever happened, the layout is valid and holds no rest of the build.
    let layout = Layout::open(&place.path().join("layout")).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), usize::from(outcome.is_ok()));
    let rest: Vec<_> = fs::read_dir(layout.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(rest.iter().all(|name| name == ".assay.lock" || !name.to_string_lossy().starts_with(".assay-")), "{rest:?}");
    outcome
}

#[test]
fn the_digest_is_pinned_and_conditions_do_not_change_it() {
    let place = tempfile::tempdir().unwrap();
    let context = place.path().join("context");
    fs::create_dir(&context).unwrap();
    fill(&context);
    let first = run(&request(&context, RECIPE), &place.path().join("one")).unwrap();
    assert_eq!(first.digest().to_string(), "sha256:73e96c87f7b9a585646be0e506140cebbf3973a7afd9e1bc82898daa4e6ead6a");
    for threads in [1, 3, 16] {
        let mut again = request(&context, RECIPE);
        again.threads = threads;
        assert_eq!(run(&again, &place.path().join(format!("threads{threads}"))).unwrap(), first);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = Connection::from_environment().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (_, varied) = runtime.block_on(build_twice(&request(&context, RECIPE), scratch.path(), &connection)).unwrap();
    assert_eq!(varied, first);
    // With a cache: filled, then used.
    let cache = Arc::new(DiskCache::open(&place.path().join("cache"), 1 << 30).unwrap());
    for round in 0..2 {
        let mut cached = request(&context, RECIPE);
        cached.cache = Some(Arc::clone(&cache));
        assert_eq!(run(&cached, &place.path().join(format!("cached{round}"))).unwrap(), first);
    }
}

#[test]
fn every_input_counts() {
    let place = tempfile::tempdir().unwrap();
    let digest = |recipe: &str, change: &dyn Fn(&Path), source: SourceInfo| {
        let context = tempfile::tempdir_in(place.path()).unwrap();
        fill(context.path());
        change(context.path());
        let mut request = request(context.path(), recipe);
        request.source = source;
        run(&request, &tempfile::tempdir_in(place.path()).unwrap().path().join("layout")).unwrap().digest()
    };
    let mut seen = vec![digest(RECIPE, &|_| {}, source())];
    seen.push(digest(RECIPE, &|path| fs::write(path.join("app"), b"other").unwrap(), source()));
    seen.push(digest(
        RECIPE,
        &|path| fs::set_permissions(path.join("app"), fs::Permissions::from_mode(0o644)).unwrap(),
        source(),
    ));
    seen.push(digest(RECIPE, &|path| fs::rename(path.join("dist/js/7.js"), path.join("dist/js/x.js")).unwrap(), source()));
    seen.push(digest(&RECIPE.replace("65532:65532", "0:0"), &|_| {}, source()));
    seen.push(digest(&RECIPE.replace("name = \"dist\"", "name = \"dist\"\ncompression = \"zstd\""), &|_| {}, source()));
    seen.push(digest(RECIPE, &|_| {}, SourceInfo { commit_time: "2026-03-01T12:00:01Z".parse().unwrap(), ..source() }));
    seen.push(digest(RECIPE, &|_| {}, SourceInfo { commit: None, ..source() }));
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
    // What is left out does not.
    let left_out = digest(RECIPE, &|path| fs::write(path.join("dist/notes.md"), b"changed").unwrap(), source());
    assert!(seen.contains(&left_out));
}

#[test]
fn lesson_l11_links_never_lead_out_of_the_source() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    let through = |layer: &str| try_layer(layer, |context| symlink(outside.path(), context.join("link")).unwrap()).unwrap_err();
    assert!(matches!(through("files = [{ from = \"link/secret\", to = \"/secret\" }]"), BuildError::ThroughLink { .. }));
    assert!(matches!(through("files = [{ from = \"link/*\", to = \"/\" }]"), BuildError::NothingMatches { .. }));
    assert!(matches!(through("files = [{ from = \".\", to = \"/\" }]"), BuildError::AbsoluteLink { .. }));
    let climbs =
        try_layer("files = [{ from = \".\", to = \"/\" }]", |context| symlink("../../etc", context.join("link")).unwrap());
    assert!(matches!(climbs, Err(BuildError::Plan { .. })));
}

#[test]
fn what_cannot_go_into_an_image_is_refused_by_name() {
    let all = "files = [{ from = \".\", to = \"/\" }]";
    let socket = |context: &Path| drop(std::os::unix::net::UnixListener::bind(context.join("s")).unwrap());
    assert!(matches!(try_layer(all, socket), Err(BuildError::SpecialFile { kind: "socket", .. })));
    let setuid = |context: &Path| {
        fs::write(context.join("su"), b"x").unwrap();
        fs::set_permissions(context.join("su"), fs::Permissions::from_mode(0o4755)).unwrap();
    };
    assert!(matches!(try_layer(all, setuid), Err(BuildError::UnstatedSetuid { .. })));
    use std::os::unix::ffi::OsStrExt;
    let bytes = |context: &Path| fs::write(context.join(std::ffi::OsStr::from_bytes(b"\xff")), b"x").unwrap();
    assert!(matches!(try_layer(all, bytes), Err(BuildError::Path { .. })));
    let clash = |context: &Path| {
        fs::write(context.join("a"), b"x").unwrap();
        fs::write(context.join("A"), b"x").unwrap();
    };
    assert!(matches!(try_layer(all, clash), Err(BuildError::Plan { .. })));
    assert!(try_layer(&format!("allow = [\"case-clash\"]\n{all}"), clash).is_ok());
    let whiteout = |context: &Path| fs::write(context.join(".wh.etc"), b"").unwrap();
    assert!(matches!(try_layer(all, whiteout), Err(BuildError::Plan { .. })));
    assert!(matches!(try_layer(all, |_| ()), Err(BuildError::NothingMatches { .. })));
    assert!(matches!(try_layer("files = [{ from = \"no*\", to = \"/\" }]", |_| ()), Err(BuildError::NothingMatches { .. })));
}

fn tar_with(path: &str, flag: u8, content: &[u8]) -> Vec<u8> {
    let mut header = tar_header(path, flag, content.len());
    header.extend_from_slice(content);
    header.resize(header.len().next_multiple_of(512) + 1024, 0);
    header
}

fn tar_header(path: &str, flag: u8, size: usize) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..path.len()].copy_from_slice(path.as_bytes());
    for (at, text) in [(100, "0000644"), (108, "0000000"), (116, "0000000"), (136, "17777777777")] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    header[156] = flag;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn try_archive(bytes: &[u8], sha256: Digest) -> Result<Built, BuildError> {
    let layer = format!("archives = [{{ path = \"a.tar\", sha256 = \"{}\", to = \"/opt\" }}]", sha256.hex());
    try_layer(&layer, |context| fs::write(context.join("a.tar"), bytes).unwrap())
}

#[test]
fn lesson_l11_archives_are_proved_first_and_hostile_entries_refused() {
    let good = tar_with("dir/file", b'0', b"content");
    let built = try_archive(&good, Digest::of(&good)).unwrap();
    assert_eq!(built.materials, [Material { uri: "a.tar".into(), digest: Digest::of(&good), kind: "archive" }]);
    assert!(matches!(try_archive(&good, Digest::of(b"other")), Err(BuildError::Checksum { .. })));
    for (path, flag) in
        [("../x", b'0'), ("/etc/x", b'0'), ("a/../../x", b'0'), ("null", b'3'), ("sda", b'4'), ("pipe", b'6'), ("h", b'1')]
    {
        let bad = tar_with(path, flag, b"");
        assert!(try_archive(&bad, Digest::of(&bad)).is_err(), "{path} {flag}");
    }
    // The same archive compressed gives the same layer.
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(2));
        encoder.write_all(&good).unwrap();
        encoder.finish().unwrap()
    };
    let again = try_archive(&gzip, Digest::of(&gzip)).unwrap();
    assert_eq!(again.images[0].layers[0].layer, built.images[0].layers[0].layer);
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend_from_slice(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).as_bytes());
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

#[test]
fn debian_packages_bring_their_files_and_their_entry() {
    let control = tar_with("./control", b'0', b"Package: hello\nVersion: 1\nArchitecture: all\n");
    let data = tar_with("./usr/share/hello", b'0', b"hello");
    let deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data)]);
    let layer = format!("debs = [{{ path = \"hello.deb\", sha256 = \"{}\" }}]", Digest::of(&deb).hex());
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("hello.deb"), &deb).unwrap();
    let recipe =
        format!("version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\ncompression = \"none\"\n[[layer]]\n{layer}\n");
    let layout = place.path().join("layout");
    let built = run(&request(place.path(), &recipe), &layout).unwrap();
    let bytes = fs::read(Layout::open(&layout).unwrap().blob_path(&built.images[0].layers[0].layer.digest)).unwrap();
    let mut reader = assay_core::oci::layer::TarReader::new(&bytes[..], 100);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.path).unwrap());
    }
    assert!(
        names.contains(&"usr/share/hello".to_owned()) && names.contains(&"var/lib/dpkg/status.d/hello".to_owned()),
        "{names:?}"
    );
    for bad in [
        ar(&[("debian-binary", b"3.0\n"), ("control.tar", &control), ("data.tar", &data)]),
        ar(&[("debian-binary", b"2.0\n")]),
        good_but_cut(&deb),
    ] {
        let layer = format!("debs = [{{ path = \"hello.deb\", sha256 = \"{}\" }}]", Digest::of(&bad).hex());
        assert!(try_layer(&layer, |context| fs::write(context.join("hello.deb"), &bad).unwrap()).is_err());
    }
}

fn good_but_cut(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len() / 2].to_vec()
}

#[test]
fn a_packed_output_is_taken_by_digest_alone() {
    let place = tempfile::tempdir().unwrap();
    let work = place.path().join("work");
    fs::create_dir(&work).unwrap();
    fill(&work);
    let outputs = place.path().join("outputs");
    let layout = Layout::create(&outputs).unwrap();
    let files = toml_files("{ from = \"dist\", to = \"/\" }");
    let pack_request = PackRequest { directory: work.clone(), files, source: source() };
    let packed = pack(&pack_request, &layout, None).unwrap();
    assert_eq!(pack(&pack_request, &layout, None).unwrap(), packed);
    assert_eq!(packed.descriptor.artifact_type.as_deref(), Some(media_type::ASSAY_OUTPUT));
    let recipe = "version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nartifacts = [{ name = \"output\", to = \"/srv\" }]\n";
    let mut wanted = request(&work, recipe);
    assert!(matches!(run(&wanted, &place.path().join("none")), Err(BuildError::MissingArtifact { .. })));
    wanted.artifacts.insert("output".into(), format!("oci:{}", outputs.display()).parse().unwrap());
    assert!(matches!(run(&wanted, &place.path().join("tag")), Err(BuildError::Artifact { .. })));
    let location = format!("oci:{}@{}", outputs.display(), packed.descriptor.digest);
    wanted.artifacts.insert("output".into(), location.parse().unwrap());
    let built = run(&wanted, &place.path().join("good")).unwrap();
    assert_eq!(built.materials[0].digest, packed.descriptor.digest);
    // An image is no packed output.
    let image = run(&request(&work, RECIPE), &outputs).unwrap();
    wanted.artifacts.insert("output".into(), format!("oci:{}@{}", outputs.display(), image.digest()).parse().unwrap());
    assert!(run(&wanted, &place.path().join("image")).is_err());
}

fn toml_files(text: &str) -> Vec<assay_core::recipe::Files> {
    let recipe = format!("version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nfiles = [{text}]\n");
    Recipe::parse(recipe.as_bytes()).unwrap().layers[0].files.clone()
}

#[test]
fn a_base_stays_untouched_and_platforms_make_an_index() {
    let place = tempfile::tempdir().unwrap();
    let context = place.path().join("context");
    fs::create_dir(&context).unwrap();
    fill(&context);
    // The base is an index of two platforms, in a layout inside the source directory.
    let two = RECIPE.replace("[\"linux/amd64\"]", "[\"linux/amd64\", \"linux/arm64\"]");
    let base = run(&request(&context, &two), &context.join("base")).unwrap();
    assert_eq!(base.descriptor.media_type, media_type::INDEX);
    let recipe = format!(
        "version = 1\nbase = \"oci:base@{}\"\nplatforms = [\"linux/arm64\", \"linux/amd64\"]\n[config]\ncmd = [\"x\"]\n[[layer]]\nremove = [\"/srv/js\"]\n[[layer]]\nplatforms = [\"linux/arm64\"]\nfiles = [{{ from = \"app\", to = \"/opt/app\" }}]\n",
        base.digest()
    );
    let built = run(&request(&context, &recipe), &place.path().join("layout")).unwrap();
    assert_eq!(built.images.len(), 2);
    let [arm, amd] = built.images.as_slice() else { panic!() };
    assert_eq!((arm.platform.architecture.as_str(), arm.layers.len(), amd.layers.len()), ("arm64", 2, 1));
    for image in &built.images {
        let manifest = assay_core::oci::Manifest::parse(&image.manifest).unwrap();
        assert_eq!(manifest.layers[..2], image.base.as_ref().unwrap().manifest.layers[..]);
        assert_eq!(manifest.annotations[media_type::ANNOTATION_BASE_DIGEST], base.digest().to_string());
        let layout = Layout::open(&place.path().join("layout")).unwrap();
        for layer in &manifest.layers {
            layout.read_blob(layer, |_| Ok(())).unwrap();
        }
    }
    let missing =
        recipe.replace("\"linux/arm64\", \"linux/amd64\"", "\"linux/riscv64\"").replace("platforms = [\"linux/arm64\"]\n", "");
    assert!(matches!(run(&request(&context, &missing), &place.path().join("missing")), Err(BuildError::Platform { .. })));
    // A docker archive of the first image serves as a base too.
    let saved = context.join("saved.tar");
    let layout = Layout::open(&context.join("base")).unwrap();
    write_docker_archive(&layout, &base.images[0], Some("app:1"), &saved).unwrap();
    let digest = Digest::of(&fs::read(&saved).unwrap());
    let recipe = format!(
        "version = 1\nbase = \"docker-archive:saved.tar@{digest}\"\n[[layer]]\nfiles = [{{ from = \"app\", to = \"/opt/app\" }}]\n"
    );
    let built = run(&request(&context, &recipe), &place.path().join("docker")).unwrap();
    assert_eq!(built.images[0].base.as_ref().unwrap().config.rootfs.diff_ids.len(), 2);
}
