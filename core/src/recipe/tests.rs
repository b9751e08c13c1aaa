use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn full() -> String {
    format!(
        r#"
version = 1
base = "registry.example.com/debian:13@sha256:{HEX}"
platforms = ["linux/amd64", "linux/arm/v7"]
compression = "zstd"
format-version = 1

[config]
entrypoint = ["/usr/bin/app"]
cmd = ["--help"]
env = {{ PATH = "/usr/bin" }}
user = "65532:65532"
workdir = "/srv"
labels = {{ a = "b" }}
ports = ["8080", "53/udp"]
volumes = ["/data"]
stop-signal = "SIGTERM"
healthcheck = {{ command = ["/usr/bin/app", "check"], interval-seconds = 30 }}

[annotations]
"org.opencontainers.image.title" = "app"

[[layer]]
name = "app"
mtime = "1970-01-01T00:00:00Z"
allow = ["setuid"]
files = [{{ from = "dist/**/*.js", to = "/srv/", exclude = ["**/test"], owner = "1:2", mode = "0640", directory-mode = "0750" }}]
directories = [{{ path = "/tmp", mode = "1777" }}]
symlinks = [{{ path = "/bin", target = "usr/bin" }}]
archives = [{{ path = "a.tar.gz", sha256 = "{HEX}", to = "/opt", strip = 1 }}]
debs = [{{ path = "a.deb", sha256 = "{HEX}" }}]
artifacts = [{{ name = "output", to = "/usr/bin" }}]
remove = ["/etc/motd"]

[[layer]]
platforms = ["linux/amd64"]
compression = "none"
files = [{{ from = "x", to = "/x" }}]
"#
    )
}

fn refused(text: &str) -> String {
    Recipe::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn everything_that_can_be_said_is_read_and_written_back() {
    let recipe = Recipe::parse(full().as_bytes()).unwrap();
    assert_eq!(recipe.layers.len(), 2);
    assert_eq!(recipe.layers[0].directories[0].mode, Some(Mode(0o1777)));
    assert!(!recipe.layers[1].is_for(&"linux/arm/v7".parse().unwrap()));
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
}

#[test]
fn mistakes_are_shown_with_their_line() {
    let text = full().replace("workdir", "workdri");
    let message = refused(&text);
    assert!(message.contains("line 13") && message.contains("workdri"), "{message}");
    for (from, to, expected) in [
        ("mode = \"0640\"", "mode = \"0999\"", "octal mode"),
        ("owner = \"1:2\"", "owner = \"root\"", "UID:GID"),
        ("strip = 1", "strip = -1", "strip"),
        ("to = \"/opt\"", "to = \"opt\"", "absolute"),
        ("to = \"/opt\"", "to = \"/opt/../etc\"", "absolute"),
        ("from = \"x\"", "from = \"../x\"", "inside the repository"),
        ("from = \"x\"", "from = \"/etc/passwd\"", "inside the repository"),
        ("\"setuid\"", "\"everything\"", "everything"),
        ("\"zstd\"", "\"xz\"", "xz"),
        ("mtime = \"1970-01-01T00:00:00Z\"", "mtime = \"now\"", "RFC 3339"),
        ("debian:13@sha256", "debian:13@md5", "by digest"),
        (&format!("debian:13@sha256:{HEX}"), "debian:13", "by digest"),
    ] {
        let text = full();
        assert!(text.contains(from), "{from}");
        let message = refused(&text.replacen(from, to, 1));
        assert!(message.contains("line ") && message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn what_cannot_be_built_is_refused() {
    let layer = "[[layer]]\nfiles = [{ from = \"x\", to = \"/x\" }]\n";
    assert!(Recipe::parse(format!("version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\n{layer}").as_bytes()).is_ok());
    assert!(matches!(
        Recipe::parse(format!("version = 1\nbase = \"scratch\"\n{layer}").as_bytes()),
        Err(RecipeError::NoPlatform)
    ));
    let with = |top: &str, rest: &str| {
        Recipe::parse(format!("version = 1\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\n{top}{rest}").as_bytes())
    };
    assert!(matches!(with("", ""), Err(RecipeError::NoLayers)));
    assert!(matches!(with("", "[[layer]]\nname = \"x\"\n"), Err(RecipeError::EmptyLayer { .. })));
    assert!(matches!(with("", &layer.repeat(101)), Err(RecipeError::TooManyLayers { found: 101 })));
    assert!(matches!(
        with("[annotations]\n\"org.opencontainers.image.revision\" = \"x\"\n", layer),
        Err(RecipeError::ReservedAnnotation { .. })
    ));
    for config in [
        "env = { \"A=B\" = \"c\" }",
        "workdir = \"srv\"",
        "volumes = [\"data\"]",
        "ports = [\"http\"]",
        "ports = [\"80/icmp\"]",
        "ports = [\"70000\"]",
        "stop-signal = \"TERM\"",
    ] {
        assert!(matches!(with(&format!("[config]\n{config}\n"), layer), Err(RecipeError::Config { .. })), "{config}");
    }
    let two = full().replace("\"linux/arm/v7\"", "\"linux/amd64\"");
    assert!(matches!(Recipe::parse(two.as_bytes()), Err(RecipeError::DuplicatePlatform { .. })));
    assert!(matches!(Recipe::parse(full().replace("version = 1", "version = 2").as_bytes()), Err(RecipeError::Version { .. })));
}

#[test]
fn the_schema_closes_every_object() {
    let schema = Recipe::json_schema();
    assert_eq!(schema["additionalProperties"], false);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        if definition["type"] == "object" {
            assert_eq!(definition["additionalProperties"], false, "{name}");
        }
    }
}
