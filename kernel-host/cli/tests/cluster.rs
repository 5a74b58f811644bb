//! A cluster's files and tokens, made and explained without a node.
#![allow(clippy::unwrap_used)]

mod harness;

use harness::{file, luc, luc_with};
use protocol::problem::exit;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

/// A folder with a cluster `demo` in it.
fn cluster() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    let ran = luc(&format!("cluster init --name demo --out {at}"));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    (folder, at)
}

#[test]
fn a_cluster_is_a_public_file_and_a_secret_one() {
    let (folder, at) = cluster();
    let public = std::fs::read_to_string(folder.path().join("cluster.toml")).unwrap();
    let secret = std::fs::read_to_string(folder.path().join("cluster.key")).unwrap();
    assert!(
        public.contains("luc-root-") && !public.contains("luc-secret-"),
        "{public}"
    );
    assert!(
        secret.contains("luc-secret-") && secret.contains("SECRET"),
        "{secret}"
    );
    let mode = std::fs::metadata(folder.path().join("cluster.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Both say the same of themselves, and neither shows the secret.
    for file in ["cluster.toml", "cluster.key"] {
        let ran = luc(&format!("cluster show {at}/{file}"));
        assert_eq!(ran.code, exit::DONE, "{ran:?}");
        let root = public
            .lines()
            .find(|line| line.contains("luc-root-"))
            .unwrap();
        let root = root.trim().trim_matches([',', '"']);
        assert!(ran.output.contains(root), "{ran:?}");
        assert!(ran.errors.contains(&format!("luc.root={root}")), "{ran:?}");
        assert!(!format!("{ran:?}").contains("luc-secret-"));
    }
    let other = cluster();
    let theirs = std::fs::read_to_string(other.0.path().join("cluster.key")).unwrap();
    assert_ne!(theirs, secret, "each cluster has its own");
}

#[test]
fn making_a_cluster_says_what_is_secret_and_what_is_next() {
    let folder = tempfile::tempdir().unwrap();
    let ran = luc(&format!(
        "cluster init --name demo --out {}",
        folder.path().display()
    ));
    for told in [
        "public:",
        "SECRET:",
        "next:    luc token create --key",
        "cluster.key",
    ] {
        assert!(ran.errors.contains(told), "{told}: {ran:?}");
    }
    let quiet = tempfile::tempdir().unwrap();
    let ran = luc(&format!(
        "cluster init --name demo --quiet --out {}",
        quiet.path().display()
    ));
    assert_eq!((ran.code, ran.errors.as_str()), (exit::DONE, ""));
}

#[test]
fn no_key_is_ever_written_over() {
    let (folder, at) = cluster();
    let key = std::fs::read(folder.path().join("cluster.key")).unwrap();
    let ran = luc(&format!("cluster init --name other --out {at}"));
    assert_eq!(ran.code, exit::CONFLICT, "{ran:?}");
    assert!(ran.errors.contains("exists already"), "{ran:?}");
    assert_eq!(
        std::fs::read(folder.path().join("cluster.key")).unwrap(),
        key
    );
}

#[test]
fn a_token_comes_alone_on_the_output_and_is_explained_without_its_secret() {
    let (folder, at) = cluster();
    let create =
        format!("token create --key {at}/cluster.key --site lyon --count 5 --expires 7d --founds");
    let made = luc(&create);
    assert_eq!(made.code, exit::DONE, "{made:?}");
    assert_eq!(made.output.lines().count(), 1);
    assert!(made.output.starts_with("luc-token-"));
    for told in [
        "lets 5 machines join site lyon, and founds it",
        "expires: in 7 d",
        "luc.site=lyon",
    ] {
        assert!(made.errors.contains(told), "{told}: {made:?}");
    }
    assert!(
        !made.errors.contains(made.output.trim()),
        "the secret is on the output only"
    );
    let shown = luc(&format!("token show {}", made.output.trim()));
    assert_eq!(shown.code, exit::DONE, "{shown:?}");
    for told in ["lyon", "machines  5", "founds    yes", "grant-"] {
        assert!(shown.output.contains(told), "{told}: {shown:?}");
    }
    assert!(!shown.output.contains(&made.output.trim()[10..60]));
    // The same from a file, which other users of the machine can't see.
    let path = file(&folder, "token", made.output.as_bytes());
    let read = luc_with("token show -", |streams| {
        streams.input = Some(std::fs::File::open(&path).unwrap().into());
    });
    assert_eq!(read.output, shown.output);
    let json: Value = serde_json::from_str(&luc(&format!("{create} -o json")).output).unwrap();
    assert_eq!(json["machines"], 5);
    assert!(json["token"].as_str().unwrap().starts_with("luc-token-"));
    let json = luc(&format!("token show {} -o json", made.output.trim()));
    let json: Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(
        (&json["site"], json.get("token")),
        (&Value::from("lyon"), None)
    );
}

#[test]
#[rustfmt::skip] // keeps the columns
fn wrong_use_is_told_with_advice() {
    let (folder, at) = cluster();
    let damaged = std::fs::read_to_string(folder.path().join("cluster.key")).unwrap();
    file(&folder, "damaged", damaged.replace("luc-secret-", "luc-secret-A").as_bytes());
    let token = luc(&format!("token create --key {at}/cluster.key --site lyon")).output;
    let short = &token[..60];
    //     arguments                                                    exit               what stderr says
    check("cluster init",                                               exit::USAGE,       "--name");
    check("cluster init --name De",                                     exit::USAGE,       "can't stand in a name");
    check("cluster show /nowhere/cluster.toml",                         exit::NOT_FOUND,   "luc cluster init");
    check(&format!("cluster show {at}/damaged"),                        exit::FAILED,      "`secret`: ");
    check(&format!("token create --key {at}/cluster.toml --site lyon"), exit::FAILED,      "`root` is missing");
    check("token create --key /nowhere --site lyon",                    exit::NOT_FOUND,   "luc cluster init");
    check("token create",                                               exit::USAGE,       "--site");
    check("token create --site lyon --expires 7",                       exit::USAGE,       "for example 7d");
    check("token create --site lyon --expires 0d",                      exit::USAGE,       "more than nothing");
    check("token create --site lyon --count 0",                         exit::USAGE,       "1..=100000");
    check(&format!("token show {short}"),                               exit::USAGE,       "its checksum is wrong");
    check("token show luc-tokne-abcdef",                                exit::USAGE,       "should start with `luc-token-`");
    check("token show -",                                               exit::USAGE,       "no standard input");

    fn check(line: &str, code: u8, told: &str) {
        let ran = luc(line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.errors.contains(told), "{line}: {}", ran.errors);
        assert!(ran.output.is_empty(), "{line}: {}", ran.output);
    }
}

#[test]
fn a_key_that_others_may_read_is_warned_about() {
    let (folder, at) = cluster();
    let key = folder.path().join("cluster.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = luc(&format!("token create --key {at}/cluster.key --site lyon"));
    assert_eq!(ran.code, exit::DONE);
    assert!(ran.errors.contains("chmod 600"), "{ran:?}");
}

/// The words that an owner signs, and a node that is handed each.
#[test]
fn the_owner_signs_offline_and_the_text_says_what_it_does() {
    use identity::publication::Word;
    let (_folder, at) = cluster();
    let key = format!("--key {at}/cluster.key");
    let node = "node-3f2ac9d0e1b24c5d8e9fa0b1c2d3e4f5";
    let token = "grant-8a01b2c3d4e5f60718293a4b5c6d7e8f";
    let uuid = "4c4c4544-0033-4a10-8051-b4c04f4e4e32";
    let cases = [
        (
            format!("revoke {key} --node {node} --reason stolen"),
            format!("takes {node} out"),
        ),
        (
            format!("revoke {key} --token {token} --since 7d"),
            format!("{token} lets nobody in"),
        ),
        (
            format!("admit {key} --site lyon --uuid {uuid}"),
            "1 machines into site lyon".to_owned(),
        ),
        (
            format!("retire {key} --site lyon"),
            "gives up site-".to_owned(),
        ),
    ];
    for (line, wanted) in cases {
        let ran = luc(&format!("cluster {line}"));
        assert_eq!(ran.code, exit::DONE, "{line}: {ran:?}");
        let word: Word = ran.output.trim().parse().unwrap();
        assert!(word.what().contains(&wanted), "{line}: {}", word.what());
        assert!(
            ran.errors.contains(&wanted),
            "it says so beside the word: {ran:?}"
        );
        assert!(!format!("{ran:?}").contains("luc-secret-"));
        let json = luc(&format!("cluster {line} -o json"));
        let json: Value = serde_json::from_str(&json.output).unwrap();
        assert!(json["what"].as_str().unwrap().contains(&wanted));
    }
    for (line, code) in [
        (format!("revoke {key}"), exit::USAGE),
        (
            format!("revoke {key} --node {node} --token {token}"),
            exit::USAGE,
        ),
        (format!("revoke {key} --node node-3f"), exit::USAGE),
        (
            format!("revoke {key} --node {node} --reason {}", "x".repeat(121)),
            exit::USAGE,
        ),
        (format!("admit {key} --site lyon"), exit::USAGE),
        (
            format!("admit {key} --site lyon --uuid 00000000-0000-0000-0000-000000000000"),
            exit::USAGE,
        ),
        (
            format!("retire --key {at}/nothing --site lyon"),
            exit::NOT_FOUND,
        ),
    ] {
        let ran = luc(&format!("cluster {line}"));
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert_eq!(ran.output, "", "{line}");
    }
}
